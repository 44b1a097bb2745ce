//! Text from elsewhere, made harmless for a terminal.

/// A text without anything that a terminal would obey: escape sequences are taken out, other
/// control characters are replaced, and what turns the direction of writing is shown by its code.
///
/// Line feeds and tabs stay; a carriage return becomes a line feed, as programs use it to draw a
/// line again.
pub(crate) fn printable(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => skip_sequence(&mut characters),
            // The one-character forms of ESC [ and of ESC ], ESC P, ESC X, ESC ^ and ESC _.
            '\u{9b}' => skip_parameters(&mut characters),
            '\u{9d}' | '\u{90}' | '\u{98}' | '\u{9e}' | '\u{9f}' => skip_string(&mut characters),
            '\r' => {
                if characters.peek() != Some(&'\n') {
                    result.push('\n');
                }
            }
            '\n' | '\t' => result.push(character),
            _ if character.is_control() => result.push('\u{fffd}'),
            _ if turns_direction(character) => {
                result.push_str(&format!("<U+{:04X}>", u32::from(character)));
            }
            _ => result.push(character),
        }
    }
    result
}

/// The same on one line, without leading and trailing white space.
pub(crate) fn one_line(text: &str) -> String {
    printable(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// At most `width` characters of a text; an ellipsis says that there was more.
pub(crate) fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let head: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{}…", head.trim_end())
}

/// A text of one line as several, broken between words so that none is longer than `width`, unless a
/// word is.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

type Characters<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// ECMA-48, section 5.3: what follows ESC.
fn skip_sequence(characters: &mut Characters<'_>) {
    match characters.next_if(|next| matches!(next, '\u{20}'..='\u{7e}')) {
        Some('[') => skip_parameters(characters),
        Some(']' | 'P' | 'X' | '^' | '_') => skip_string(characters),
        // An intermediate character is followed by others and a final one.
        Some('\u{20}'..='\u{2f}') => {
            while characters.next_if(|next| matches!(next, '\u{20}'..='\u{2f}')).is_some() {}
            characters.next_if(|next| matches!(next, '\u{30}'..='\u{7e}'));
        }
        _ => {}
    }
}

/// Parameters and a final character.
fn skip_parameters(characters: &mut Characters<'_>) {
    while characters.next_if(|next| matches!(next, '\u{20}'..='\u{3f}')).is_some() {}
    characters.next_if(|next| matches!(next, '\u{40}'..='\u{7e}'));
}

/// A string up to its terminator; without one, up to the line's end, so that no text is lost.
fn skip_string(characters: &mut Characters<'_>) {
    while let Some(next) = characters.next_if(|next| !matches!(next, '\n' | '\r')) {
        let ends = match next {
            '\u{7}' | '\u{9c}' => true,
            '\u{1b}' => {
                characters.next_if_eq(&'\\');
                true
            }
            _ => false,
        };
        if ends {
            return;
        }
    }
}

/// Unicode's explicit directional formatting characters (UAX #9), and invisible marks.
fn turns_direction(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_text_stays_as_it_is() {
        let text = "Grüße, 世界 🎉\n\tindented";
        assert_eq!(printable(text), text);
    }

    #[test]
    fn escape_sequences_are_taken_out() {
        for (text, expected) in [
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{1b}[2J\u{1b}[1;1Hgone", "gone"),
            ("\u{1b}]0;title\u{7}x", "x"),
            ("\u{1b}]8;;http://evil\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{1b}P1$r0m\u{1b}\\x", "x"),
            ("\u{1b}(Bx", "x"),
            ("\u{1b}cx", "x"),
            ("\u{9b}31mx", "x"),
            ("\u{9d}0;t\u{9c}x", "x"),
            ("\u{1b}]52;c;unfinished\nnext", "\nnext"),
            ("\u{1b}", ""),
            ("\u{1b}[", ""),
        ] {
            assert_eq!(printable(text), expected, "{text:?}");
        }
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        let every: String = (0..0xa0_u8).map(char::from).flat_map(|c| ['\u{1b}', c, 'x']).collect();
        let shown = printable(&every);
        assert!(shown.chars().all(|c| c == '\n' || c == '\t' || !c.is_control()), "{shown:?}");
    }

    #[test]
    fn carriage_returns_cannot_overwrite_what_was_shown() {
        assert_eq!(printable("10%\r20%\r\ndone\u{8}"), "10%\n20%\ndone\u{fffd}");
    }

    #[test]
    fn text_cannot_be_turned_around() {
        assert_eq!(printable("a\u{202e}b"), "a<U+202E>b");
    }

    #[test]
    fn shortening_cuts_between_characters() {
        assert_eq!(shortened("äöü", 3), "äöü");
        assert_eq!(shortened("äöüß", 3), "äö…");
    }

    #[test]
    fn lines_are_broken_between_words() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("ä averyverylongword b", 5), ["ä", "averyverylongword", "b"]);
    }
}
