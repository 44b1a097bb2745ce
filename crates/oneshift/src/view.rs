//! What people see: events as lines, on a terminal or without one.

pub(crate) mod cluster;
pub(crate) mod color;
pub(crate) mod diff;
pub(crate) mod follow;
pub(crate) mod format;
mod hints;
mod json;
mod line;
mod live;
pub(crate) mod out;
pub(crate) mod outcome;
mod plain;
mod story;
pub(crate) mod table;
pub(crate) mod text;
mod tool;

use client::protocol::sse::Frame;

pub(crate) use follow::{PATIENCE, follow};
pub(crate) use hints::Hints;
pub(crate) use json::harmless as json_line;
pub(crate) use line::{Line, Tone};

use live::Live;
use plain::Plain;

/// One way to show a job's events.
pub(crate) enum View {
    /// Lines above a line that shows where the job stands.
    Live(Live),
    /// Lines.
    Plain(Plain),
    /// Each event's JSON.
    Json,
}

impl View {
    /// The view that fits what standard output is.
    pub(crate) fn fitting(json: bool, hints: Option<Hints>) -> Self {
        if json {
            Self::Json
        } else if out::is_terminal() {
            Self::Live(Live::new(hints))
        } else {
            Self::Plain(Plain::new(hints))
        }
    }

    /// Lines only, for what has happened already.
    pub(crate) fn of_the_past(json: bool, hints: Option<Hints>) -> Self {
        if json { Self::Json } else { Self::Plain(Plain::new(hints)) }
    }

    /// Shows one event.
    pub(crate) fn show(&mut self, frame: &Frame) -> std::io::Result<()> {
        match self {
            Self::Live(live) => live.show(frame),
            Self::Plain(plain) => plain.show(frame),
            Self::Json => json::show(frame),
        }
    }

    /// Shows a remark of the command line itself; not as JSON, which is for programs.
    pub(crate) fn remark(&self, line: &Line) {
        match self {
            Self::Live(live) => live.print(line),
            Self::Plain(_) | Self::Json => eprintln!("{}", line.paint_for_stderr()),
        }
    }

    /// Takes the line that shows where the job stands off the terminal.
    pub(crate) fn finish(&mut self) -> std::io::Result<()> {
        match self {
            Self::Live(live) => live.finish(),
            Self::Plain(_) | Self::Json => out::flush(),
        }
    }
}
