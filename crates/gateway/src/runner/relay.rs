//! From a worker's events to the job's.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use service::client::{ClientError, EventStream};
use service::protocol::event::{Encoding, StepState, Stream, is_terminal};
use service::protocol::sse::Frame;
use service::protocol::{Event, Outcome, Payload, Reason, Step};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::intake::Intake;
use super::{Known, Runner};
use crate::scheduler::cancellation;
use crate::store::{Change, Transition};

/// How long a worker may take to end a job that was cancelled: it salvages within 8 s.
const CANCEL_GRACE: Duration = Duration::from_secs(10);

/// Longer than any job: a deadline that does not come.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a batch of a worker's events means for the job.
#[derive(Default)]
pub(super) struct Digest {
    frames: Vec<Frame>,
    pieces: Vec<Vec<u8>>,
    upstream: u64,
    has_agent_started: bool,
    outcome: Option<Outcome>,
}

impl Runner {
    /// Relays the worker's events until the attempt is over or the gateway stops.
    pub(super) async fn see_through(self, stream: EventStream, mut known: Known) {
        if known == Known::Taken {
            known = Known::Started;
            if self.announce_start().await.is_none() {
                return;
            }
        }
        let mut intake = Intake::start(stream);
        let (heard, listening) = watch::channel(());
        let mut pulse_ends = std::pin::pin!(self.pulse_ends(listening));
        let mut deadline = Instant::now() + NEVER;
        let mut is_cancelling = false;
        loop {
            let batch = tokio::select! {
                () = self.gateway.stop.cancelled() => return,
                () = self.cancel.cancelled(), if !is_cancelling => {
                    is_cancelling = true;
                    deadline = Instant::now() + CANCEL_GRACE;
                    let reason = self.gateway.core().scheduler.cancel_reason(self.job.id);
                    let reason = reason.unwrap_or(Reason::CancelRequested);
                    self.gateway.stop_worker(&self.endpoint, self.job.id, reason);
                    continue;
                }
                () = sleep_until(deadline) => return self.end_without_worker().await,
                batch = intake.next() => batch,
                error = &mut pulse_ends => Err(error),
            };
            heard.send_replace(());
            match batch {
                Ok(Some(frames)) => {
                    if known == Known::Unclear {
                        known = Known::Started;
                        if self.announce_start().await.is_none() {
                            return;
                        }
                    }
                    if self.relay(frames).await.is_none() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => return self.worker_lost(&error, known).await,
            }
        }
    }

    /// Commits a batch; `None` when there is nothing left to do.
    async fn relay(&self, frames: Vec<Frame>) -> Option<()> {
        let digest = Digest::of(frames);
        if digest.has_agent_started {
            self.gateway.core().scheduler.agent_started(self.job.id);
        }
        let mut change = Change::new(self.job, Transition::Stay);
        if digest.has_agent_started {
            change.transition = Transition::AgentStarted;
        }
        change.events = digest.frames;
        change.pieces = digest.pieces;
        change.upstream = Some(digest.upstream);
        match digest.outcome {
            Some(outcome) => {
                let last = digest.upstream;
                if self.gateway.attempt_ended(change, outcome).await.is_some() {
                    self.confirm(last).await;
                }
                None
            }
            None => self.gateway.commit(change).await.filter(|changed| changed.was_open).map(drop),
        }
    }

    /// Lets the worker go: its job's end is on disk. One that does not hear of it waits in vain for
    /// half a minute, and exits as well.
    async fn confirm(&self, last: u64) {
        if let Err(error) = self.endpoint.confirm(self.job.id, last).await {
            tracing::debug!(job.id = %self.job.id, %error, "cannot let a worker go");
        }
    }

    async fn worker_lost(&self, error: &ClientError, known: Known) {
        let never_took_it = matches!(error, ClientError::Rejected { status: 404, .. });
        if known == Known::Unclear && never_took_it {
            self.gateway.look_after(self.worker.worker);
            return self.gateway.give_back(self.job).await;
        }
        tracing::warn!(job.id = %self.job.id, worker = %self.worker.worker, %error,
            "a worker was lost");
        self.gateway.drop_worker(self.worker.worker);
        // It may only have been out of reach.
        self.gateway.stop_worker(&self.endpoint, self.job.id, Reason::WorkerLost);
        self.end_attempt(self.lost(error)).await;
    }

    /// The worker has been asked to end the job and does not.
    async fn end_without_worker(&self) {
        tracing::warn!(job.id = %self.job.id, worker = %self.worker.worker,
            "a worker did not end a cancelled job");
        self.gateway.drop_worker(self.worker.worker);
        self.end_attempt(cancellation(Reason::CancelRequested)).await;
    }
}

impl Digest {
    pub(super) fn of(frames: Vec<Frame>) -> Self {
        let mut digest = Self::default();
        for frame in frames {
            digest.upstream = frame.id;
            match frame.event.as_str() {
                // The gateway has told this in its own words.
                "accepted" | "started" => continue,
                "step" => digest.has_agent_started |= says_agent_started(&frame),
                "output" => digest.pieces.extend(patch_piece(&frame)),
                name if is_terminal(name) => {
                    digest.outcome = Some(outcome(&frame));
                    return digest;
                }
                _ => {}
            }
            digest.frames.push(frame);
        }
        digest
    }
}

fn payload(frame: &Frame) -> Option<Payload> {
    serde_json::from_str::<Event>(&frame.data).ok().map(|event| event.payload)
}

fn says_agent_started(frame: &Frame) -> bool {
    let is_start = |payload| matches!(payload, Payload::Step(step) if step.step == Step::Execute && step.state == StepState::Started);
    payload(frame).is_some_and(is_start)
}

/// The bytes of a patch that a frame carries.
fn patch_piece(frame: &Frame) -> Option<Vec<u8>> {
    // Most output is no patch; inside a text the quotes would be escaped.
    if !frame.data.contains(r#""stream":"patch""#) {
        return None;
    }
    match payload(frame)? {
        Payload::Output { stream: Stream::Patch, text, encoding: None, .. } => {
            Some(text.into_bytes())
        }
        Payload::Output {
            stream: Stream::Patch, text, encoding: Some(Encoding::Base64), ..
        } => STANDARD
            .decode(text)
            .inspect_err(|error| {
                tracing::error!(%error, "a piece of a patch cannot be read");
            })
            .ok(),
        _ => None,
    }
}

fn outcome(frame: &Frame) -> Outcome {
    payload(frame).and_then(|payload| payload.outcome().cloned()).unwrap_or_else(|| {
        tracing::error!(data = frame.data, "a worker's outcome cannot be read");
        Outcome::failed(Reason::InternalError, "the worker's outcome cannot be read")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn frame(id: u64, data: serde_json::Value) -> Frame {
        let mut data = data;
        data["jobId"] = json!("0192f0c1-7c5e-7b3a-9d57-2f1f5c0e8a11");
        data["at"] = json!("2026-01-01T00:00:00Z");
        let event = data["type"].as_str().unwrap().to_owned();
        Frame { id, event, data: data.to_string() }
    }

    fn output(id: u64, stream: &str, text: &str) -> Frame {
        frame(id, json!({ "type": "output", "step": "deliver", "stream": stream, "text": text }))
    }

    #[test]
    fn the_workers_own_beginning_is_left_out_but_counted() {
        let digest = Digest::of(vec![
            frame(1, json!({ "type": "accepted" })),
            frame(2, json!({ "type": "started", "attempt": 1 })),
        ]);
        assert_eq!((digest.upstream, digest.frames.len()), (2, 0));
    }

    #[test]
    fn pieces_of_the_patch_are_collected_as_bytes() {
        let mut encoded = frame(
            3,
            json!({
                "type": "output", "step": "deliver", "stream": "patch", "text": "/wA=",
                "encoding": "base64",
            }),
        );
        encoded.data = encoded.data.replace(' ', "");
        let quoting = output(2, "stdout", r#"{"stream":"patch"}"#);
        let digest = Digest::of(vec![output(1, "patch", "diff"), quoting, encoded]);
        assert_eq!(digest.pieces, [b"diff".to_vec(), vec![0xff, 0]]);
        assert_eq!(digest.frames.len(), 3);
    }

    #[test]
    fn the_agent_has_started_when_its_step_has() {
        let step = |step: &str, state: &str| {
            let event = frame(1, json!({ "type": "step", "step": step, "state": state }));
            Digest::of(vec![event]).has_agent_started
        };
        assert!(step("execute", "started"));
        assert!(!step("pull", "started"));
        assert!(!step("execute", "skipped"));
    }

    #[test]
    fn nothing_after_the_end_counts_and_an_unreadable_end_is_a_failure() {
        let bad = Frame { id: 7, event: "completed".to_owned(), data: "{}".to_owned() };
        let digest = Digest::of(vec![bad, output(8, "stdout", "late")]);
        assert_eq!((digest.upstream, digest.frames.len()), (7, 0));
        assert_eq!(digest.outcome.unwrap().reason, Some(Reason::InternalError));
    }
}
