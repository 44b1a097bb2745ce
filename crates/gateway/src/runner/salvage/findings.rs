//! What was found out about a lost attempt, and the outcome that it makes.

use service::protocol::event::AgentEvent;
use service::protocol::outcome::{Changes, Durations};
use service::protocol::{Outcome, Reason, WorkspaceId};

use super::delivery::Delivered;
use crate::store::Told;

/// All that is known of an attempt whose worker is lost.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Where its steps are done, as far as their workers tell.
    pub(super) workspace: Option<WorkspaceId>,
    /// What its log tells.
    pub(super) told: Told,
    /// What its agent's worker made of it.
    pub(super) agent: Option<Box<Outcome>>,
    pub(super) delivered: Delivered,
    /// Why what was changed could not be salvaged.
    pub(super) failure: Option<String>,
}

impl Findings {
    /// Whether there is a whole patch.
    pub(super) fn has_patch(&self) -> bool {
        matches!(self.delivered, Delivered::Before | Delivered::Now(_))
    }

    /// What followers should know beside the outcome.
    pub(super) fn notices(&self) -> Vec<AgentEvent> {
        let mut notices = Vec::new();
        if let Some(failure) = &self.failure {
            let message = format!("what the agent had changed could not be salvaged: {failure}");
            notices.push(AgentEvent::Notice { code: "salvage_failed".to_owned(), message });
        }
        if self.agent.is_none() && self.told.usage.is_some() {
            let message = "the agent's worker did not tell what was used in all: tokens and cost \
                           are what was heard last, a lower bound";
            let code = "usage_incomplete".to_owned();
            notices.push(AgentEvent::Notice { code, message: message.to_owned() });
        }
        notices
    }

    /// The end of the attempt; `cause` says in a sentence how its worker was lost.
    pub(super) fn into_outcome(self, cause: &str) -> Outcome {
        let message = match self.in_words() {
            Some(words) => format!("{cause}; {words}"),
            None => cause.to_owned(),
        };
        let changes = self.changes();
        let Self { told, agent, delivered, .. } = self;
        let agent = agent.map_or_else(|| Outcome::failed(Reason::WorkerLost, ""), |agent| *agent);
        let delivered = match delivered {
            Delivered::Now(outcome) => outcome.durations.deliver_ms,
            _ => None,
        };
        let durations = Durations {
            pull_ms: told.durations.pull_ms,
            execute_ms: agent.durations.execute_ms.or(told.durations.execute_ms),
            check_ms: agent.durations.check_ms.or(told.durations.check_ms),
            deliver_ms: delivered.or(told.durations.deliver_ms),
        };
        Outcome {
            exit_code: agent.exit_code,
            session_id: agent.session_id,
            result: agent.result,
            usage: agent.usage.or(told.usage),
            changes,
            commit: told.commit,
            branch: told.branch,
            durations,
            ..Outcome::failed(Reason::WorkerLost, message)
        }
    }

    fn changes(&self) -> Option<Changes> {
        match &self.delivered {
            Delivered::Now(outcome) => outcome.changes,
            Delivered::Before => self.told.changes,
            Delivered::Not | Delivered::Unwanted => None,
        }
    }

    /// What became of the agent's changes; nothing if it had not begun.
    fn in_words(&self) -> Option<String> {
        if let Some(failure) = &self.failure {
            return Some(format!("what its agent had changed could not be salvaged: {failure}"));
        }
        if self.delivered == Delivered::Unwanted {
            return Some("its agent was stopped, and nothing was to be delivered".to_owned());
        }
        let Changes { files, insertions, deletions } = self.changes()?;
        let files = match files {
            0 => return Some("its agent had changed nothing".to_owned()),
            1 => "1 file".to_owned(),
            _ => format!("{files} files"),
        };
        Some(format!(
            "what its agent had changed is in the patch: {files} (+{insertions} -{deletions})"
        ))
    }
}
