//! Who hears a job's programs: secrets go out here, events go to the job's log.

use service::one_shot::Job;
use service::protocol::Step;
use service::protocol::event::Stream;

use crate::agent::Listener;
use crate::lines::{PIECE_BYTES, Piece};
use crate::output;
use crate::process::{Audience, Reaction};
use crate::redact::Redactor;

/// How much of the last complaint goes into an outcome's message.
const MAX_COMPLAINT_BYTES: usize = 300;

/// Hears an agent.
pub(super) struct AgentAudience<'a> {
    job: &'a Job,
    redactor: &'a Redactor,
    listener: &'a mut dyn Listener,
    last_error_line: String,
}

impl<'a> AgentAudience<'a> {
    pub(super) fn new(
        job: &'a Job,
        redactor: &'a Redactor,
        listener: &'a mut dyn Listener,
    ) -> Self {
        Self { job, redactor, listener, last_error_line: String::new() }
    }

    /// The last line of standard error, worded to follow a sentence; may be empty.
    pub(super) fn complaint(self) -> String {
        if self.last_error_line.is_empty() {
            return String::new();
        }
        format!(": {}", self.last_error_line)
    }
}

impl Audience for AgentAudience<'_> {
    fn longest_line(&self) -> usize {
        self.listener.longest_line()
    }

    fn stdout(&mut self, piece: Piece<'_>) -> Reaction {
        let job = self.job;
        let mut emit = |payload| job.emit(payload);
        clean(self.redactor, &piece, |piece| self.listener.hear(piece, &mut emit))
    }

    fn stderr(&mut self, piece: Piece<'_>) {
        let job = self.job;
        clean(self.redactor, &piece, |piece| {
            let text = String::from_utf8_lossy(piece.bytes().trim_ascii());
            if !text.is_empty() {
                self.last_error_line = crate::lines::cut(&text, MAX_COMPLAINT_BYTES).to_owned();
            }
            output::emit(Step::Execute, Stream::Stderr, &piece, &mut |payload| job.emit(payload));
        });
    }
}

/// Hears a check.
pub(super) struct CheckAudience<'a> {
    job: &'a Job,
    redactor: &'a Redactor,
}

impl<'a> CheckAudience<'a> {
    pub(super) fn new(job: &'a Job, redactor: &'a Redactor) -> Self {
        Self { job, redactor }
    }

    fn hear(&self, stream: Stream, piece: &Piece<'_>) {
        clean(self.redactor, piece, |piece| {
            output::emit(Step::Check, stream, &piece, &mut |payload| self.job.emit(payload));
        });
    }
}

impl Audience for CheckAudience<'_> {
    fn longest_line(&self) -> usize {
        PIECE_BYTES
    }

    fn stdout(&mut self, piece: Piece<'_>) -> Reaction {
        self.hear(Stream::Stdout, &piece);
        Reaction::Listen
    }

    fn stderr(&mut self, piece: Piece<'_>) {
        self.hear(Stream::Stderr, &piece);
    }
}

/// Hands a piece on without the secrets in it.
fn clean<T>(redactor: &Redactor, piece: &Piece<'_>, then: impl FnOnce(Piece<'_>) -> T) -> T {
    let bytes = redactor.clean(piece.bytes());
    then(match piece {
        Piece::Line(_) => Piece::Line(&bytes),
        Piece::LongStart(_) => Piece::LongStart(&bytes),
        Piece::LongRest(_) => Piece::LongRest(&bytes),
    })
}
