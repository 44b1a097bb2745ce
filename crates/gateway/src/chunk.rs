//! Events of a job that were committed together.

use bytes::Bytes;
use service::protocol::sse::{Frame, encode_parts};

/// The store keeps chunks in pieces of about this size, or of one event if that is larger: it is what
/// a follower that replays a job's events and does not read them takes up in memory.
const PIECE_BYTES: usize = 32 * 1024;

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
    /// Encodes `frames` under the ids that follow `after`; there must be at least one. The second is
    /// the same again, in pieces.
    pub(crate) fn encode(after: u64, frames: &[Frame], is_end: bool) -> (Self, Vec<Self>) {
        const OVERHEAD: usize = 48;
        let size = frames.iter().map(|frame| frame.data.len() + OVERHEAD).sum();
        let mut bytes = Vec::with_capacity(size);
        // After which event, and after how many bytes, each piece begins; and where the last one ends.
        let (mut last, mut cuts) = (after, vec![(after, 0)]);
        for frame in frames {
            if cuts.last().is_some_and(|(_, start)| bytes.len() - start >= PIECE_BYTES) {
                cuts.push((last, bytes.len()));
            }
            last += 1;
            encode_parts(last, &frame.event, &frame.data, &mut bytes);
        }
        cuts.push((last, bytes.len()));
        let whole = Self { first: after + 1, last, is_end, frames: bytes.into() };
        let piece = |cut: &[(u64, usize)]| {
            let ((before, start), (last, end)) = (cut[0], cut[1]);
            let frames = whole.frames.slice(start..end);
            Self { first: before + 1, last, is_end: is_end && last == whole.last, frames }
        };
        let pieces = cuts.windows(2).map(piece).collect();
        (whole, pieces)
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
            let (chunk, _) = Chunk::encode(after, &frames, false);
            let position = after + skip.min(frames.len() as u64 - 1);
            let mut parsed = Vec::new();
            Parser::default().push(&chunk.after(position), &mut parsed).unwrap();
            let ids: Vec<u64> = parsed.iter().map(|frame| frame.id).collect();
            prop_assert_eq!(ids, (position + 1..=chunk.last).collect::<Vec<u64>>());
            let rest = frames.iter().skip((position - after) as usize).map(|frame| &frame.data);
            prop_assert!(parsed.iter().map(|frame| &frame.data).eq(rest));
        }
    }

    #[test]
    fn the_pieces_of_a_chunk_are_the_chunk() {
        let frame = |size| Frame { id: 0, event: "output".to_owned(), data: "x".repeat(size) };
        let frames: Vec<Frame> = [100, PIECE_BYTES, 7, 0, 3 * PIECE_BYTES].map(frame).into();
        let (whole, pieces) = Chunk::encode(5, &frames, true);
        let ranges: Vec<_> = pieces.iter().map(|it| (it.first, it.last, it.is_end)).collect();
        assert_eq!(ranges, [(6, 7, false), (8, 10, true)]);
        assert_eq!((whole.first, whole.last, whole.is_end), (6, 10, true));
        let joined: Vec<u8> = pieces.iter().flat_map(|piece| piece.frames.to_vec()).collect();
        assert_eq!(joined, whole.frames);
    }
}
