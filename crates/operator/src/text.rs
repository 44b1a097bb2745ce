//! Docker's words, made fit for a report.

use std::fmt::Display;

/// Longest text that is passed on, in bytes.
pub(crate) const MAX_TEXT_BYTES: usize = 160;

/// A text as one line without control characters, and not longer than it may be.
pub(crate) fn one_line(text: &(impl Display + ?Sized)) -> String {
    let text = text.to_string();
    let words = text.split(|character: char| character.is_whitespace() || character.is_control());
    let line = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    if line.len() <= MAX_TEXT_BYTES {
        return line;
    }
    let mut end = MAX_TEXT_BYTES - '…'.len_utf8();
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", line[..end].trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_becomes_one_short_line() {
        assert_eq!(one_line(" a\n\tb\u{1b}[31m \u{0} c "), "a b [31m c");
        let long = one_line(&"ä".repeat(200));
        assert!(long.len() <= MAX_TEXT_BYTES && long.ends_with("ä…"), "{long}");
        let long = one_line(&"word ".repeat(200));
        assert!(long.len() <= MAX_TEXT_BYTES && long.ends_with('…'), "{long}");
    }
}
