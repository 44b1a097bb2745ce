//! What the whole job came to, by all its steps.

use service::protocol::outcome::{Changes, Durations};
use service::protocol::{Outcome, Reason, State};

/// Weighs the steps: the agent's word first, then whether there is anything to show for it.
/// `delivered` is absent when nothing was to be delivered.
pub(crate) fn of(pulled: &Outcome, executed: Outcome, delivered: Option<Outcome>) -> Outcome {
    let durations = Durations {
        pull_ms: pulled.durations.pull_ms,
        deliver_ms: delivered.as_ref().and_then(|delivered| delivered.durations.deliver_ms),
        ..executed.durations
    };
    let changes = delivered.as_ref().and_then(|delivered| delivered.changes);
    let verdict = match delivered {
        // An agent's failure is the news, whatever became of its patch.
        Some(delivered) if executed.state == State::Completed => {
            deliver_verdict(executed, delivered)
        }
        Some(delivered) if executed.reason == Some(Reason::WorkerLost) => {
            let rest = in_spite_of_loss(&delivered);
            Outcome { message: format!("{}; {rest}", executed.message), ..executed }
        }
        Some(delivered) if has_failed_for_lack_of_room(&executed, &delivered) => {
            let message = format!("{}; {}", delivered.message, executed.message);
            Outcome { reason: delivered.reason, message, ..executed }
        }
        _ => executed,
    };
    Outcome {
        commit: pulled.commit.clone(),
        branch: pulled.branch.clone(),
        changes,
        durations,
        ..verdict
    }
}

fn deliver_verdict(executed: Outcome, delivered: Outcome) -> Outcome {
    match (delivered.state, delivered.reason) {
        (State::Completed, Some(Reason::NoChanges)) => Outcome {
            reason: delivered.reason,
            message: "the agent ended well, but changed nothing".to_owned(),
            ..executed
        },
        (State::Completed, _) => {
            let message = delivered.changes.map_or(executed.message, in_words);
            Outcome { message, ..executed }
        }
        (state, reason) => Outcome {
            state,
            reason,
            message: delivered.message,
            retryable: delivered.retryable,
            ..executed
        },
    }
}

/// A program that finds the disk full says so in its own way, if at all, and its failure alone would
/// lead people astray.
fn has_failed_for_lack_of_room(executed: &Outcome, delivered: &Outcome) -> bool {
    let has_failed = matches!(executed.reason, Some(Reason::AgentError | Reason::CheckFailed));
    has_failed && delivered.reason == Some(Reason::DiskFull)
}

/// What there is to show of a lost agent, in words.
fn in_spite_of_loss(delivered: &Outcome) -> String {
    match delivered.changes {
        None => format!("its changes could not be salvaged: {}", delivered.message),
        Some(Changes { files: 0, .. }) => "its agent had changed nothing".to_owned(),
        Some(changes) => format!("what its agent had changed is in the patch: {}", count(changes)),
    }
}

fn in_words(changes: Changes) -> String {
    format!("the agent changed {}", count(changes))
}

fn count(Changes { files, insertions, deletions }: Changes) -> String {
    let noun = if files == 1 { "file" } else { "files" };
    format!("{files} {noun} (+{insertions} -{deletions})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivered(files: u64) -> Outcome {
        let changes = Changes { files, insertions: 3, deletions: 1 };
        Outcome { changes: Some(changes), ..Outcome::completed("delivered") }
    }

    #[test]
    fn an_agents_failure_outweighs_its_patch() {
        let executed = Outcome::failed(Reason::CheckFailed, "the check failed");
        let outcome = of(&Outcome::completed("pulled"), executed, Some(delivered(1)));
        assert_eq!(outcome.reason, Some(Reason::CheckFailed));
        assert_eq!(outcome.changes.map(|changes| changes.files), Some(1));
    }

    #[test]
    fn an_agent_that_fails_on_a_full_disk_fails_for_that() {
        let executed = Outcome::failed(Reason::AgentError, "exit code 1: I/O error");
        let full = Outcome::failed(Reason::DiskFull, "the disk of the workspace is full");
        let outcome = of(&Outcome::completed("pulled"), executed, Some(full.clone()));
        assert_eq!(outcome.reason, Some(Reason::DiskFull));
        assert_eq!(outcome.message, "the disk of the workspace is full; exit code 1: I/O error");
        let timeout = Outcome::failed(Reason::Timeout, "the time was over");
        let outcome = of(&Outcome::completed("pulled"), timeout, Some(full));
        assert_eq!(outcome.reason, Some(Reason::Timeout));
    }

    #[test]
    fn a_success_without_changes_says_so() {
        let nothing = Outcome { reason: Some(Reason::NoChanges), ..delivered(0) };
        let outcome = of(&Outcome::completed("pulled"), Outcome::completed("done"), Some(nothing));
        assert_eq!((outcome.state, outcome.reason), (State::Completed, Some(Reason::NoChanges)));
    }

    #[test]
    fn a_success_that_cannot_be_delivered_is_a_failure() {
        let lost = Outcome::failed(Reason::WorkerLost, "the git-pull worker was lost");
        let outcome = of(&Outcome::completed("pulled"), Outcome::completed("done"), Some(lost));
        assert_eq!((outcome.state, outcome.retryable), (State::Failed, true));
    }

    #[test]
    fn what_a_lost_agent_left_is_told() {
        let lost = || Outcome::failed(Reason::WorkerLost, "the claude-exec worker was lost: x");
        let outcome = of(&Outcome::completed("pulled"), lost(), Some(delivered(2)));
        assert_eq!(
            outcome.message,
            "the claude-exec worker was lost: x; what its agent had changed is in the patch: \
             2 files (+3 -1)"
        );
        assert_eq!((outcome.reason, outcome.retryable), (Some(Reason::WorkerLost), true));
        let outcome = of(&Outcome::completed("pulled"), lost(), Some(delivered(0)));
        assert!(outcome.message.ends_with("; its agent had changed nothing"));
        let failed = Outcome::failed(Reason::DiskFull, "the disk is full");
        let outcome = of(&Outcome::completed("pulled"), lost(), Some(failed));
        assert!(outcome.message.ends_with("could not be salvaged: the disk is full"));
    }

    #[test]
    fn a_success_names_its_changes() {
        let done = Outcome::completed("done");
        let outcome = of(&Outcome::completed("pulled"), done, Some(delivered(1)));
        assert_eq!(outcome.message, "the agent changed 1 file (+3 -1)");
    }
}
