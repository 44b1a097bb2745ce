//! Standard output.

use std::io::{self, IsTerminal, Write};

/// Prints a line; an error is most often a reader that has seen enough.
pub(crate) fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")
}

/// Writes bytes as they are.
pub(crate) fn bytes(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Pushes out what is buffered.
pub(crate) fn flush() -> io::Result<()> {
    io::stdout().lock().flush()
}

/// Whether people look at both standard output and standard error.
pub(crate) fn is_terminal() -> bool {
    is_stdout_terminal() && io::stderr().is_terminal()
}

/// Whether people look at standard output.
pub(crate) fn is_stdout_terminal() -> bool {
    io::stdout().is_terminal()
}

/// The terminal's width in characters, or what is usual without one.
pub(crate) fn width() -> usize {
    console::Term::stdout().size_checked().map_or(100, |(_, columns)| usize::from(columns))
}
