//! How much of what a job says is kept.

use std::borrow::Cow;

use service::protocol::event::AgentEvent;
use service::protocol::sse::Frame;
use service::protocol::{Event, Payload};

use super::change::now;
use crate::job_ref::JobRef;

/// Roughly what an event takes up besides its data.
const OVERHEAD: u64 = 48;

/// How large a job's log is and may become.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogSize {
    pub(super) bytes: u64,
    pub(super) max: u64,
    /// Whether something has been left out already.
    pub(super) is_truncated: bool,
}

/// The events that are to be appended of those that are wished for. The first one that does not fit
/// any more is replaced by a notice; after that, only those are kept that say where the job stands.
pub(super) fn within<'a>(
    size: &mut LogSize,
    job: JobRef,
    wished: Cow<'a, [Frame]>,
) -> Cow<'a, [Frame]> {
    if !size.is_truncated && size.bytes + wished.iter().map(room).sum::<u64>() <= size.max {
        return wished;
    }
    let mut kept = Vec::new();
    for frame in wished.into_owned() {
        let is_kept = !size.is_truncated && size.bytes + room(&frame) <= size.max;
        if is_kept || is_essential(&frame) {
            size.bytes += room(&frame);
            kept.push(frame);
        } else if !size.is_truncated {
            size.is_truncated = true;
            kept.push(notice(job, size.max));
        }
    }
    kept.into()
}

fn room(frame: &Frame) -> u64 {
    frame.data.len() as u64 + OVERHEAD
}

/// Whether an event says where the job stands, rather than what its agent does. There are only a few
/// of them in any job.
fn is_essential(frame: &Frame) -> bool {
    !matches!(frame.event.as_str(), "agent" | "output" | "progress")
}

fn notice(job: JobRef, max: u64) -> Frame {
    let message = format!(
        "the job's events have reached {max} bytes; from here on only its steps and its outcome \
         are shown"
    );
    let notice = AgentEvent::Notice { code: "truncated".to_owned(), message };
    Frame::new(0, &Event { payload: Payload::Agent(notice), job_id: job.id, at: now() })
}
