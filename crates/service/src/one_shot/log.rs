//! A job's events in its worker: encoded once, a bounded part in memory, the rest on disk.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::Stream;
use protocol::sse::{Frame, Parser, encode_parts};
use protocol::{Event, JobId, event};
use tokio::sync::watch;

use super::chatter::{Admission, Chatter};
use super::spill::{Extent, Spill};

/// Frames are kept and handed on in pieces of about this size: one write to a socket.
const SEGMENT_BYTES: usize = 64 * 1024;

/// How many full segments stay in memory: 1 MiB, enough for a reader that is a little behind.
const SEGMENTS_IN_MEMORY: usize = 16;

/// The log; readers follow it from any position.
#[derive(Debug)]
pub(super) struct EventLog {
    inner: Mutex<Inner>,
    head: watch::Sender<Head>,
}

/// How far a log has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// The last event's id.
    pub(super) last: u64,
    /// Whether that was the terminal one.
    pub(super) has_ended: bool,
}

#[derive(Debug)]
struct Inner {
    /// Full segments, oldest first.
    segments: VecDeque<Segment>,
    /// The one being written.
    open: Segment,
    spill: Option<Spill>,
    head: Head,
    chatter: Chatter,
}

#[derive(Debug, Default)]
struct Segment {
    bytes: Vec<u8>,
    /// Where each frame begins.
    starts: Vec<u32>,
    /// The first frame's id.
    first: u64,
}

impl Segment {
    fn last(&self) -> u64 {
        (self.first + self.starts.len() as u64).saturating_sub(1)
    }

    fn contains(&self, id: u64) -> bool {
        !self.starts.is_empty() && (self.first..=self.last()).contains(&id)
    }

    fn from(&self, id: u64) -> Bytes {
        let start = self.starts[usize::try_from(id - self.first).expect("an index of a Vec")];
        Bytes::copy_from_slice(&self.bytes[start as usize..])
    }
}

/// Frames found by a reader: at hand, or still to be read from disk.
enum Found {
    InMemory { bytes: Bytes, last: u64 },
    OnDisk { file: Arc<File>, extent: Extent },
    Nothing,
}

impl EventLog {
    /// An empty log, in which the job may say so many bytes beside what must be said.
    pub(super) fn new(job: JobId, max_chatter_bytes: u64) -> Self {
        let inner = Inner {
            segments: VecDeque::new(),
            open: Segment::default(),
            spill: None,
            head: Head::default(),
            chatter: Chatter::new(job, max_chatter_bytes),
        };
        Self { inner: Mutex::new(inner), head: watch::Sender::new(Head::default()) }
    }

    /// Appends an event; after the terminal one further events are dropped.
    pub(super) fn append(&self, event: &Event) {
        let data = serde_json::to_string(event).expect("events hold nothing that JSON cannot");
        let name = event.payload.name();
        let mut inner = self.lock();
        inner.push(name, &data);
        self.head.send_replace(inner.head);
    }

    /// Appends events that are encoded already, under new ids.
    pub(super) fn append_frames(&self, frames: &[Frame]) {
        let mut inner = self.lock();
        for frame in frames {
            inner.push(&frame.event, &frame.data);
        }
        self.head.send_replace(inner.head);
    }

    pub(super) fn head(&self) -> Head {
        *self.head.borrow()
    }

    /// The encoded frames after `position`, live, up to and with the terminal one.
    pub(super) fn follow(
        self: Arc<Self>,
        position: u64,
    ) -> impl Stream<Item = Bytes> + Send + 'static {
        async_stream::stream! {
            let mut head = self.head.subscribe();
            let mut position = position;
            loop {
                let (bytes, last) = match self.find(position + 1) {
                    Found::InMemory { bytes, last } => (bytes, last),
                    Found::OnDisk { file, extent } => match read(file, extent, position).await {
                        Some(bytes) => (bytes, extent.last),
                        None => break,
                    },
                    Found::Nothing if head.borrow_and_update().has_ended
                        && self.head().last <= position => break,
                    Found::Nothing => {
                        if head.wait_for(|head| head.last > position).await.is_err() {
                            break;
                        }
                        continue;
                    }
                };
                position = last;
                yield bytes;
            }
        }
    }

    fn find(&self, id: u64) -> Found {
        let inner = self.lock();
        let in_memory = inner.segments.iter().chain([&inner.open]).find(|s| s.contains(id));
        if let Some(segment) = in_memory {
            return Found::InMemory { bytes: segment.from(id), last: segment.last() };
        }
        match inner.spill.as_ref().and_then(|spill| spill.find(id)) {
            Some((file, extent)) => Found::OnDisk { file, extent },
            None => Found::Nothing,
        }
    }

    /// All events so far, decoded.
    pub(super) fn all_events(&self) -> Vec<Event> {
        let (mut events, mut position) = (Vec::new(), 0);
        loop {
            let (bytes, last) = match self.find(position + 1) {
                Found::InMemory { bytes, last } => (bytes, last),
                Found::OnDisk { file, extent } => match extent.read(&file) {
                    Ok(bytes) => (bytes, extent.last),
                    Err(_) => return events,
                },
                Found::Nothing => return events,
            };
            let mut frames = Vec::new();
            let _ = Parser::default().push(&bytes, &mut frames);
            events.extend(frames.iter().filter_map(|frame| serde_json::from_str(&frame.data).ok()));
            position = last;
        }
    }

    /// A panic while appending leaves at worst half a frame at the end of a job that is over anyway.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn push(&mut self, name: &str, data: &str) {
        match self.chatter.admit(name, data) {
            Admission::Keep => self.write(name, data),
            Admission::Drop => {}
            Admission::Replace(notice) => self.write("agent", &notice),
        }
    }

    fn write(&mut self, name: &str, data: &str) {
        if self.head.has_ended {
            return;
        }
        if self.open.bytes.len() >= SEGMENT_BYTES {
            self.close_segment();
        }
        let id = self.head.last + 1;
        if self.open.starts.is_empty() {
            self.open.first = id;
        }
        let start = u32::try_from(self.open.bytes.len()).expect("a segment is far below 4 GiB");
        self.open.starts.push(start);
        encode_parts(id, name, data, &mut self.open.bytes);
        self.head = Head { last: id, has_ended: event::is_terminal(name) };
    }

    fn close_segment(&mut self) {
        self.segments.push_back(std::mem::take(&mut self.open));
        if self.segments.len() > SEGMENTS_IN_MEMORY
            && let Some(oldest) = self.segments.front()
        {
            match spill(&mut self.spill, oldest) {
                Ok(()) => drop(self.segments.pop_front()),
                // Kept in memory instead: losing events would be worse than using memory.
                Err(error) => tracing::error!(%error, "cannot write the event log to disk"),
            }
        }
    }
}

fn spill(spill: &mut Option<Spill>, segment: &Segment) -> std::io::Result<()> {
    let file = match spill {
        Some(file) => file,
        None => spill.insert(Spill::create()?),
    };
    file.push(segment.first, segment.last(), &segment.bytes)
}

/// Reads an extent off the runtime's threads and leaves out what lies up to `position`.
async fn read(file: Arc<File>, extent: Extent, position: u64) -> Option<Bytes> {
    let bytes = tokio::task::spawn_blocking(move || extent.read(&file)).await.ok()?;
    match bytes {
        Ok(bytes) => Some(bytes.slice(offset_after(&bytes, extent.first, position)..)),
        Err(error) => {
            tracing::error!(%error, "cannot read the event log from disk");
            None
        }
    }
}

/// Where the frame after `position` begins, in frames that begin with the id `first`.
fn offset_after(bytes: &[u8], first: u64, position: u64) -> usize {
    let mut offset = 0;
    for _ in first..=position {
        // Data is JSON, which has no line breaks, so an empty line only ever ends a frame.
        match bytes[offset..].windows(2).position(|pair| pair == b"\n\n") {
            Some(end) => offset += end + 2,
            None => return bytes.len(),
        }
    }
    offset
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use protocol::event::{Step, Stream as Source};
    use protocol::{Outcome, Payload};

    use super::*;

    fn output(text: &str) -> Payload {
        Payload::Output {
            step: Step::Execute,
            stream: Source::Stdout,
            text: text.to_owned(),
            encoding: None,
        }
    }

    async fn ids(log: &Arc<EventLog>, position: u64) -> Vec<u64> {
        let (mut parser, mut frames) = (Parser::default(), Vec::new());
        let mut stream = std::pin::pin!(Arc::clone(log).follow(position));
        while let Some(bytes) = stream.next().await {
            parser.push(&bytes, &mut frames).unwrap();
        }
        frames.iter().map(|frame| frame.id).collect()
    }

    fn filled(events: u64) -> Arc<EventLog> {
        let log = Arc::new(EventLog::new(JobId::random(), u64::MAX));
        let job_id = JobId::random();
        let at = jiff::Timestamp::UNIX_EPOCH;
        for _ in 1..events {
            log.append(&Event { payload: output(&"x".repeat(1000)), job_id, at });
        }
        let payload = Outcome::completed("done").into_payload();
        log.append(&Event { payload, job_id, at });
        log
    }

    #[tokio::test]
    async fn every_position_of_a_log_that_is_mostly_on_disk_gives_exactly_the_rest() {
        let log = filled(5000);
        assert!(log.lock().spill.is_some());
        for position in [0, 1, 56, 57, 58, 2500, 4998, 4999, 5000] {
            let rest: Vec<u64> = (position + 1..=5000).collect();
            assert_eq!(ids(&log, position).await, rest, "after {position}");
        }
    }

    #[tokio::test]
    async fn a_reader_that_came_early_gets_what_comes_late() {
        let log = Arc::new(EventLog::new(JobId::random(), u64::MAX));
        let reader = tokio::spawn({
            let log = Arc::clone(&log);
            async move { ids(&log, 0).await }
        });
        let (job_id, at) = (JobId::random(), jiff::Timestamp::UNIX_EPOCH);
        log.append(&Event { payload: output("one"), job_id, at });
        tokio::task::yield_now().await;
        log.append(&Event { payload: Outcome::completed("two").into_payload(), job_id, at });
        assert_eq!(reader.await.unwrap(), [1, 2]);
    }

    #[test]
    fn a_job_that_says_too_much_is_cut_short_once_but_ends_properly() {
        let (job_id, at) = (JobId::random(), jiff::Timestamp::UNIX_EPOCH);
        let log = EventLog::new(job_id, 5000);
        let patch = Payload::Output {
            step: Step::Deliver,
            stream: Source::Patch,
            text: "diff".to_owned(),
            encoding: None,
        };
        for _ in 0..10 {
            log.append(&Event { payload: output(&"x".repeat(1000)), job_id, at });
        }
        log.append(&Event { payload: patch.clone(), job_id, at });
        log.append(&Event { payload: Outcome::completed("done").into_payload(), job_id, at });
        let payloads: Vec<Payload> = log.all_events().into_iter().map(|e| e.payload).collect();
        let names: Vec<&str> = payloads.iter().map(Payload::name).collect();
        assert_eq!(names, [["output"; 4].as_slice(), &["agent", "output", "completed"]].concat());
        assert_eq!(payloads[5], patch);
    }

    #[test]
    fn nothing_follows_the_terminal_event() {
        let log = filled(2);
        log.append(&Event {
            payload: output("late"),
            job_id: JobId::random(),
            at: jiff::Timestamp::UNIX_EPOCH,
        });
        assert_eq!(log.head(), Head { last: 2, has_ended: true });
    }
}
