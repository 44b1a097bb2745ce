//! A reader of server-sent events that owes nothing to our own.
//!
//! By <https://html.spec.whatwg.org/multipage/server-sent-events.html>, section 9.2.6.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::Value;

/// How long a test waits for an event before it gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// One event, as it came over the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// The `id:` field.
    pub id: Option<String>,
    /// The `event:` field.
    pub event: String,
    /// The `data:` fields, joined by line breaks.
    pub data: String,
}

impl Frame {
    /// The data as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data)
            .unwrap_or_else(|error| panic!("{error}: {self:?} is no JSON"))
    }

    /// Whether it is the last event of a job.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        ["completed", "failed", "cancelled"].contains(&self.event.as_str())
    }
}

/// Takes a whole stream apart. An event that the stream's end cut off does not count.
#[must_use]
pub fn parse(text: &str) -> Vec<Frame> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let Some((text, _)) = text.rsplit_once("\n\n") else { return Vec::new() };
    text.split("\n\n").filter_map(parse_frame).collect()
}

/// One event, or nothing if the block only holds comments or a retry hint.
fn parse_frame(block: &str) -> Option<Frame> {
    let (mut frame, mut data) = (Frame::default(), Vec::new());
    for line in block.lines() {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => frame.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut frame.event),
            "data" => data.push(value),
            _ => {}
        }
    }
    frame.data = data.join("\n");
    (!data.is_empty()).then_some(frame)
}

/// The events of an answer, as they arrive.
#[derive(Debug)]
pub struct Events {
    response: reqwest::Response,
    bytes: Vec<u8>,
    ready: VecDeque<Frame>,
}

impl Events {
    /// Reads an answer.
    ///
    /// # Panics
    /// When it is not a stream of events, by its status or its content type.
    pub async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok());
        if status != 200 || !kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
            let text = response.text().await.unwrap_or_default();
            panic!("{status}, {kind:?} instead of a stream of events: {text}");
        }
        Self { response, bytes: Vec::new(), ready: VecDeque::new() }
    }

    /// The next event; nothing when the stream has ended or was cut off.
    ///
    /// # Panics
    /// When nothing comes for a minute, or it is not UTF-8 or has a carriage return.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await;
            let chunk = chunk.expect("an event comes within a minute").ok().flatten()?;
            self.bytes.extend_from_slice(&chunk);
            self.take_complete();
        }
    }

    /// Reads up to the first event for which `is_wanted` holds, and returns it.
    ///
    /// # Panics
    /// When the stream ends before.
    pub async fn until(&mut self, mut is_wanted: impl FnMut(&Frame) -> bool) -> Frame {
        let mut seen = Vec::new();
        while let Some(frame) = self.next().await {
            if is_wanted(&frame) {
                return frame;
            }
            seen.push(frame);
        }
        panic!("the stream ended before the event that the test waits for: {seen:#?}");
    }

    /// All further events.
    pub async fn rest(mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }

    fn take_complete(&mut self) {
        let Some(end) = self.bytes.windows(2).rposition(|pair| pair == b"\n\n") else { return };
        let rest = self.bytes.split_off(end + 2);
        let block = std::mem::replace(&mut self.bytes, rest);
        let text = String::from_utf8(block).expect("a stream of events is UTF-8");
        assert!(
            !text.contains('\r'),
            "our streams end their lines with a line feed only: {text:?}"
        );
        self.ready.extend(parse(&text));
    }
}

/// Checks that a job's events have ids from 1 without gaps and end with the only terminal one,
/// whose data is returned.
///
/// # Panics
/// When they don't.
pub fn assert_complete(frames: &[Frame]) -> Value {
    assert_numbered(frames, 1);
    let ends: Vec<_> = frames.iter().filter(|frame| frame.is_terminal()).collect();
    assert_eq!(ends.len(), 1, "exactly one terminal event: {ends:#?}");
    let last = frames.last().expect("there are events");
    assert!(last.is_terminal(), "the last event is terminal: {last:#?}");
    last.json()
}

/// Checks that the ids count up from `first` without gaps, and that the data repeats each event's
/// name and names one job.
///
/// # Panics
/// When they don't.
pub fn assert_numbered(frames: &[Frame], first: u64) {
    let job = frames.first().map(|frame| frame.json()["jobId"].clone());
    for (id, frame) in (first..).zip(frames) {
        assert_eq!(frame.id, Some(id.to_string()), "ids without gaps: {frame:#?}");
        let data = frame.json();
        assert_eq!(data["type"], frame.event, "the data repeats the event's name");
        assert!(data["at"].is_string(), "an event has its time: {frame:#?}");
        assert_eq!(Some(&data["jobId"]), job.as_ref(), "all events are of one job");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(id: &str, event: &str, data: &str) -> Frame {
        Frame { id: Some(id.into()), event: event.into(), data: data.into() }
    }

    fn event(id: u64, name: &str) -> Frame {
        let data = format!(r#"{{"type":"{name}","jobId":"j","at":"2026-01-01T00:00:00Z"}}"#);
        frame(&id.to_string(), name, &data)
    }

    #[test]
    fn comments_and_cut_off_events_do_not_count() {
        let text =
            "retry: 1000\n\n: hello\n\nid: 1\nevent: a\ndata: x\ndata: y\n\nid: 2\ndata: z\n";
        let expected = [frame("1", "a", "x\ny")];
        assert_eq!(parse(text), expected);
        assert_eq!(parse(&text.replace('\n', "\r\n")), expected);
    }

    #[test]
    fn a_complete_job_is_told_from_others() {
        let whole = [event(1, "accepted"), event(2, "completed")];
        assert_eq!(assert_complete(&whole)["type"], "completed");
        for wrong in [
            vec![],
            vec![event(2, "completed")],
            vec![event(1, "accepted"), event(3, "completed")],
            vec![event(1, "accepted")],
            vec![event(1, "failed"), event(2, "completed")],
            vec![event(1, "completed"), event(2, "accepted")],
        ] {
            let result = std::panic::catch_unwind(|| assert_complete(&wrong));
            assert!(result.is_err(), "{wrong:#?}");
        }
    }
}
