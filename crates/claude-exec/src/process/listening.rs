//! Reading a program's two outputs line by line.

use std::future::pending;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{ChildStderr, ChildStdout};
use tokio::time::{Instant, timeout};

use super::guard::Output;
use super::{Audience, Reaction};
use crate::lines::{LineSplitter, PIECE_BYTES};

/// How much is read at once; between two chunks limits and orders are looked at.
const CHUNK_BYTES: usize = 64 * 1024;

/// How long is waited for the end of the outputs when everything that held them should be gone.
const DRAIN_PATIENCE: Duration = Duration::from_millis(300);

/// What came of listening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The program said something.
    Said(Reaction),
    /// One of the outputs ended.
    End,
}

/// A program's outputs on their way to its audience.
pub(super) struct Listening<'a> {
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    stdout_lines: LineSplitter,
    stderr_lines: LineSplitter,
    stdout_chunk: Vec<u8>,
    stderr_chunk: Vec<u8>,
    audience: &'a mut dyn Audience,
    last_heard: Instant,
}

impl<'a> Listening<'a> {
    pub(super) fn new(output: Output, audience: &'a mut dyn Audience) -> Self {
        Self {
            stdout: Some(output.stdout),
            stderr: Some(output.stderr),
            stdout_lines: LineSplitter::new(audience.longest_line()),
            stderr_lines: LineSplitter::new(PIECE_BYTES),
            stdout_chunk: Vec::with_capacity(CHUNK_BYTES),
            stderr_chunk: Vec::new(),
            audience,
            last_heard: Instant::now(),
        }
    }

    /// When the program last said anything.
    pub(super) fn last_heard(&self) -> Instant {
        self.last_heard
    }

    /// Hears the next chunk; never resolves when both outputs have ended. Nothing is lost when the
    /// future is dropped.
    pub(super) async fn next(&mut self) -> Heard {
        // A program that never pauses must not keep the runtime from its clock and signals.
        tokio::task::yield_now().await;
        self.stdout_chunk.clear();
        self.stderr_chunk.clear();
        let is_stdout = tokio::select! {
            () = read(&mut self.stdout, &mut self.stdout_chunk) => true,
            () = read(&mut self.stderr, &mut self.stderr_chunk) => false,
        };
        self.last_heard = Instant::now();
        if is_stdout { self.hear_stdout() } else { self.hear_stderr() }
    }

    /// Hears what is left in the pipes of a program that is gone.
    pub(super) async fn drain(&mut self) {
        let until = Instant::now() + DRAIN_PATIENCE;
        while self.stdout.is_some() || self.stderr.is_some() {
            let left = until.saturating_duration_since(Instant::now());
            if timeout(left, self.next()).await.is_err() {
                tracing::warn!("somebody still holds the output of a program that has ended");
                return;
            }
        }
    }

    fn hear_stdout(&mut self) -> Heard {
        let (chunk, audience) = (&self.stdout_chunk, &mut *self.audience);
        let mut reaction = Reaction::Listen;
        let each = |piece: crate::lines::Piece<'_>| match audience.stdout(piece) {
            Reaction::Listen => {}
            other => reaction = other,
        };
        if chunk.is_empty() {
            self.stdout = None;
            self.stdout_lines.finish(each);
        } else {
            self.stdout_lines.feed(chunk, each);
        }
        if self.stdout.is_none() && reaction == Reaction::Listen {
            return Heard::End;
        }
        Heard::Said(reaction)
    }

    fn hear_stderr(&mut self) -> Heard {
        let (chunk, audience) = (&self.stderr_chunk, &mut *self.audience);
        if chunk.is_empty() {
            self.stderr = None;
            self.stderr_lines.finish(|piece| audience.stderr(piece));
            return Heard::End;
        }
        self.stderr_lines.feed(chunk, |piece| audience.stderr(piece));
        Heard::Said(Reaction::Listen)
    }
}

/// Reads a chunk; an error counts as the end, and an output that has ended never resolves.
async fn read(output: &mut Option<impl AsyncRead + Unpin>, chunk: &mut Vec<u8>) {
    let Some(output) = output else { return pending().await };
    chunk.reserve(CHUNK_BYTES);
    if output.read_buf(chunk).await.is_err() {
        chunk.clear();
    }
}
