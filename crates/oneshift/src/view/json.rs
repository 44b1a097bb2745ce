//! Events for programs: the data of each, on a line of its own.

use std::fmt::Write;
use std::io;

use client::protocol::sse::Frame;

use super::out;

/// Prints an event's data.
pub(super) fn show(frame: &Frame) -> io::Result<()> {
    out::line(&harmless(&frame.data))
}

/// JSON whose strings hold no control character as such; it means the same.
///
/// JSON escapes those below U+0020 itself, but not U+007F to U+009F, and terminals obey some.
pub(crate) fn harmless(json: &str) -> String {
    if !json.chars().any(char::is_control) {
        return json.to_owned();
    }
    let mut result = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        match character {
            // Between tokens.
            '\n' | '\r' | '\t' => result.push(' '),
            _ if character.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(result, "\\u{:04x}", u32::from(character));
            }
            _ => result.push(character),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_means_the_same_but_is_harmless() {
        let json = serde_json::json!({ "text": "a\u{9b}31m\u{7f}\u{1b}[0m\nb" });
        let shown = harmless(&json.to_string());
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), json);
    }
}
