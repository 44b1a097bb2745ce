//! What the model will say, as data.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// The model's side of a conversation: one turn for each request of the agent.
#[derive(Clone, Debug)]
pub struct Script {
    pub(super) turns: Vec<Turn>,
    pub(super) repeats: bool,
    pub(super) needle: String,
    pub(super) is_once: bool,
}

impl Script {
    /// Exactly these turns. A further request gets 400, so that a test notices it.
    #[must_use]
    pub fn new(turns: impl IntoIterator<Item = Turn>) -> Self {
        Self {
            turns: turns.into_iter().collect(),
            repeats: false,
            needle: String::new(),
            is_once: false,
        }
    }

    /// These turns, then the last of them for ever.
    #[must_use]
    pub fn endless(turns: impl IntoIterator<Item = Turn>) -> Self {
        Self { repeats: true, ..Self::new(turns) }
    }

    /// This script is for conversations with `text` in the prompt, and only for them.
    #[must_use]
    pub fn when_prompt_contains(self, text: &str) -> Self {
        Self { needle: text.to_owned(), ..self }
    }

    /// Only the first conversation that this script is for has it; later ones have the next script
    /// that is for them.
    #[must_use]
    pub fn once(self) -> Self {
        Self { is_once: true, ..self }
    }

    /// One text, and the run is over.
    #[must_use]
    pub fn says(text: &str) -> Self {
        Self::new([Turn::text(text)])
    }

    /// Writes a file (relative to the working directory), and says so.
    #[must_use]
    pub fn writes(path: &str, content: &str) -> Self {
        Self::new([Turn::write(path, content), Turn::text(&format!("I wrote {path}."))])
    }

    /// Runs a shell command, and says so.
    #[must_use]
    pub fn runs(command: &str) -> Self {
        Self::new([Turn::bash(command), Turn::text("I ran it.")])
    }

    /// Runs a harmless command again and again.
    #[must_use]
    pub fn never_ends() -> Self {
        Self::endless([Turn::bash("echo again")])
    }

    pub(super) fn turn(&self, position: usize) -> Option<&Turn> {
        let last = if self.repeats { self.turns.last() } else { None };
        self.turns.get(position).or(last)
    }
}

/// What the model answers to one request.
#[derive(Clone, Debug)]
pub enum Turn {
    /// A message.
    Reply(Reply),
    /// An HTTP error.
    Failure(Failure),
    /// Nothing, not even a status line, while the connection stays open.
    Silence,
}

impl Turn {
    /// A message of one text, which ends the run.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Reply(Reply::new([Block::Text(text.to_owned())]))
    }

    /// A call of any tool.
    #[must_use]
    pub fn tool(name: &str, input: Value) -> Self {
        Self::Reply(Reply::new([Block::Tool { name: name.to_owned(), input }]))
    }

    /// A call of Claude Code's `Write`.
    #[must_use]
    pub fn write(path: &str, content: &str) -> Self {
        Self::tool("Write", json!({"file_path": path, "content": content}))
    }

    /// A call of Claude Code's `Bash`.
    #[must_use]
    pub fn bash(command: &str) -> Self {
        Self::tool("Bash", json!({"command": command, "description": "Run it"}))
    }

    /// The model will not: a message with the stop reason `refusal`.
    #[must_use]
    pub fn refusal(text: &str) -> Self {
        Self::Reply(Reply::new([Block::Text(text.to_owned())]).stop_reason("refusal"))
    }

    /// The connection closes in the middle of this text.
    #[must_use]
    pub fn disconnect(text: &str) -> Self {
        Self::Reply(Reply::new([Block::Text(text.to_owned())]).ending(Ending::Disconnect))
    }

    /// Nothing more comes after the first half of this text.
    #[must_use]
    pub fn stall(text: &str) -> Self {
        Self::Reply(Reply::new([Block::Text(text.to_owned())]).ending(Ending::Stall))
    }

    /// This text, with a pause before every few characters.
    #[must_use]
    pub fn drip(text: &str, pause: Duration) -> Self {
        Self::Reply(Reply::new([Block::Text(text.to_owned())]).pause(pause))
    }

    /// 429, to be tried again after so many seconds.
    #[must_use]
    pub fn rate_limited(retry_after_seconds: u32) -> Self {
        let message = "This request would exceed your account's rate limit.";
        Self::Failure(
            Failure::new(429, "rate_limit_error", message)
                .header("retry-after", &retry_after_seconds.to_string())
                .header("anthropic-ratelimit-requests-limit", "50")
                .header("anthropic-ratelimit-requests-remaining", "0")
                .header("anthropic-ratelimit-requests-reset", "2099-01-01T00:00:00Z"),
        )
    }

    /// 429 to a subscription whose session is used up, for so many seconds from then on; the headers
    /// are those of a real answer, as users report it.
    #[must_use]
    pub fn session_used_up(seconds: u32) -> Self {
        let message =
            "This request would exceed your account's rate limit. Please try again later.";
        let week = 7 * 24 * 3600;
        Self::Failure(
            Failure::new(429, "rate_limit_error", message)
                .header("retry-after", &seconds.to_string())
                .header("anthropic-ratelimit-unified-status", "rejected")
                .header_ahead("anthropic-ratelimit-unified-reset", seconds)
                .header("anthropic-ratelimit-unified-representative-claim", "five_hour")
                .header("anthropic-ratelimit-unified-5h-status", "rejected")
                .header_ahead("anthropic-ratelimit-unified-5h-reset", seconds)
                .header("anthropic-ratelimit-unified-5h-utilization", "1.0")
                .header("anthropic-ratelimit-unified-7d-status", "allowed")
                .header_ahead("anthropic-ratelimit-unified-7d-reset", week)
                .header("anthropic-ratelimit-unified-7d-utilization", "0.59")
                .header("anthropic-ratelimit-unified-fallback-percentage", "0.5")
                .header("anthropic-ratelimit-unified-overage-status", "rejected")
                .header("anthropic-ratelimit-unified-overage-disabled-reason", "out_of_credits"),
        )
    }

    /// 529: the API is overloaded.
    #[must_use]
    pub fn overloaded() -> Self {
        Self::Failure(Failure::new(529, "overloaded_error", "Overloaded"))
    }

    /// 401: the key is wrong.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::Failure(Failure::new(401, "authentication_error", "invalid x-api-key"))
    }

    /// 500: the API is broken.
    #[must_use]
    pub fn server_error() -> Self {
        Self::Failure(Failure::new(500, "api_error", "Internal server error"))
    }

    /// 400: the account has no money left.
    #[must_use]
    pub fn no_credit() -> Self {
        let message = "Your credit balance is too low to access the Anthropic API.";
        Self::Failure(Failure::new(400, "invalid_request_error", message))
    }
}

/// A message of the model.
#[derive(Clone, Debug)]
pub struct Reply {
    pub(super) blocks: Vec<Block>,
    pub(super) stop_reason: String,
    pub(super) usage: Usage,
    pub(super) pause: Duration,
    pub(super) ending: Ending,
}

impl Reply {
    /// A message that arrives whole, of 100 tokens in and 10 out. It stops for tools if it calls
    /// any, else because it is done.
    #[must_use]
    pub fn new(blocks: impl IntoIterator<Item = Block>) -> Self {
        let blocks: Vec<_> = blocks.into_iter().collect();
        let calls = blocks.iter().any(|block| matches!(block, Block::Tool { .. }));
        let stop_reason = if calls { "tool_use" } else { "end_turn" }.to_owned();
        let usage = Usage { input: 100, output: 10, ..Usage::default() };
        Self { blocks, stop_reason, usage, pause: Duration::ZERO, ending: Ending::Complete }
    }

    /// Gives another stop reason.
    #[must_use]
    pub fn stop_reason(self, stop_reason: &str) -> Self {
        Self { stop_reason: stop_reason.to_owned(), ..self }
    }

    /// Bills these tokens.
    #[must_use]
    pub fn usage(self, usage: Usage) -> Self {
        Self { usage, ..self }
    }

    /// Waits before each event of the stream.
    #[must_use]
    pub fn pause(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// Ends otherwise than well.
    #[must_use]
    pub fn ending(self, ending: Ending) -> Self {
        Self { ending, ..self }
    }
}

impl From<Reply> for Turn {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

/// A part of a message.
#[derive(Clone, Debug)]
pub enum Block {
    /// What the reader is told.
    Text(String),
    /// What the model thought.
    Thinking(String),
    /// A call of a tool.
    Tool {
        /// For example `Read`.
        name: String,
        /// The arguments.
        input: Value,
    },
}

/// How a message ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With `message_stop`.
    Complete,
    /// The connection closes after half of the events.
    Disconnect,
    /// After half of the events nothing comes any more.
    Stall,
    /// After half of the events comes an `error` event: overloaded.
    Error,
}

/// Tokens, as they are billed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Read, at full price.
    pub input: u64,
    /// Written.
    pub output: u64,
    /// Read from the cache.
    pub cache_read: u64,
    /// Put into the cache.
    pub cache_write: u64,
}

/// An HTTP error of the API.
#[derive(Clone, Debug)]
pub struct Failure {
    pub(super) status: u16,
    pub(super) kind: String,
    pub(super) message: String,
    pub(super) headers: Vec<(String, HeaderText)>,
}

/// What is in a header.
#[derive(Clone, Debug)]
pub(super) enum HeaderText {
    Fixed(String),
    /// The time that is so many seconds ahead when it is sent, in seconds since 1970.
    Ahead(u32),
}

impl HeaderText {
    pub(super) fn now(&self) -> String {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        match self {
            Self::Fixed(text) => text.clone(),
            Self::Ahead(seconds) => (now() + u64::from(*seconds)).to_string(),
        }
    }
}

impl Failure {
    /// An error with its status, its type and what it says.
    #[must_use]
    pub fn new(status: u16, kind: &str, message: &str) -> Self {
        Self { status, kind: kind.to_owned(), message: message.to_owned(), headers: Vec::new() }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), HeaderText::Fixed(value.to_owned())));
        self
    }

    /// Adds a header with a time so many seconds after the answer, in seconds since 1970.
    #[must_use]
    pub fn header_ahead(mut self, name: &str, seconds: u32) -> Self {
        self.headers.push((name.to_owned(), HeaderText::Ahead(seconds)));
        self
    }
}

impl From<Failure> for Turn {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}
