//! An agent's tool calls in a few words.

use serde_json::Value;

use super::text::{one_line, shortened};

/// What says most about a call, in this order; the names are those of Claude Code's tools.
const TELLING: [&str; 11] = [
    "command",
    "file_path",
    "path",
    "notebook_path",
    "pattern",
    "query",
    "url",
    "description",
    "prompt",
    "subject",
    "skill",
];

/// The input of a tool call in at most `width` characters.
pub(super) fn summary(input: &Value, width: usize) -> String {
    let telling = TELLING.iter().find_map(|name| input.get(name)?.as_str());
    let text = match (telling, input) {
        (Some(text), _) => one_line(text),
        (None, Value::Object(fields)) if fields.is_empty() => String::new(),
        (None, Value::Null) => String::new(),
        (None, Value::String(text)) => one_line(text),
        (None, input) => one_line(&input.to_string()),
    };
    shortened(&text, width)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_telling_field_is_shown() {
        assert_eq!(summary(&json!({"timeout": 5, "command": "cargo test\n"}), 40), "cargo test");
        assert_eq!(summary(&json!({"file_path": "/a/b", "content": "x"}), 40), "/a/b");
    }

    #[test]
    fn unknown_input_is_shown_as_it_is_but_short_and_harmless() {
        assert_eq!(summary(&json!({"x": 1}), 40), r#"{"x":1}"#);
        assert_eq!(summary(&json!({}), 40), "");
        assert_eq!(summary(&json!({"command": "a\u{1b}[31m\u{7}bcdef"}), 4), "a\u{fffd}b…");
    }
}
