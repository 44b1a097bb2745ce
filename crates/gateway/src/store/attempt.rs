//! What the store knows of a job's current attempt, for the one who must end it without its worker.

use rusqlite::Connection;
use service::protocol::event::{AgentEvent, StepEvent, StepState};
use service::protocol::outcome::{Changes, Durations, Usage};
use service::protocol::request::WorkflowRequest;
use service::protocol::sse::{Frame, Parser};
use service::protocol::{Event, Payload, Step, WorkspaceId};

use super::Store;
use super::error::StoreError;
use super::query::{from_json, parsed};

/// A job's current attempt, by its request and its log.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// Without credentials.
    pub(crate) request: WorkflowRequest,
    /// Where its agent works.
    pub(crate) workspace: Option<WorkspaceId>,
    pub(crate) told: Told,
}

/// What an attempt's events have told of it so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Told {
    /// The commit that was checked out; none for an empty repository.
    pub(crate) commit: Option<String>,
    pub(crate) branch: Option<String>,
    pub(crate) durations: Durations,
    /// The last that was heard of it.
    pub(crate) usage: Option<Usage>,
    /// What has been delivered, if all of it has.
    pub(crate) changes: Option<Changes>,
}

impl Store {
    /// The current attempt of a job; reads all of its log.
    pub(crate) async fn attempt(&self, row: i64) -> Result<Attempt, StoreError> {
        self.read(move |connection| {
            let sql = "SELECT request, workspace FROM jobs JOIN requests ON job = row
                       WHERE row = ?";
            let (request, workspace) =
                connection.prepare_cached(sql)?.query_row([row], |columns| {
                    let workspace: Option<String> = columns.get(1)?;
                    let workspace = workspace.map(|_| parsed(columns, 1)).transpose()?;
                    Ok((columns.get::<_, String>(0)?, workspace))
                })?;
            let request = from_json(&request)?;
            Ok(Attempt { request, workspace, told: read_log(connection, row)? })
        })
        .await
    }
}

fn read_log(connection: &Connection, row: i64) -> rusqlite::Result<Told> {
    let sql = "SELECT frames FROM events WHERE job = ? ORDER BY last";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([row])?;
    let mut told = Told::default();
    while let Some(row) = rows.next()? {
        let bytes = row.get_ref(0)?.as_bytes()?;
        if !std::str::from_utf8(bytes).is_ok_and(tells_something) {
            continue;
        }
        let mut frames = Vec::new();
        // What is in the store was encoded here.
        let _ = Parser::default().push(bytes, &mut frames);
        frames.iter().for_each(|frame| told.hear(frame));
    }
    Ok(told)
}

/// Whether any event of a run may be of interest: most of a long log is not.
fn tells_something(events: &str) -> bool {
    ["event: started\n", "event: step\n", USAGE].iter().any(|it| events.contains(it))
}

/// In the data of an event that tells the usage; inside a text the quotes would be escaped.
const USAGE: &str = r#""kind":"usage""#;

impl Told {
    fn hear(&mut self, frame: &Frame) {
        match frame.event.as_str() {
            // What earlier attempts have told is theirs.
            "started" => *self = Self::default(),
            "step" => {
                if let Some(Payload::Step(step)) = payload(frame) {
                    self.hear_step(&step);
                }
            }
            "agent" if frame.data.contains(USAGE) => {
                if let Some(Payload::Agent(AgentEvent::Usage { usage })) = payload(frame) {
                    self.usage = Some(usage);
                }
            }
            _ => {}
        }
    }

    fn hear_step(&mut self, step: &StepEvent) {
        if step.step == Step::Deliver {
            self.changes = step.changes;
        }
        if step.state == StepState::Started {
            return;
        }
        match step.step {
            Step::Pull => {
                self.commit.clone_from(&step.commit);
                self.branch.clone_from(&step.branch);
                self.durations.pull_ms = step.duration_ms;
            }
            Step::Execute => self.durations.execute_ms = step.duration_ms,
            Step::Check => self.durations.check_ms = step.duration_ms,
            Step::Deliver => self.durations.deliver_ms = step.duration_ms,
        }
    }
}

fn payload(frame: &Frame) -> Option<Payload> {
    serde_json::from_str::<Event>(&frame.data).ok().map(|event| event.payload)
}

#[cfg(test)]
mod tests {
    use service::protocol::JobId;
    use service::protocol::outcome::Changes;

    use super::*;

    fn told(payloads: Vec<Payload>) -> Told {
        let (job_id, at) = (JobId::random(), jiff::Timestamp::UNIX_EPOCH);
        let mut told = Told::default();
        for payload in payloads {
            let frame = Frame::new(1, &Event { payload, job_id, at });
            let mut encoded = Vec::new();
            frame.encode_into(&mut encoded);
            let before = told.clone();
            told.hear(&frame);
            let is_news = told != before;
            assert!(!is_news || tells_something(std::str::from_utf8(&encoded).unwrap()));
        }
        told
    }

    fn step(step: Step, state: StepState, fill: impl FnOnce(&mut StepEvent)) -> Payload {
        let mut event = StepEvent::new(step, state);
        fill(&mut event);
        Payload::Step(Box::new(event))
    }

    fn pulled(commit: &str) -> Payload {
        step(Step::Pull, StepState::Completed, |step| step.commit = Some(commit.to_owned()))
    }

    fn usage(output_tokens: u64) -> Payload {
        let usage = Usage { output_tokens, ..Usage::default() };
        Payload::Agent(AgentEvent::Usage { usage })
    }

    fn started(attempt: u32) -> Payload {
        Payload::Started { attempt, worker: None, node: None }
    }

    #[test]
    fn only_the_last_attempt_counts_and_of_its_usage_what_was_told_last() {
        let told = told(vec![
            started(1),
            pulled("old"),
            usage(99),
            started(2),
            pulled("new"),
            usage(1),
            usage(2),
        ]);
        assert_eq!(told.commit.as_deref(), Some("new"));
        assert_eq!(told.usage.map(|usage| usage.output_tokens), Some(2));
    }

    #[test]
    fn a_tool_call_that_looks_like_usage_is_none() {
        let input = serde_json::json!({ "kind": "usage", "usage": { "outputTokens": 5 } });
        let (id, name) = ("1".to_owned(), "Write".to_owned());
        assert_eq!(
            told(vec![Payload::Agent(AgentEvent::ToolCall { id, name, input })]),
            Told::default()
        );
    }

    #[test]
    fn a_delivery_that_has_begun_again_is_not_done() {
        let changes = Changes { files: 1, insertions: 1, deletions: 0 };
        let done =
            || step(Step::Deliver, StepState::Completed, |step| step.changes = Some(changes));
        let again = || step(Step::Deliver, StepState::Started, |_| {});
        assert_eq!(told(vec![again(), done()]).changes, Some(changes));
        assert_eq!(told(vec![again(), done(), again()]).changes, None);
    }
}
