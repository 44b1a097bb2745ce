//! From the CLI's lines to events, and to what its outcome is judged by.

use service::protocol::event::{AgentEvent, Step, Stream};
use service::protocol::outcome::Usage;
use service::protocol::{Outcome, Payload};

use super::NAME;
use super::bounded_json::read_bounded;
use super::records::{AssistantRecord, Block, RateLimitRecord, Record, ResultRecord, SystemRecord};
use super::usage::{RunningUsage, Speaker, usage_of};
use super::verdict::{LastWords, verdict};
use crate::agent::Listener;
use crate::evidence::Evidence;
use crate::lines::{PIECE_BYTES, Piece, cut};
use crate::output::{self, notice};
use crate::process::Reaction;

/// Longest line that is read as JSON; the API takes at most 32 MB at once.
const MAX_JSON_BYTES: usize = 64 * 1024 * 1024;

/// How much of a tool's answer is shown.
const MAX_TOOL_RESULT_BYTES: usize = 16 * 1024;

/// How much of the closing words is kept.
const MAX_RESULT_BYTES: usize = 256 * 1024;

/// The CLI tries a refused credential eleven times, over three minutes; this many are enough.
const LOGIN_ATTEMPTS: u32 = 3;

/// Longest id or name; real ones are much shorter.
const MAX_ID_BYTES: usize = 200;

/// The model's name on the CLI's own words.
const SYNTHETIC: &str = "<synthetic>";

/// Understands one run of the CLI.
pub(super) struct ClaudeListener {
    program: String,
    session_id: String,
    running_usage: RunningUsage,
    final_usage: Option<Usage>,
    last_words: LastWords,
}

impl ClaudeListener {
    pub(super) fn new(program: &str, session_id: String) -> Self {
        Self {
            program: program.to_owned(),
            session_id,
            running_usage: RunningUsage::default(),
            final_usage: None,
            last_words: LastWords::default(),
        }
    }

    fn hear_record(&mut self, record: &Record<'_>, emit: &mut dyn FnMut(Payload)) -> Reaction {
        match record {
            Record::System(record) => return self.hear_system(record, emit),
            Record::Assistant(record) => self.hear_assistant(record, emit),
            Record::User(record) => {
                for block in record.message.blocks() {
                    hear_block(&block, emit);
                }
            }
            Record::RateLimit(record) => self.hear_rate_limit(record, emit),
            Record::Result(record) => {
                self.hear_result(record, emit);
                return Reaction::ExpectEnd;
            }
            Record::Other => {}
        }
        Reaction::Listen
    }

    fn hear_system(
        &mut self,
        record: &SystemRecord<'_>,
        emit: &mut dyn FnMut(Payload),
    ) -> Reaction {
        match record.subtype.as_ref() {
            "init" => {
                if let Some(id) = &record.session_id {
                    cut(id, MAX_ID_BYTES).clone_into(&mut self.session_id);
                }
                emit(notice("agent_started", started(record)));
            }
            "api_retry" => {
                emit(notice("model_retry", retry(record)));
                let is_login = record.error.as_deref() == Some("authentication_failed");
                if is_login && record.attempt >= LOGIN_ATTEMPTS {
                    self.last_words.login_was_refused = true;
                    return Reaction::GiveUp;
                }
            }
            _ => {}
        }
        Reaction::Listen
    }

    fn hear_assistant(&mut self, record: &AssistantRecord<'_>, emit: &mut dyn FnMut(Payload)) {
        let message = &record.message;
        let is_synthetic = message.model == SYNTHETIC;
        let is_main = record.parent_tool_use_id.is_none();
        if is_main {
            self.last_words.is_synthetic = is_synthetic;
            self.last_words.model_spoke |= !is_synthetic;
        }
        if is_main {
            self.last_words.api_error = record.error.as_deref().map(str::to_owned);
        }
        let mut is_new = false;
        if !is_synthetic {
            let speaker = if is_main { Speaker::Main } else { Speaker::Subagent };
            let id = cut(&message.id, MAX_ID_BYTES);
            is_new = self.running_usage.hear(id, message.usage, speaker);
        }
        for block in &message.content {
            hear_block(block, emit);
        }
        // All that will ever be known of it, if this worker does not live to see its end.
        if let Some(usage) = self.running_usage.sums()
            && is_new
            && usage.output_tokens + usage.input_tokens > 0
        {
            emit(Payload::Agent(AgentEvent::Usage { usage }));
        }
    }

    fn hear_rate_limit(&mut self, record: &RateLimitRecord<'_>, emit: &mut dyn FnMut(Payload)) {
        let state = &record.rate_limit_info;
        self.last_words.refused_until = if state.is_rejected() { state.resets_at() } else { None };
        if state.status != "allowed" {
            let kind = state.rate_limit_type.as_deref().unwrap_or("rate");
            let until = state.resets_at().map(|at| format!(", until {at}")).unwrap_or_default();
            let (kind, status) = (cut(kind, 80), cut(&state.status, 80));
            emit(notice("rate_limit", format!("the account's {kind} limit: {status}{until}")));
        }
    }

    fn hear_result(&mut self, record: &ResultRecord<'_>, emit: &mut dyn FnMut(Payload)) {
        let usage = usage_of(record);
        emit(Payload::Agent(AgentEvent::Usage { usage }));
        self.final_usage = Some(usage);
        if let Some(id) = &record.session_id {
            cut(id, MAX_ID_BYTES).clone_into(&mut self.session_id);
        }
        self.last_words.hear(record, MAX_RESULT_BYTES);
    }
}

impl Listener for ClaudeListener {
    fn name(&self) -> &'static str {
        NAME
    }

    fn longest_line(&self) -> usize {
        MAX_JSON_BYTES
    }

    fn hear(&mut self, piece: Piece<'_>, emit: &mut dyn FnMut(Payload)) -> Reaction {
        if let Piece::Line(line) = &piece
            && line.trim_ascii_start().starts_with(b"{")
        {
            match Record::parse(&String::from_utf8_lossy(line)) {
                Ok(record) => return self.hear_record(&record, emit),
                Err(error) => tracing::debug!(%error, "a line of claude is not understood"),
            }
        }
        hear_text(&piece, emit);
        Reaction::Listen
    }

    fn evidence(&self) -> Evidence {
        Evidence {
            session_id: Some(self.session_id.clone()),
            result: self.last_words.result.clone(),
            usage: self.final_usage.or_else(|| self.running_usage.sums()),
            usage_is_partial: self.final_usage.is_none(),
        }
    }

    fn has_concluded(&self) -> bool {
        self.last_words.subtype.is_some()
    }

    fn verdict(&self, exit_code: Option<i32>, complaint: &str) -> Outcome {
        verdict(&self.last_words, exit_code, complaint)
    }

    fn unavailable(&self, error: &str) -> String {
        format!(
            "cannot start {}: {error}; install Claude Code on the worker with `npm install -g \
             @anthropic-ai/claude-code`, or name its program in ONESHIFT_CLAUDE",
            self.program
        )
    }
}

/// What is no record goes on as output, long lines in pieces.
fn hear_text(piece: &Piece<'_>, emit: &mut dyn FnMut(Payload)) {
    let bytes = piece.bytes();
    if bytes.len() <= PIECE_BYTES {
        return output::emit(Step::Execute, Stream::Stdout, piece, emit);
    }
    for (index, part) in bytes.chunks(PIECE_BYTES).enumerate() {
        let part = if index == 0 { Piece::LongStart(part) } else { Piece::LongRest(part) };
        output::emit(Step::Execute, Stream::Stdout, &part, emit);
    }
}

fn hear_block(block: &Block<'_>, emit: &mut dyn FnMut(Payload)) {
    match block.kind.as_ref() {
        "text" => {
            in_parts(&block.text, |text| emit(Payload::Agent(AgentEvent::Message { text })));
        }
        "thinking" => {
            in_parts(&block.thinking, |text| emit(Payload::Agent(AgentEvent::Thinking { text })));
        }
        "tool_use" => emit(Payload::Agent(AgentEvent::ToolCall {
            id: cut(&block.id, MAX_ID_BYTES).to_owned(),
            name: cut(&block.name, MAX_ID_BYTES).to_owned(),
            input: block.input.map(read_bounded).unwrap_or_default(),
        })),
        "tool_result" => emit(Payload::Agent(AgentEvent::ToolResult {
            id: cut(&block.tool_use_id, MAX_ID_BYTES).to_owned(),
            text: shortened(block.answer()),
            is_error: block.is_error.unwrap_or(false),
        })),
        _ => {}
    }
}

/// Texts over 1 MiB become several events.
fn in_parts(text: &str, mut each: impl FnMut(String)) {
    let mut rest = text;
    while !rest.is_empty() {
        let part = cut(rest, PIECE_BYTES);
        each(part.to_owned());
        rest = &rest[part.len()..];
    }
}

fn shortened(text: String) -> String {
    let short = cut(&text, MAX_TOOL_RESULT_BYTES);
    if short.len() == text.len() {
        return text;
    }
    format!("{short}… ({} bytes left out)", text.len() - short.len())
}

fn started(record: &SystemRecord<'_>) -> String {
    let model = record.model.as_deref().unwrap_or("an unknown model");
    let version = record.claude_code_version.as_deref().unwrap_or("of an unknown version");
    format!("claude {} works with {}", cut(version, 80), cut(model, MAX_ID_BYTES))
}

fn retry(record: &SystemRecord<'_>) -> String {
    let error = record.error.as_deref().unwrap_or("no answer");
    let status = record.error_status.map(|status| format!(" ({status})")).unwrap_or_default();
    format!(
        "the model's API failed: {}{status}; attempt {} of {} follows in {:.1} s",
        cut(error, 80),
        record.attempt,
        record.max_retries,
        record.retry_delay_ms / 1000.0
    )
}

#[cfg(test)]
mod tests;
