//! What a run used, by its last record or by what was heard before there was one.

use std::collections::BTreeMap;

use service::protocol::outcome::Usage;

use super::records::{ResultRecord, TokenCounts};

/// Token counts by message; the lines of one message repeat them.
#[derive(Debug, Default)]
pub(super) struct RunningUsage {
    messages: BTreeMap<String, TokenCounts>,
    turns: u32,
}

/// Whether the main conversation or a subagent's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaker {
    Main,
    Subagent,
}

impl RunningUsage {
    /// Notes what a message says of its usage so far; says whether it is a new one.
    pub(super) fn hear(&mut self, message: &str, counts: TokenCounts, speaker: Speaker) -> bool {
        let is_new = self.messages.insert(message.to_owned(), counts).is_none();
        if is_new && speaker == Speaker::Main {
            self.turns += 1;
        }
        is_new
    }

    /// The sums; none if nothing was heard. The cost is not known then, and the written tokens are
    /// those at the beginning of each message: both are lower bounds.
    pub(super) fn sums(&self) -> Option<Usage> {
        let mut sums = Usage { turns: self.turns, ..Usage::default() };
        for counts in self.messages.values() {
            sums.input_tokens += counts.input_tokens;
            sums.output_tokens += counts.output_tokens;
            sums.cache_read_tokens += counts.cache_read_input_tokens;
            sums.cache_write_tokens += counts.cache_creation_input_tokens;
        }
        (!self.messages.is_empty()).then_some(sums)
    }
}

/// The usage in the last record: by model if it is there, for that counts all requests, also those
/// of subagents; `usage` itself lacks some after an interruption.
pub(super) fn usage_of(record: &ResultRecord<'_>) -> Usage {
    let mut usage =
        Usage { cost_usd: record.total_cost_usd, turns: record.num_turns, ..Usage::default() };
    if record.model_usage.is_empty() {
        usage.input_tokens = record.usage.input_tokens;
        usage.output_tokens = record.usage.output_tokens;
        usage.cache_read_tokens = record.usage.cache_read_input_tokens;
        usage.cache_write_tokens = record.usage.cache_creation_input_tokens;
    }
    for model in record.model_usage.values() {
        usage.input_tokens += model.input_tokens;
        usage.output_tokens += model.output_tokens;
        usage.cache_read_tokens += model.cache_read_input_tokens;
        usage.cache_write_tokens += model.cache_creation_input_tokens;
    }
    usage
}
