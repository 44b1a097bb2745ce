//! Docker's words, made fit for a report.

use std::fmt::Display;

/// Longest text that is passed on, in bytes.
pub(crate) const MAX_TEXT_BYTES: usize = 200;

/// How much of a longer text's beginning is kept; the cause of an error comes last.
const HEAD_BYTES: usize = 60;

/// A text as one line without control characters; one that is too long loses its middle.
pub(crate) fn one_line(text: &(impl Display + ?Sized)) -> String {
    let text = text.to_string();
    let words = text.split(|character: char| character.is_whitespace() || character.is_control());
    let line = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    if line.len() <= MAX_TEXT_BYTES {
        return line;
    }
    const GAP: &str = " … ";
    let mut head = HEAD_BYTES;
    while !line.is_char_boundary(head) {
        head -= 1;
    }
    let mut tail = line.len() - (MAX_TEXT_BYTES - GAP.len() - HEAD_BYTES);
    while !line.is_char_boundary(tail) {
        tail += 1;
    }
    format!("{}{GAP}{}", &line[..head], &line[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_becomes_one_short_line() {
        assert_eq!(one_line(" a\n\tb\u{1b}[31m \u{0} c "), "a b [31m c");
        for long in ["ä".repeat(200), "wörd ".repeat(200), "x".repeat(201)] {
            let line = one_line(&format!("failed: {long}: the cause"));
            assert!(line.len() <= MAX_TEXT_BYTES, "{line}");
            assert!(line.starts_with("failed: ") && line.ends_with(": the cause"), "{line}");
            assert!(line.contains(" … "), "{line}");
        }
    }
}
