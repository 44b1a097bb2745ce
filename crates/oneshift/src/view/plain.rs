//! Events as lines, for files and pipes.

use std::io;

use client::protocol::Event;
use client::protocol::sse::Frame;

use super::hints::Hints;
use super::line::{Line, Tone};
use super::out;
use super::story::Story;
use super::text::one_line;

/// Lines on standard output.
#[derive(Debug)]
pub(crate) struct Plain {
    story: Story,
}

impl Plain {
    pub(super) fn new(hints: Option<Hints>) -> Self {
        Self { story: Story::new(hints) }
    }

    pub(super) fn show(&mut self, frame: &Frame) -> io::Result<()> {
        for line in told(&mut self.story, frame) {
            out::line(&line.paint())?;
        }
        Ok(())
    }
}

/// The lines of a frame. One that this version cannot read is named, not lost.
pub(super) fn told(story: &mut Story, frame: &Frame) -> Vec<Line> {
    match serde_json::from_str::<Event>(&frame.data) {
        Ok(event) => story.tell(&event),
        Err(_) => {
            let name = one_line(&frame.event);
            vec![Line::new(Tone::Faint, format!("({name}: not known to this version)"))]
        }
    }
}
