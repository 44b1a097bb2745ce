//! How a run of the CLI ended, by all that it said. Its exit code 0 and `subtype: "success"` are
//! worth little: both come with denied tools, with answers that were cut off, and with quotas.

use jiff::Timestamp;
use service::protocol::{Outcome, Reason};

use super::records::ResultRecord;
use crate::lines::cut;

/// Why the model stopped, when it stopped because it was done.
const GOOD_STOPS: [&str; 2] = ["end_turn", "stop_sequence"];

/// How much of the CLI's words goes into a message.
const MAX_QUOTE_BYTES: usize = 500;

/// What the CLI said last.
#[derive(Debug, Default)]
pub(super) struct LastWords {
    /// Of the last record; none as long as there was no such record.
    pub(super) subtype: Option<String>,
    /// Its closing words.
    pub(super) result: Option<String>,
    /// Whether the CLI itself spoke last, in the model's place.
    pub(super) is_synthetic: bool,
    /// Whether the model ever spoke.
    pub(super) model_spoke: bool,
    /// Why the CLI spoke in the model's place.
    pub(super) api_error: Option<String>,
    /// We gave up because the credential was refused again and again.
    pub(super) login_was_refused: bool,
    /// Until when the account has no quota, if that was the last news of it.
    pub(super) refused_until: Option<Timestamp>,
    is_error: bool,
    status: Option<u16>,
    stop_reason: Option<String>,
    errors: String,
    denied_tools: Vec<String>,
}

impl LastWords {
    /// Notes the last record.
    pub(super) fn hear(&mut self, record: &ResultRecord<'_>, max_result_bytes: usize) {
        self.subtype = Some(record.subtype.to_string());
        self.result = record.result.as_deref().map(|text| cut(text, max_result_bytes).to_owned());
        self.is_error = record.is_error;
        self.status = record.api_error_status;
        self.stop_reason = record.stop_reason.as_deref().map(str::to_owned);
        self.errors = record.errors.join("; ");
        self.denied_tools =
            record.permission_denials.iter().map(|denial| denial.tool_name.to_string()).collect();
        self.denied_tools.sort();
        self.denied_tools.dedup();
    }

    /// The first line of the closing words.
    fn quote(&self) -> &str {
        let result = self.result.as_deref().filter(|text| !text.is_empty());
        let words = result.unwrap_or(&self.errors);
        cut(words.trim().lines().next().unwrap_or_default(), MAX_QUOTE_BYTES)
    }

    /// When the quota is there again, if the CLI told it.
    fn quota_is_back(&self) -> Option<Timestamp> {
        self.refused_until.or_else(|| limit_in_words(self.quote()))
    }

    /// Whether the run failed in the CLI's own view. It speaks itself also where it answers a
    /// prompt such as `/cost`; that alone is no failure.
    fn has_failed(&self) -> bool {
        let in_its_place = self.api_error.is_some() || speaks_of_a_limit(self.quote());
        self.is_error || (self.is_synthetic && in_its_place)
    }
}

/// The outcome of a run that nobody stopped; `exit_code` is none if it lingered and was ended.
///
/// Strict on purpose: a single denied tool fails the run, for nobody can tell whether the agent
/// found another way or only says so.
pub(super) fn verdict(words: &LastWords, exit_code: Option<i32>, complaint: &str) -> Outcome {
    if words.login_was_refused {
        return Outcome::failed(Reason::ModelLoginRefused, LOGIN_REFUSED);
    }
    let Some(subtype) = words.subtype.as_deref() else {
        return without_record(exit_code, complaint);
    };
    let failed = |reason, message: String| Outcome::failed(reason, message);
    match subtype {
        "error_max_turns" => failed(Reason::TurnLimit, "claude used all its turns".to_owned()),
        "error_max_budget_usd" => {
            failed(Reason::CostLimit, "claude used all the money that it was given".to_owned())
        }
        _ if words.stop_reason.as_deref() == Some("refusal") => {
            failed(Reason::Refused, quoting("the model refused the task", words))
        }
        _ if words.has_failed() => api_failure(words),
        _ if !words.denied_tools.is_empty() => {
            let tools = words.denied_tools.join(", ");
            let message = format!("claude was denied a tool that it wanted: {tools}");
            failed(Reason::PermissionDenied, cut(&message, MAX_QUOTE_BYTES).to_owned())
        }
        "success" if is_cut_off(words) => {
            let why = words.stop_reason.as_deref().unwrap_or("the connection broke");
            let message = format!("the model's last answer was cut off: {}", cut(why, 80));
            Outcome { retryable: true, ..failed(Reason::AgentError, message) }
        }
        "success" if exit_code.is_some_and(|code| code != 0) => {
            let code = exit_code.unwrap_or_default();
            let message = format!("claude spoke of success, but its exit code was {code}");
            failed(Reason::AgentError, message + complaint)
        }
        "success" => Outcome::completed("claude finished"),
        other => failed(
            Reason::AgentError,
            quoting(&format!("claude failed: {}", cut(other, 80)), words),
        ),
    }
}

const LOGIN_REFUSED: &str = "the model's API refuses the credential; the worker needs a valid \
                             ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN";

/// A prompt such as `/cost`, which the CLI answers itself, has no stop reason; but if the model
/// spoke, there must be one that means it was done.
fn is_cut_off(words: &LastWords) -> bool {
    match words.stop_reason.as_deref() {
        Some(reason) => !GOOD_STOPS.contains(&reason),
        None => words.model_spoke,
    }
}

fn without_record(exit_code: Option<i32>, complaint: &str) -> Outcome {
    let how = match exit_code {
        Some(code) => format!("claude ended with exit code {code} and no word about its result"),
        None => "claude was stopped".to_owned(),
    };
    Outcome::failed(Reason::AgentError, how + complaint)
}

/// The CLI speaks in the model's place, because the model's API did not answer as it should.
fn api_failure(words: &LastWords) -> Outcome {
    let error = words.api_error.as_deref().unwrap_or_default();
    let failed = |reason, what: &str| Outcome::failed(reason, quoting(what, words));
    let limited =
        |what| Outcome { retry_at: words.quota_is_back(), ..failed(Reason::RateLimited, what) };
    match (words.status, error) {
        (Some(401 | 403), _) | (_, "authentication_failed") => {
            failed(Reason::ModelLoginRefused, LOGIN_REFUSED)
        }
        // Waiting does not fill an account.
        (_, "billing_error") => {
            let outcome = failed(Reason::RateLimited, "the model's account has no credit");
            Outcome { retryable: false, ..outcome }
        }
        (Some(429), _) | (_, "rate_limit") => limited("the model's API refused for lack of quota"),
        (Some(529), _) | (_, "overloaded") => {
            failed(Reason::RateLimited, "the model's API is overloaded")
        }
        _ if speaks_of_a_limit(words.quote()) => limited("the model's quota is used up"),
        (Some(500..), _) | (_, "server_error" | "unknown") => {
            let outcome = failed(Reason::AgentError, "the model's API failed");
            Outcome { retryable: true, ..outcome }
        }
        _ => failed(Reason::AgentError, "claude failed"),
    }
}

/// Subscriptions end runs with such words and nothing else to go by.
fn speaks_of_a_limit(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["limit reached", "hit your limit", "hit your session limit", "hit your weekly limit"]
        .iter()
        .any(|words| text.contains(words))
}

/// The time in `Claude AI usage limit reached|1750708800`, in seconds since 1970. So CLIs before 2.0
/// ended a subscription's run, as their users report; 2.1.197 has a record of its own for it.
fn limit_in_words(text: &str) -> Option<Timestamp> {
    let (words, second) = text.rsplit_once('|')?;
    let speaks = words.to_ascii_lowercase().ends_with("limit reached");
    speaks.then(|| Timestamp::from_second(second.trim().parse().ok()?).ok()).flatten()
}

fn quoting(what: &str, words: &LastWords) -> String {
    match words.quote() {
        "" => what.to_owned(),
        quote => format!("{what}: {quote}"),
    }
}
