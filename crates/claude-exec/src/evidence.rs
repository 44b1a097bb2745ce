//! What is known of a run, however it ended.

use service::protocol::Outcome;
use service::protocol::outcome::Usage;

/// What an agent left behind for its outcome.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Evidence {
    /// Its own name for the conversation.
    pub(crate) session_id: Option<String>,
    /// Its closing words.
    pub(crate) result: Option<String>,
    /// What it used.
    pub(crate) usage: Option<Usage>,
    /// Whether the agent never said what it used in all, so that `usage` is what was heard of it.
    pub(crate) usage_is_partial: bool,
}

impl Evidence {
    /// Adds what is known to an outcome.
    pub(crate) fn enrich(self, outcome: &mut Outcome) {
        outcome.session_id = self.session_id;
        outcome.result = self.result;
        outcome.usage = self.usage;
    }
}
