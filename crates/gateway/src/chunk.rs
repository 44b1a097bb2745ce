//! Events of a job that were committed together.

use bytes::Bytes;
use service::protocol::sse::{Frame, encode_parts};

/// A run of events without gaps, encoded as they go over the wire. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Whether the last of them is the job's last.
    pub(crate) is_end: bool,
    pub(crate) frames: Bytes,
}

impl Chunk {
    /// Encodes `frames` under the ids that follow `after`; there must be at least one.
    pub(crate) fn encode(after: u64, frames: &[Frame], is_end: bool) -> Self {
        const OVERHEAD: usize = 48;
        let size = frames.iter().map(|frame| frame.data.len() + OVERHEAD).sum();
        let mut bytes = Vec::with_capacity(size);
        let mut last = after;
        for frame in frames {
            last += 1;
            encode_parts(last, &frame.event, &frame.data, &mut bytes);
        }
        Self { first: after + 1, last, is_end, frames: bytes.into() }
    }

    /// The frames after `position`, which lies before the last of them.
    pub(crate) fn after(&self, position: u64) -> Bytes {
        let mut offset = 0;
        for _ in self.first..=position {
            // A frame's data has no empty lines, so one only ever ends a frame.
            let rest = self.frames.get(offset..).unwrap_or_default();
            match rest.windows(2).position(|pair| pair == b"\n\n") {
                Some(end) => offset += end + 2,
                None => return Bytes::new(),
            }
        }
        self.frames.slice(offset..)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use service::protocol::sse::Parser;

    use super::*;

    proptest! {
        #[test]
        fn a_chunk_gives_exactly_the_frames_after_any_position(
            after in 0..1000_u64,
            data in proptest::collection::vec("[^\\r\\n]{0,20}(\n[^\\r\\n]{0,9}){0,2}", 1..8),
            skip in 0..8_u64,
        ) {
            let frame = |data| Frame { id: 0, event: "output".to_owned(), data };
            let frames: Vec<Frame> = data.into_iter().map(frame).collect();
            let chunk = Chunk::encode(after, &frames, false);
            let position = after + skip.min(frames.len() as u64 - 1);
            let mut parsed = Vec::new();
            Parser::default().push(&chunk.after(position), &mut parsed).unwrap();
            let ids: Vec<u64> = parsed.iter().map(|frame| frame.id).collect();
            prop_assert_eq!(ids, (position + 1..=chunk.last).collect::<Vec<u64>>());
            let rest = frames.iter().skip((position - after) as usize).map(|frame| &frame.data);
            prop_assert!(parsed.iter().map(|frame| &frame.data).eq(rest));
        }
    }
}
