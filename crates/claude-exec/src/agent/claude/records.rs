//! The lines of `--output-format stream-json`, as far as they matter here. Every field is optional:
//! a line that lacks one is worth less, not an error.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

/// One line.
#[derive(Debug)]
pub(super) enum Record<'a> {
    /// Of the session: its start, retries and more.
    System(SystemRecord<'a>),
    /// A part of an answer of the model, or the CLI's own words in its place.
    Assistant(AssistantRecord<'a>),
    /// What tools answered.
    User(UserRecord<'a>),
    /// How far the account is in its quota: with a subscription, at its first answer and whenever that
    /// changes.
    RateLimit(RateLimitRecord<'a>),
    /// The end.
    Result(Box<ResultRecord<'a>>),
    /// Everything else.
    Other,
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(rename = "type", borrow)]
    name: Cow<'a, str>,
}

impl<'a> Record<'a> {
    /// Reads a line. (In two passes: serde's tagged enums would build a tree of the whole line,
    /// many times its size, and know no raw values.)
    pub(super) fn parse(line: &'a str) -> serde_json::Result<Self> {
        let kind: Kind<'_> = serde_json::from_str(line)?;
        Ok(match kind.name.as_ref() {
            "system" => Self::System(serde_json::from_str(line)?),
            "assistant" => Self::Assistant(serde_json::from_str(line)?),
            "user" => Self::User(serde_json::from_str(line)?),
            "rate_limit_event" => Self::RateLimit(serde_json::from_str(line)?),
            "result" => Self::Result(serde_json::from_str(line)?),
            _ => Self::Other,
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SystemRecord<'a> {
    #[serde(borrow)]
    pub(super) subtype: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) session_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) model: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) claude_code_version: Option<Cow<'a, str>>,
    pub(super) attempt: u32,
    pub(super) max_retries: u32,
    pub(super) retry_delay_ms: f64,
    pub(super) error_status: Option<u16>,
    #[serde(borrow)]
    pub(super) error: Option<Cow<'a, str>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AssistantRecord<'a> {
    #[serde(borrow)]
    pub(super) message: AssistantMessage<'a>,
    /// Why the CLI speaks in the model's place.
    #[serde(borrow)]
    pub(super) error: Option<Cow<'a, str>>,
    /// Set when a subagent speaks.
    #[serde(borrow)]
    pub(super) parent_tool_use_id: Option<Cow<'a, str>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AssistantMessage<'a> {
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
    /// `<synthetic>` when it is the CLI that speaks.
    #[serde(borrow)]
    pub(super) model: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) content: Vec<Block<'a>>,
    pub(super) usage: TokenCounts,
}

/// A piece of a message; which fields it has depends on its kind.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Block<'a> {
    /// `text`, `thinking`, `tool_use`, `tool_result`, …
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) text: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) thinking: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) input: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) tool_use_id: Cow<'a, str>,
    /// A text, or pieces with texts.
    #[serde(borrow)]
    pub(super) content: Option<&'a RawValue>,
    pub(super) is_error: Option<bool>,
}

impl Block<'_> {
    /// The texts in a tool's answer.
    pub(super) fn answer(&self) -> String {
        let json = self.content.map_or("", RawValue::get);
        if let Ok(text) = serde_json::from_str::<String>(json) {
            return text;
        }
        let blocks: Vec<AnswerBlock<'_>> = serde_json::from_str(json).unwrap_or_default();
        let texts: Vec<&str> = blocks.iter().map(|block| block.text.as_ref()).collect();
        texts.join("\n")
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AnswerBlock<'a> {
    #[serde(borrow)]
    text: Cow<'a, str>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct UserRecord<'a> {
    #[serde(borrow)]
    pub(super) message: UserMessage<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct UserMessage<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

impl<'a> UserMessage<'a> {
    /// Its pieces; none if it is a plain text, with which the CLI repeats the prompt.
    pub(super) fn blocks(&self) -> Vec<Block<'a>> {
        self.content.and_then(|json| serde_json::from_str(json.get()).ok()).unwrap_or_default()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RateLimitRecord<'a> {
    #[serde(borrow)]
    pub(super) rate_limit_info: RateLimitState<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct RateLimitState<'a> {
    /// `allowed`, `allowed_warning` or `rejected`.
    #[serde(borrow)]
    pub(super) status: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) rate_limit_type: Option<Cow<'a, str>>,
    /// Seconds since 1970; absent when the API told none.
    resets_at: Option<f64>,
}

impl RateLimitState<'_> {
    pub(super) fn is_rejected(&self) -> bool {
        self.status == "rejected"
    }

    /// When the quota is there again.
    pub(super) fn resets_at(&self) -> Option<Timestamp> {
        // What does not fit is no time of this calendar, and is refused there.
        #[allow(clippy::cast_possible_truncation, reason = "whole seconds will do")]
        Timestamp::from_second(self.resets_at? as i64).ok()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct TokenCounts {
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) cache_read_input_tokens: u64,
    pub(super) cache_creation_input_tokens: u64,
}

/// The last line.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ResultRecord<'a> {
    /// `success`, `error_max_turns`, `error_max_budget_usd`, `error_during_execution`, …
    #[serde(borrow)]
    pub(super) subtype: Cow<'a, str>,
    pub(super) is_error: bool,
    pub(super) api_error_status: Option<u16>,
    pub(super) num_turns: u32,
    #[serde(borrow)]
    pub(super) result: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) stop_reason: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) session_id: Option<Cow<'a, str>>,
    pub(super) total_cost_usd: f64,
    pub(super) usage: TokenCounts,
    #[serde(rename = "modelUsage", borrow)]
    pub(super) model_usage: BTreeMap<Cow<'a, str>, ModelUsage>,
    #[serde(borrow)]
    pub(super) permission_denials: Vec<Denial<'a>>,
    #[serde(borrow)]
    pub(super) errors: Vec<Cow<'a, str>>,
}

/// What one model used.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ModelUsage {
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) cache_read_input_tokens: u64,
    pub(super) cache_creation_input_tokens: u64,
}

/// A tool that was refused.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Denial<'a> {
    #[serde(borrow)]
    pub(super) tool_name: Cow<'a, str>,
}
