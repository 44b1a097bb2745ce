//! Following a job until it ends.

use std::time::{Duration, Instant};

use client::protocol::Outcome;
use client::protocol::sse::Frame;
use client::{ClientError, EventStream, Patience};

use super::{Line, Tone, View};

/// How long a gateway may be away without a word about it.
pub(crate) const PATIENCE: Patience = Patience {
    refused: Duration::from_secs(2),
    unreachable: Duration::from_secs(10),
    ..Patience::GATEWAY
};

/// How long it may be away at all: it comes back, and it forgets nothing.
const GIVE_UP: Duration = Duration::from_secs(120);

/// Shows a job's events until the last one, or the one with the number `until`. Returns how the
/// job ended; none while it runs, or if this version cannot read it.
///
/// Dropping the future loses nothing: the stream goes on where it was.
pub(crate) async fn follow(
    stream: &mut EventStream,
    view: &mut View,
    until: u64,
) -> anyhow::Result<Option<Box<Outcome>>> {
    let mut outcome = None;
    let mut absence = None;
    while stream.position() < until {
        let frames = match stream.next_batch().await {
            Ok(Some(frames)) => frames,
            Ok(None) => break,
            Err(error) => {
                wait_for_return(error, &mut absence, view)?;
                continue;
            }
        };
        if absence.take().is_some() {
            view.remark(&Line::new(Tone::Warning, "the gateway is back"));
        }
        for frame in frames.iter().take_while(|frame| frame.id <= until) {
            view.show(frame)?;
            outcome = outcome_of(frame).or(outcome);
        }
    }
    Ok(outcome)
}

/// Says once that the gateway is away; gives up when that takes too long.
fn wait_for_return(
    error: ClientError,
    absence: &mut Option<Instant>,
    view: &View,
) -> Result<(), ClientError> {
    let since = absence.unwrap_or_else(Instant::now);
    if !error.is_unreachable() || since.elapsed() > GIVE_UP {
        return Err(error);
    }
    if absence.replace(since).is_none() {
        let text = super::text::one_line(&format!("{error}; trying again for 2 minutes"));
        view.remark(&Line::new(Tone::Warning, text));
    }
    Ok(())
}

/// The outcome, if this is a job's last event.
pub(crate) fn outcome_of(frame: &Frame) -> Option<Box<Outcome>> {
    if !client::protocol::event::is_terminal(&frame.event) {
        return None;
    }
    let mut data: serde_json::Value = serde_json::from_str(&frame.data).ok()?;
    serde_json::from_value(data.get_mut("outcome")?.take()).ok()
}
