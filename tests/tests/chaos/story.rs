//! A job's life as its stream tells it.

use end_to_end::sse::Frame;
use serde_json::Value;

use crate::verdict::Verdict;

/// What the events of an ended job say.
#[derive(Debug, Default)]
pub(crate) struct Story {
    /// How often it was queued again as a retry that its caller allowed.
    pub(crate) retries: u64,
    /// The last attempt that began; 0 if none did.
    pub(crate) last_attempt: u64,
    /// Whether the agent began in the last attempt, or may have.
    pub(crate) has_agent_begun: bool,
    /// Whether an attempt was given up although its agent may have gone on: its worker was lost, or
    /// did not end it.
    pub(crate) is_given_up: bool,
    /// Whether it says that the last attempt's changes could not be salvaged.
    pub(crate) is_unsalvaged: bool,
    pub(crate) outcome: Value,
}

impl Story {
    /// Reads a whole stream; what is wrong with it is noted.
    pub(crate) fn read(job: &str, frames: &[Frame], verdict: &mut Verdict) -> Self {
        let has_its_number = |(n, frame): (u64, &Frame)| frame.id == Some(n.to_string());
        if !(1..).zip(frames).all(has_its_number) {
            let ids: Vec<_> = frames.iter().map(|frame| frame.id.as_deref()).collect();
            verdict.gaps.push(format!("{job}: {ids:?}"));
        }
        match frames.iter().filter(|frame| frame.is_terminal()).count() {
            0 => verdict.lost.push(format!("{job}: no terminal event")),
            1 if frames.last().is_some_and(Frame::is_terminal) => {}
            ends => verdict.doubled.push(format!("{job}: {ends} ends, or events after the end")),
        }
        if frames.iter().filter(|frame| frame.event == "accepted").count() != 1 {
            verdict.doubled.push(format!("{job}: not accepted exactly once"));
        }
        let mut story = Self::default();
        for frame in frames {
            let data = frame.json();
            if data["jobId"] != job || data["type"] != frame.event.as_str() {
                verdict.wrong.push(format!("{job}: another job's event: {frame:?}"));
            }
            if !story.go_on(&frame.event, &data) {
                verdict.wrong.push(format!("{job}: out of order: {frame:?}"));
            }
        }
        story
    }

    /// Takes the next event; false if it cannot follow those before.
    fn go_on(&mut self, event: &str, data: &Value) -> bool {
        match event {
            "queued" => {
                let reason = data["reason"].as_str().unwrap_or_default();
                let is_retry = reason.starts_with("retry ");
                self.retries += u64::from(is_retry);
                self.is_given_up |= is_retry || reason.starts_with("attempt ");
            }
            "started" => {
                let attempt = data["attempt"].as_u64().unwrap_or_default();
                let is_next = attempt > self.last_attempt;
                self.last_attempt = attempt;
                (self.has_agent_begun, self.is_unsalvaged) = (false, false);
                return is_next;
            }
            "step" if data["step"] == "execute" && data["state"] == "started" => {
                let is_first = !self.has_agent_begun;
                self.has_agent_begun = true;
                return is_first && self.last_attempt > 0;
            }
            // A gateway that salvages has found out about the agent by itself.
            "step" if data["step"] == "deliver" => self.has_agent_begun = true,
            "agent" if data["code"] == "salvage_failed" => {
                self.has_agent_begun = true;
                self.is_unsalvaged = true;
            }
            "completed" | "failed" | "cancelled" => {
                self.outcome = data["outcome"].clone();
                self.has_agent_begun |= self.outcome["durations"]["executeMs"].is_u64();
                let is_told = self.outcome["exitCode"].is_i64();
                self.is_given_up |= self.has_agent_begun && !is_told;
                return self.outcome["state"] == event;
            }
            _ => {}
        }
        true
    }
}
