//! Events as lines above one line that shows where the job stands.

use std::io;
use std::time::Duration;

use client::protocol::sse::Frame;
use indicatif::{ProgressBar, ProgressStyle};

use super::hints::Hints;
use super::line::Line;
use super::out;
use super::plain::told;
use super::story::Story;

/// How often the line at the bottom moves.
const TICK: Duration = Duration::from_millis(100);

/// A terminal.
pub(crate) struct Live {
    story: Story,
    bar: ProgressBar,
    shows_count: bool,
}

impl Live {
    pub(super) fn new(hints: Option<Hints>) -> Self {
        let bar = ProgressBar::new_spinner();
        bar.set_style(style("{spinner:.cyan} {wide_msg} {elapsed:.dim}"));
        bar.set_message("waiting");
        bar.enable_steady_tick(TICK);
        Self { story: Story::new(hints), bar, shows_count: false }
    }

    pub(super) fn show(&mut self, frame: &Frame) -> io::Result<()> {
        for line in told(&mut self.story, frame) {
            self.print(&line);
        }
        self.update();
        Ok(())
    }

    pub(super) fn print(&self, line: &Line) {
        self.bar.println(line.paint());
    }

    pub(super) fn finish(&self) -> io::Result<()> {
        self.bar.finish_and_clear();
        out::flush()
    }

    fn update(&mut self) {
        let mut status = self.story.status();
        let counted = self.story.counted().cloned();
        if counted.is_some() != self.shows_count {
            self.shows_count = counted.is_some();
            self.bar.set_style(style(if self.shows_count {
                "{spinner:.cyan} {msg} [{bar:30.cyan}] {human_pos}/{human_len} {elapsed:.dim}"
            } else {
                "{spinner:.cyan} {wide_msg} {elapsed:.dim}"
            }));
        }
        if let Some(counted) = counted {
            self.bar.set_length(counted.total);
            self.bar.set_position(counted.current);
            status = format!("{status} · {}", counted.phase);
        }
        self.bar.set_message(status);
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template);
    style.expect("the templates are constants").progress_chars("=> ")
}
