//! What a step's events have told, in case that its worker does not live to sum it up.

use service::protocol::event::{AgentEvent, StepEvent, StepState};
use service::protocol::sse::Frame;
use service::protocol::{Event, Outcome, Payload, Step, WorkerKind};

use crate::workers::Place;

/// What was heard of one worker so far.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Where the worker is.
    node: Option<String>,
    /// The step that has begun and not ended.
    running: Option<Step>,
    /// The last event that tells what the agent has used so far.
    usage: Option<String>,
}

/// In the data of such an event; inside a text the quotes would be escaped.
const USAGE: &str = r#""kind":"usage""#;

impl Heard {
    /// Nothing yet, of a worker at this place that has been given its step. An agent counts as
    /// running from here on: if its worker dies before it can say so, nobody knows better, and it
    /// must not run twice.
    pub(crate) fn of_worker_at(kind: WorkerKind, place: Option<&Place>) -> Self {
        let node = place.map(|place| place.node.clone());
        let running = (kind == WorkerKind::ClaudeExec).then_some(Step::Execute);
        Self { node, running, usage: None }
    }

    /// The machine that the worker is on, as far as that is known.
    pub(crate) fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }

    /// Takes note of events that are passed on.
    pub(crate) fn hear(&mut self, frames: &[Frame]) {
        for frame in frames {
            match frame.event.as_str() {
                "step" => {
                    if let Some(Payload::Step(step)) = payload(&frame.data) {
                        self.running = (step.state == StepState::Started).then_some(step.step);
                    }
                }
                "agent" if frame.data.contains(USAGE) => self.usage = Some(frame.data.clone()),
                _ => {}
            }
        }
    }

    /// Ends the step with an outcome that its worker did not give: adds what was heard to it, and
    /// returns what is still to be said.
    pub(crate) fn break_off(&mut self, outcome: &mut Outcome) -> Vec<Payload> {
        let mut said = Vec::new();
        if let Some(step) = self.running.take() {
            let mut event = StepEvent::new(step, StepState::Failed);
            event.reason = outcome.reason;
            event.message = Some(outcome.message.clone());
            said.push(Payload::Step(Box::new(event)));
        }
        let usage = self.usage.take().and_then(|data| payload(&data));
        if let Some(Payload::Agent(AgentEvent::Usage { usage })) = usage {
            outcome.usage = Some(usage);
            let message = "the agent's worker was lost before it told what was used in all: tokens \
                           and cost are what was heard last, a lower bound";
            let (code, message) = ("usage_incomplete".to_owned(), message.to_owned());
            said.push(Payload::Agent(AgentEvent::Notice { code, message }));
        }
        said
    }
}

fn payload(data: &str) -> Option<Payload> {
    serde_json::from_str::<Event>(data).ok().map(|event| event.payload)
}

#[cfg(test)]
mod tests {
    use service::protocol::{JobId, Reason};

    use super::*;

    fn frame(payload: Payload) -> Frame {
        let at = "2026-01-01T00:00:00Z".parse().unwrap();
        Frame::new(0, &Event { payload, job_id: JobId::random(), at })
    }

    fn usage(output_tokens: u64) -> Payload {
        let usage = service::protocol::outcome::Usage { output_tokens, ..Default::default() };
        Payload::Agent(AgentEvent::Usage { usage })
    }

    fn step(step: Step, state: StepState) -> Payload {
        Payload::Step(Box::new(StepEvent::new(step, state)))
    }

    fn broken_off(payloads: Vec<Payload>) -> (Outcome, Vec<Payload>) {
        let mut heard = Heard::default();
        heard.hear(&payloads.into_iter().map(frame).collect::<Vec<_>>());
        let mut outcome = Outcome::failed(Reason::WorkerLost, "lost");
        let said = heard.break_off(&mut outcome);
        (outcome, said)
    }

    #[test]
    fn an_agent_whose_worker_says_nothing_counts_as_having_run() {
        let mut heard = Heard::of_worker_at(WorkerKind::ClaudeExec, None);
        let said = heard.break_off(&mut Outcome::failed(Reason::WorkerLost, "lost"));
        let [Payload::Step(event)] = &said[..] else { panic!("{said:?}") };
        assert_eq!((event.step, event.state), (Step::Execute, StepState::Failed));
        let mut heard = Heard::of_worker_at(WorkerKind::GitPull, None);
        assert!(heard.break_off(&mut Outcome::failed(Reason::WorkerLost, "lost")).is_empty());
    }

    #[test]
    fn a_step_that_was_running_ends_and_what_was_used_last_is_a_lower_bound() {
        let (outcome, said) = broken_off(vec![
            step(Step::Execute, StepState::Started),
            usage(7),
            usage(9),
            step(Step::Execute, StepState::Completed),
            step(Step::Check, StepState::Started),
        ]);
        assert_eq!(outcome.usage.map(|usage| usage.output_tokens), Some(9));
        let Payload::Step(step) = &said[0] else { panic!("{said:?}") };
        assert_eq!((step.step, step.state), (Step::Check, StepState::Failed));
        assert_eq!(step.reason, Some(Reason::WorkerLost));
        let Payload::Agent(AgentEvent::Notice { code, .. }) = &said[1] else { panic!("{said:?}") };
        assert_eq!(code, "usage_incomplete");
    }

    #[test]
    fn nothing_is_added_to_what_was_never_heard() {
        let (outcome, said) = broken_off(vec![step(Step::Pull, StepState::Completed)]);
        assert_eq!((outcome.usage, said), (None, Vec::new()));
    }
}
