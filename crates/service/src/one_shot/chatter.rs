//! A bound on what a job may say, so that an agent without end fills nobody's disk.

use protocol::event::AgentEvent;
use protocol::{Event, JobId, Payload};

use super::job::now;

/// Counts what a job says beside what must be said: steps, the patch and the outcome.
#[derive(Debug)]
pub(super) struct Chatter {
    job: JobId,
    max_bytes: u64,
    bytes: u64,
    is_over: bool,
}

/// What becomes of an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Keep,
    Drop,
    /// It is dropped, as all that follow; this notice says so.
    Replace(String),
}

impl Chatter {
    pub(super) fn new(job: JobId, max_bytes: u64) -> Self {
        Self { job, max_bytes, bytes: 0, is_over: false }
    }

    /// Decides about an event by its name and JSON.
    pub(super) fn admit(&mut self, name: &str, data: &str) -> Admission {
        // Inside a text the quotes would be escaped.
        let is_patch = || data.contains(r#""stream":"patch""#);
        if !matches!(name, "agent" | "output" | "progress") || is_patch() {
            return Admission::Keep;
        }
        if self.is_over {
            return Admission::Drop;
        }
        self.bytes += data.len() as u64;
        if self.bytes <= self.max_bytes {
            return Admission::Keep;
        }
        self.is_over = true;
        Admission::Replace(self.notice())
    }

    fn notice(&self) -> String {
        let message = format!(
            "the job has said more than {} bytes; what it says from here on is left out",
            self.max_bytes
        );
        let payload = Payload::Agent(AgentEvent::Notice { code: "truncated".to_owned(), message });
        let event = Event { payload, job_id: self.job, at: now() };
        serde_json::to_string(&event).expect("a notice is plain JSON")
    }
}
