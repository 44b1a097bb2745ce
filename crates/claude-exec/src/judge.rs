//! The outcome of a run by all the evidence: who ended it, what the agent said, its exit code.

use std::time::Duration;

use service::protocol::request::Limits;
use service::protocol::{Outcome, Reason, State};

use crate::agent::Listener;
use crate::process::{Cause, Ending};

/// How the agent's run ended.
pub(crate) fn judge_agent(
    ending: Ending,
    listener: &dyn Listener,
    limits: &Limits,
    complaint: &str,
) -> Outcome {
    let name = listener.name();
    let concluded = listener.has_concluded();
    let mut outcome = match ending.cause {
        Cause::Stopped(stop) => stop.into_outcome(),
        Cause::NotStarted(error) => {
            Outcome::failed(Reason::AgentUnavailable, listener.unavailable(&error))
        }
        // What it said of its result stands, whatever became of it afterwards.
        Cause::GuardLost | Cause::Lingered if concluded => listener.verdict(None, complaint),
        Cause::TimedOut => finished(listener).unwrap_or_else(|| timed_out(limits)),
        Cause::Stalled => finished(listener).unwrap_or_else(|| {
            let message = format!("{name} produced no output for {} s", limits.idle_seconds);
            Outcome::failed(Reason::Stalled, message)
        }),
        Cause::GuardLost => {
            let message = format!("{name} killed the process that guards it");
            Outcome::failed(Reason::AgentError, message)
        }
        Cause::Exited => listener.verdict(ending.exit_code, complaint),
        Cause::Lingered | Cause::GivenUp => listener.verdict(None, complaint),
    };
    outcome.exit_code = ending.exit_code;
    listener.evidence().enrich(&mut outcome);
    outcome
}

/// The success of an agent that was done in the very moment in which its time was over. What else
/// it says of its result then is only that it was interrupted.
fn finished(listener: &dyn Listener) -> Option<Outcome> {
    let verdict = listener.has_concluded().then(|| listener.verdict(None, ""))?;
    (verdict.state == State::Completed).then_some(verdict)
}

/// How the check ended: nothing if it passed.
pub(crate) fn judge_check(ending: Ending, limits: &Limits) -> Result<(), Box<Outcome>> {
    Err(Box::new(match ending.cause {
        Cause::Exited if ending.exit_code == Some(0) => return Ok(()),
        Cause::Stopped(stop) => stop.into_outcome(),
        Cause::TimedOut => timed_out(limits),
        Cause::Stalled => {
            let message = format!("the check produced no output for {} s", limits.idle_seconds);
            Outcome::failed(Reason::Stalled, message)
        }
        Cause::NotStarted(error) => {
            Outcome::failed(Reason::InternalError, format!("cannot start sh: {error}"))
        }
        Cause::Exited | Cause::GuardLost | Cause::Lingered | Cause::GivenUp => {
            let how = match ending.exit_code {
                Some(code) => format!("the check failed with exit code {code}"),
                None => "the check killed the process that guards it".to_owned(),
            };
            Outcome::failed(Reason::CheckFailed, how)
        }
    }))
}

fn timed_out(limits: &Limits) -> Outcome {
    let message = format!("the time of {} s was over", limits.timeout_seconds);
    Outcome::failed(Reason::Timeout, message)
}

/// A duration in whole milliseconds.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
