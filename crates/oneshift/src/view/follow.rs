//! Following a job until it ends.

use client::EventStream;
use client::protocol::Outcome;
use client::protocol::sse::Frame;

use super::View;

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
    while stream.position() < until {
        let Some(frames) = stream.next_batch().await? else { break };
        for frame in frames.iter().take_while(|frame| frame.id <= until) {
            view.show(frame)?;
            outcome = outcome_of(frame).or(outcome);
        }
    }
    Ok(outcome)
}

/// The outcome, if this is a job's last event.
pub(crate) fn outcome_of(frame: &Frame) -> Option<Box<Outcome>> {
    if !client::protocol::event::is_terminal(&frame.event) {
        return None;
    }
    let mut data: serde_json::Value = serde_json::from_str(&frame.data).ok()?;
    serde_json::from_value(data.get_mut("outcome")?.take()).ok()
}
