//! What the agent asked the model.

use std::collections::BTreeMap;

use serde_json::Value;

/// A request that the server has seen.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `HEAD` or `POST`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers by their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The JSON body, or null.
    pub body: Value,
    /// What it was about.
    pub purpose: Purpose,
}

/// What a request was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The conversation: it took a turn of a script, this one (from 0).
    Turn(usize),
    /// A message beside the conversation, such as its title.
    Aside,
    /// How many tokens something is.
    CountTokens,
    /// Anything else; it got 404, or 200 if it was a `HEAD`.
    Other,
}

impl Request {
    /// The conversation it belongs to; empty if it doesn't say.
    pub(super) fn session(&self) -> &str {
        self.headers.get("x-claude-code-session-id").map_or("", String::as_str)
    }

    /// Whether it asks for a message that has nothing to do with the conversation: Claude Code
    /// offers no tools when it wants a title, and a single token when it looks for a quota.
    pub(super) fn is_aside(&self) -> bool {
        let without_tools = self.body["tools"].as_array().is_some_and(Vec::is_empty);
        without_tools || self.body["max_tokens"] == 1
    }

    /// All texts of the user, the latest first.
    #[must_use]
    pub fn user_texts(&self) -> Vec<&str> {
        self.user_contents()
            .flat_map(|content| match content {
                Value::String(text) => vec![text.as_str()],
                content => blocks(content, "text").filter_map(|b| b["text"].as_str()).collect(),
            })
            .collect()
    }

    /// The results of tools in the request's last message that has any, as text; with the mark
    /// whether it is an error.
    #[must_use]
    pub fn tool_results(&self) -> Vec<(String, bool)> {
        let results = self.user_contents().map(|content| {
            let results = blocks(content, "tool_result");
            let results =
                results.map(|result| (plain(&result["content"]), result["is_error"] == true));
            results.collect::<Vec<_>>()
        });
        let mut results = results.into_iter().find(|list| !list.is_empty()).unwrap_or_default();
        results.reverse();
        results
    }

    fn user_contents(&self) -> impl Iterator<Item = &Value> {
        let messages = self.body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
        let messages = messages.iter().rev().filter(|message| message["role"] == "user");
        messages.map(|message| &message["content"])
    }
}

fn blocks<'a>(content: &'a Value, kind: &'static str) -> impl Iterator<Item = &'a Value> {
    let blocks = content.as_array().map(Vec::as_slice).unwrap_or_default();
    blocks.iter().rev().filter(move |block| block["type"] == kind)
}

fn plain(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        content => {
            let mut texts: Vec<_> =
                blocks(content, "text").filter_map(|block| block["text"].as_str()).collect();
            texts.reverse();
            texts.join("\n")
        }
    }
}
