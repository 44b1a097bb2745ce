//! What a job is asked to do, and which ends it may have.

use serde_json::{Value, json};

use crate::random::Random;

/// Keys of jobs that wait for each other, and of jobs that replace each other.
const QUEUE_KEYS: [&str; 2] = ["queue-1", "queue-2"];
const REPLACE_KEYS: [&str; 3] = ["replace-1", "replace-2", "replace-3"];

/// Ends that a job may only have when its attempts are used up.
const LOST: [&str; 3] = ["failed worker_lost", "failed worker_stopped", "failed caller_lost"];

/// How often a job is given to a worker that is lost before the agent has begun.
const MAX_LOST_ATTEMPTS: u64 = 3;

/// One job and what its caller does.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) number: u32,
    agent: Agent,
    pub(crate) retries: u64,
    key: Option<Key>,
    pub(crate) cancel: Option<Cancel>,
    /// Whether somebody follows it from its start to its end.
    pub(crate) is_followed: bool,
    /// Whether it is submitted twice at the same time.
    pub(crate) is_repeated: bool,
}

/// What the agent does, after it has changed a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Agent {
    /// It ends well after so many tenths of a second.
    Works(u64),
    /// It ends with an exit code of its own.
    Fails,
    /// It takes longer than the job allows.
    Overruns,
    /// It takes so long that only a cancellation ends it.
    Dawdles,
}

/// A concurrency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    name: &'static str,
    on_conflict: &'static str,
}

/// A cancellation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cancel {
    /// How long after the acceptance, in milliseconds.
    pub(crate) after: u64,
    pub(crate) is_repeated: bool,
}

/// What is known of a job that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence<'a> {
    /// For example `failed worker_lost`.
    pub(crate) ending: &'a str,
    /// Its retries and attempts, as its stream and the gateway tell them.
    pub(crate) retries: u64,
    pub(crate) attempts: u64,
    /// Whether the agent began in the last attempt, as its stream tells.
    pub(crate) has_agent_begun: bool,
    /// The end that the answer to its cancellation told, or that it had none yet.
    pub(crate) cancel: Option<Option<&'a str>>,
    /// Whether another job with its key may have taken its place.
    pub(crate) is_replaced: bool,
}

impl Plan {
    pub(crate) fn random(number: u32, random: &mut Random) -> Self {
        let agent = match random.below(20) {
            0 | 1 => Agent::Fails,
            2 => Agent::Overruns,
            3 => Agent::Dawdles,
            other => Agent::Works(other % 4),
        };
        let key = match random.below(12) {
            0 => random.pick(&QUEUE_KEYS).map(|name| Key { name, on_conflict: "queue" }),
            1 => random.pick(&REPLACE_KEYS).map(|name| Key { name, on_conflict: "replace" }),
            _ => None,
        };
        let (wants_cancel, after) = (random.one_in(10), random.below(1500));
        let is_repeated = random.one_in(2);
        let is_cancelled = wants_cancel || agent == Agent::Dawdles;
        Self {
            number,
            agent,
            retries: if random.one_in(6) { 0 } else { 2 + random.below(4) },
            key,
            cancel: is_cancelled.then_some(Cancel { after, is_repeated }),
            is_followed: random.one_in(5),
            is_repeated: random.one_in(8),
        }
    }

    pub(crate) fn request(&self, repository: &str) -> Value {
        let (nap, code) = match self.agent {
            Agent::Works(tenths) => (format!("0.{tenths}"), 0),
            Agent::Fails => ("0".to_owned(), 3),
            Agent::Overruns => ("30".to_owned(), 0),
            Agent::Dawdles => ("90".to_owned(), 0),
        };
        let key = self.key.map_or("-", |key| key.name);
        let mut request = json!({
            "prompt": format!("{nap} {code} {key}\n{}\n", self.mark()),
            "repoUrl": repository,
            "retries": self.retries,
        });
        if let Some(Key { name, on_conflict }) = self.key {
            request["concurrency"] = json!({ "key": name, "onConflict": on_conflict });
        }
        if self.agent == Agent::Overruns {
            request["limits"] = json!({ "timeoutSeconds": 1 });
        }
        request
    }

    /// What the agent writes.
    pub(crate) fn mark(&self) -> String {
        format!("this is job {}", self.number)
    }

    /// The key, if a newer job with the same one takes the place of this one.
    pub(crate) fn replace_key(&self) -> Option<&'static str> {
        self.key.filter(|key| key.on_conflict == "replace").map(|key| key.name)
    }

    /// Whether the job may have ended like this.
    pub(crate) fn allows(&self, evidence: &Evidence<'_>) -> bool {
        let Evidence { ending, retries, attempts, has_agent_begun, .. } = *evidence;
        if let Some(Some(told)) = evidence.cancel
            && told != ending
        {
            return false;
        }
        match ending {
            "cancelled superseded" => evidence.is_replaced,
            "cancelled cancel_requested" => evidence.cancel.is_some(),
            // What a job had reached before it heard of its cancellation stands.
            "completed" => matches!(self.agent, Agent::Works(_)),
            _ if evidence.cancel == Some(None) => false,
            "failed agent_error" => self.agent == Agent::Fails,
            "failed timeout" => self.agent == Agent::Overruns,
            _ if LOST.contains(&ending) => {
                retries == self.retries && (has_agent_begun || attempts >= MAX_LOST_ATTEMPTS)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(agent: Agent, retries: u64) -> Plan {
        let (key, cancel) = (None, None);
        let (is_followed, is_repeated) = (false, false);
        Plan { number: 1, agent, retries, key, cancel, is_followed, is_repeated }
    }

    fn evidence(ending: &str) -> Evidence<'_> {
        Evidence {
            ending,
            retries: 0,
            attempts: 1,
            has_agent_begun: true,
            cancel: None,
            is_replaced: false,
        }
    }

    #[test]
    fn a_job_is_lost_only_when_its_attempts_are_used_up() {
        let lost = evidence("failed worker_lost");
        let works = |retries| plan(Agent::Works(1), retries);
        assert!(works(0).allows(&lost));
        assert!(!works(2).allows(&lost));
        assert!(works(2).allows(&Evidence { retries: 2, attempts: 3, ..lost }));
        let before = Evidence { has_agent_begun: false, ..lost };
        assert!(!works(0).allows(&before));
        assert!(works(0).allows(&Evidence { attempts: 3, ..before }));
    }

    #[test]
    fn a_cancellation_that_was_accepted_is_not_forgotten() {
        let accepted = |ending| Evidence { cancel: Some(None), ..evidence(ending) };
        assert!(plan(Agent::Fails, 0).allows(&accepted("cancelled cancel_requested")));
        assert!(!plan(Agent::Fails, 0).allows(&accepted("failed agent_error")));
        assert!(!plan(Agent::Fails, 0).allows(&evidence("cancelled cancel_requested")));
        assert!(plan(Agent::Works(0), 0).allows(&accepted("completed")));
        assert!(!plan(Agent::Dawdles, 0).allows(&accepted("completed")));
        let told = Evidence { cancel: Some(Some("completed")), ..evidence("failed timeout") };
        assert!(!plan(Agent::Overruns, 0).allows(&told));
    }

    #[test]
    fn an_end_that_nothing_explains_is_wrong() {
        assert!(plan(Agent::Fails, 0).allows(&evidence("failed agent_error")));
        assert!(!plan(Agent::Works(0), 0).allows(&evidence("failed agent_error")));
        assert!(!plan(Agent::Works(0), 0).allows(&evidence("failed internal_error")));
        assert!(!plan(Agent::Works(0), 0).allows(&evidence("cancelled superseded")));
    }
}
