//! Server-sent events on the wire, by the WHATWG HTML standard, section 9.2.

use crate::event::Event;

/// One event of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// The event's position in its job's log; 0 when the stream gave none.
    pub id: u64,
    /// The event's name.
    pub event: String,
    /// One JSON object.
    pub data: String,
}

impl Frame {
    /// The frame of an event.
    #[must_use]
    pub fn new(id: u64, event: &Event) -> Self {
        let data = serde_json::to_string(event).expect("events hold nothing that JSON cannot");
        Self { id, event: event.payload.name().to_owned(), data }
    }

    /// Appends the frame as it goes over the wire.
    pub fn encode_into(&self, buffer: &mut Vec<u8>) {
        encode_parts(self.id, &self.event, &self.data, buffer);
    }
}

/// Appends a frame given by its parts. Line breaks in `data` become lines of their own.
pub fn encode_parts(id: u64, event: &str, data: &str, buffer: &mut Vec<u8>) {
    buffer.extend_from_slice(b"id: ");
    push_decimal(id, buffer);
    buffer.extend_from_slice(b"\nevent: ");
    buffer.extend_from_slice(event.as_bytes());
    for line in data.split('\n') {
        buffer.extend_from_slice(b"\ndata: ");
        buffer.extend_from_slice(line.as_bytes());
    }
    buffer.extend_from_slice(b"\n\n");
}

fn push_decimal(number: u64, buffer: &mut Vec<u8>) {
    buffer.extend_from_slice(number.to_string().as_bytes());
}

/// A comment that keeps a quiet line alive.
pub const KEEP_ALIVE: &str = ": still here\n\n";

/// The hint, sent once at a stream's start, to reconnect after one second.
pub const RETRY_HINT: &str = "retry: 1000\n\n";

/// Longest line, and most data of one event, that a parser accepts, so that a broken peer cannot
/// fill the memory: 64 MiB.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// A stream that is not what SSE allows here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// A line of more than 64 MiB.
    #[error("the event stream has a line of more than 64 MiB")]
    LineTooLong,
    /// An event whose lines have more than 64 MiB together.
    #[error("the event stream has an event of more than 64 MiB")]
    EventTooLong,
    /// Bytes that are not UTF-8.
    #[error("the event stream is not UTF-8")]
    NotUtf8,
}

/// Takes a stream apart, wherever its chunks happen to be cut.
#[derive(Debug, Default)]
pub struct Parser {
    /// The bytes of a line whose end has not come yet.
    partial: Vec<u8>,
    /// Whether the last line ended with a carriage return, whose line feed may be still to come.
    after_return: bool,
    frame: Frame,
    has_data: bool,
}

impl Parser {
    /// Reads the next bytes and appends the frames that they complete to `frames`.
    ///
    /// # Errors
    /// When the stream is not UTF-8, or a line or an event is too long; the parser is then of no
    /// more use.
    pub fn push(&mut self, mut bytes: &[u8], frames: &mut Vec<Frame>) -> Result<(), ParseError> {
        while let Some(&first) = bytes.first() {
            if std::mem::take(&mut self.after_return) && first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = bytes.iter().position(|&byte| byte == b'\n' || byte == b'\r') else {
                if self.partial.len() + bytes.len() > MAX_BYTES {
                    return Err(ParseError::LineTooLong);
                }
                self.partial.extend_from_slice(bytes);
                return Ok(());
            };
            self.after_return = bytes[end] == b'\r';
            if self.partial.is_empty() {
                self.line(&bytes[..end], frames)?;
            } else {
                let mut line = std::mem::take(&mut self.partial);
                line.extend_from_slice(&bytes[..end]);
                self.line(&line, frames)?;
                line.clear();
                self.partial = line;
            }
            bytes = &bytes[end + 1..];
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8], frames: &mut Vec<Frame>) -> Result<(), ParseError> {
        let line = std::str::from_utf8(line).map_err(|_| ParseError::NotUtf8)?;
        if line.is_empty() {
            let frame = std::mem::take(&mut self.frame);
            if std::mem::take(&mut self.has_data) {
                frames.push(frame);
            }
            return Ok(());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.frame.id = value.parse().unwrap_or(0),
            "event" => value.clone_into(&mut self.frame.event),
            "data" => {
                if self.frame.data.len() + value.len() >= MAX_BYTES {
                    return Err(ParseError::EventTooLong);
                }
                if self.has_data {
                    self.frame.data.push('\n');
                }
                self.frame.data.push_str(value);
                self.has_data = true;
            }
            // A comment, `retry`, or a field that this version does not know.
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse_in_pieces(bytes: &[u8], cuts: &[usize]) -> Vec<Frame> {
        let (mut parser, mut frames, mut start) = (Parser::default(), Vec::new(), 0);
        for cut in cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([bytes.len()]) {
            if cut > start {
                parser.push(&bytes[start..cut], &mut frames).unwrap();
                start = cut;
            }
        }
        frames
    }

    fn frame() -> impl Strategy<Value = Frame> {
        (1..u64::MAX, "[a-zA-Z]{1,12}", "[^\\r\\n]{0,40}(\n[^\\r\\n]{0,20}){0,3}")
            .prop_map(|(id, event, data)| Frame { id, event, data })
    }

    proptest! {
        #[test]
        fn frames_survive_any_cut(
            frames in proptest::collection::vec(frame(), 0..6),
            cuts in proptest::collection::vec(0..2000_usize, 0..8),
            ending in prop_oneof![Just("\n"), Just("\r\n"), Just("\r")],
            comment in "[^\\r\\n]{0,20}",
        ) {
            let mut bytes = Vec::new();
            for frame in &frames {
                bytes.extend_from_slice(format!(":{comment}\n").as_bytes());
                frame.encode_into(&mut bytes);
                bytes.extend_from_slice(KEEP_ALIVE.as_bytes());
            }
            let text = String::from_utf8(bytes).unwrap().replace('\n', ending);
            let mut cuts = cuts;
            cuts.sort_unstable();
            prop_assert_eq!(parse_in_pieces(text.as_bytes(), &cuts), frames);
        }

        #[test]
        fn any_bytes_are_parsed_or_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Parser::default().push(&bytes, &mut Vec::new());
        }
    }

    #[test]
    fn an_event_without_end_is_refused() {
        let line = format!("data: {}\n", "x".repeat(1024 * 1024));
        let (mut parser, mut frames) = (Parser::default(), Vec::new());
        let refused = (0..100).find_map(|_| parser.push(line.as_bytes(), &mut frames).err());
        assert_eq!((refused, frames), (Some(ParseError::EventTooLong), Vec::new()));
    }

    #[test]
    fn a_field_without_a_colon_and_an_unknown_one_are_ignored() {
        let mut frames = Vec::new();
        let text = b"retry: 5\nfoo\nid\nevent:x\ndata\ndata:y\n\n";
        Parser::default().push(text, &mut frames).unwrap();
        assert_eq!(frames, [Frame { id: 0, event: "x".into(), data: "\ny".into() }]);
    }
}
