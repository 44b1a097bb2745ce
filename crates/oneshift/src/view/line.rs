//! A line and what it means.

use console::Style;

/// What a line means, which decides how it is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it is.
    Plain,
    /// The beginning of something.
    Heading,
    /// Something went well.
    Good,
    /// Something went wrong.
    Bad,
    /// Somebody should know.
    Warning,
    /// Less important.
    Faint,
    /// Something that the agent does.
    Action,
}

/// One line, harmless for a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) tone: Tone,
    pub(crate) text: String,
}

impl Line {
    /// A line of text that is harmless already.
    pub(crate) fn new(tone: Tone, text: impl Into<String>) -> Self {
        Self { tone, text: text.into() }
    }

    /// The line as it goes to standard output.
    pub(crate) fn paint(&self) -> String {
        self.style().apply_to(&self.text).to_string()
    }

    /// The line as it goes to standard error.
    pub(crate) fn paint_for_stderr(&self) -> String {
        self.style().for_stderr().apply_to(&self.text).to_string()
    }

    fn style(&self) -> Style {
        let style = Style::new();
        match self.tone {
            Tone::Plain => style,
            Tone::Heading => style.bold(),
            Tone::Good => style.green(),
            Tone::Bad => style.red(),
            Tone::Warning => style.yellow(),
            Tone::Faint => style.dim(),
            Tone::Action => style.cyan(),
        }
    }
}
