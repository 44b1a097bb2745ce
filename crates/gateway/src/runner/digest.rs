//! What a batch of a worker's events means for its job.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use service::protocol::event::{Encoding, StepEvent, StepState, Stream, is_terminal};
use service::protocol::sse::Frame;
use service::protocol::{Event, Outcome, Payload, Reason, Step, WorkspaceId};

use crate::job_ref::JobRef;
use crate::store::{Change, Transition};

/// A batch of events, with what must be done about them.
#[derive(Default)]
pub(super) struct Digest {
    /// Those that the job's followers are to see.
    pub(super) frames: Vec<Frame>,
    /// Pieces of the patch.
    pub(super) pieces: Vec<Vec<u8>>,
    /// Whether the pieces of earlier batches are none: a delivery that begins makes a patch of its
    /// own, and one that failed has made none.
    pub(super) drops_pieces: bool,
    /// Where the delivery stands, if the batch says so.
    pub(super) delivery: Option<StepState>,
    /// The id of the last event in the worker's own stream.
    pub(super) upstream: u64,
    /// What the batch tells of the agent's beginning.
    pub(super) agent: Option<Beginning>,
    /// The worker's last word, which is not among the frames.
    pub(super) outcome: Option<Outcome>,
}

/// What is known of the beginning of an attempt's agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// It may have begun.
    Possible,
    /// It has.
    Certain,
}

impl Beginning {
    /// To be written in the job's row; a certain one drops what an earlier attempt has left.
    pub(super) fn into_transition(self, workspace: Option<WorkspaceId>) -> Transition {
        match self {
            Self::Possible => Transition::AgentLeased { workspace },
            Self::Certain => Transition::AgentStarted { workspace },
        }
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
                "step" => digest.hear_step(&frame),
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

    fn hear_step(&mut self, frame: &Frame) {
        let Some(Payload::Step(step)) = payload(frame) else { return };
        let StepEvent { step, state, .. } = *step;
        match (step, state) {
            (Step::Execute, StepState::Started) => self.agent = Some(Beginning::Certain),
            // One that failed without a beginning is one whose worker died before it could tell.
            (Step::Execute, StepState::Failed) => {
                self.agent = self.agent.or(Some(Beginning::Possible));
            }
            (Step::Deliver, state) => {
                self.delivery = Some(state);
                if matches!(state, StepState::Started | StepState::Failed) {
                    self.drop_pieces();
                }
            }
            _ => {}
        }
    }

    /// Takes back what has been delivered so far.
    pub(super) fn drop_pieces(&mut self) {
        self.pieces.clear();
        self.drops_pieces = true;
    }

    /// What is to be written of it, but for the outcome and the position.
    pub(super) fn into_change(self, job: JobRef, transition: Transition) -> Change {
        let mut change = Change::new(job, transition);
        change.events = self.frames;
        change.drops_pieces = self.drops_pieces;
        change.pieces = self.pieces;
        change
    }
}

fn payload(frame: &Frame) -> Option<Payload> {
    serde_json::from_str::<Event>(&frame.data).ok().map(|event| event.payload)
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
    fn the_agent_has_begun_when_its_step_has() {
        let told = |steps: &[(&str, &str)]| {
            let event = |(step, state): &(&str, &str)| {
                frame(1, json!({ "type": "step", "step": step, "state": state }))
            };
            Digest::of(steps.iter().map(event).collect()).agent
        };
        let (began, failed) = (("execute", "started"), ("execute", "failed"));
        assert_eq!(told(&[began]), Some(Beginning::Certain));
        assert_eq!(told(&[began, failed]), Some(Beginning::Certain));
        let is_possible = told(&[failed]) == Some(Beginning::Possible);
        assert!(is_possible, "its worker died before it could tell");
        assert_eq!(told(&[("pull", "started"), ("execute", "skipped")]), None);
    }

    #[test]
    fn a_delivery_that_begins_anew_or_fails_takes_back_what_was_delivered_before() {
        let step = |id, step: &str, state: &str| {
            frame(id, json!({ "type": "step", "step": step, "state": state }))
        };
        let of = |frames| {
            let digest = Digest::of(frames);
            (digest.drops_pieces, digest.pieces.concat())
        };
        let (old, new) = (output(1, "patch", "old"), output(3, "patch", "new"));
        let again = vec![old.clone(), step(2, "deliver", "started"), new.clone()];
        assert_eq!(of(again), (true, b"new".to_vec()));
        let failed = vec![step(1, "deliver", "started"), new.clone(), step(4, "deliver", "failed")];
        assert_eq!(of(failed), (true, Vec::new()));
        let done = vec![old, step(2, "check", "failed"), new, step(4, "deliver", "completed")];
        assert_eq!(of(done), (false, b"oldnew".to_vec()));
    }

    #[test]
    fn nothing_after_the_end_counts_and_an_unreadable_end_is_a_failure() {
        let bad = Frame { id: 7, event: "completed".to_owned(), data: "{}".to_owned() };
        let digest = Digest::of(vec![bad, output(8, "stdout", "late")]);
        assert_eq!((digest.upstream, digest.frames.len()), (7, 0));
        assert_eq!(digest.outcome.unwrap().reason, Some(Reason::InternalError));
    }
}
