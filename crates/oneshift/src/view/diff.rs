//! A patch for people.

use super::line::{Line, Tone};
use super::text::printable;

/// The lines of a patch, harmless for a terminal.
pub(crate) fn lines(patch: &[u8]) -> Vec<Line> {
    let text = String::from_utf8_lossy(patch);
    text.lines().map(|line| Line::new(tone(line), printable(line).replace('\n', " "))).collect()
}

fn tone(line: &str) -> Tone {
    const HEADINGS: [&str; 8] =
        ["diff ", "index ", "--- ", "+++ ", "new file ", "deleted file ", "rename ", "similarity "];
    if HEADINGS.iter().any(|heading| line.starts_with(heading)) {
        Tone::Heading
    } else if line.starts_with("@@") {
        Tone::Action
    } else if line.starts_with('+') {
        Tone::Good
    } else if line.starts_with('-') {
        Tone::Bad
    } else {
        Tone::Plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_cannot_control_the_terminal() {
        let shown = lines(b"diff --git a/x b/x\n+\x1b[2Jnew\r\n-old\xff\n");
        let expected = [
            Line::new(Tone::Heading, "diff --git a/x b/x"),
            Line::new(Tone::Good, "+new"),
            Line::new(Tone::Bad, "-old\u{fffd}"),
        ];
        assert_eq!(shown, expected);
    }
}
