//! Cuts a patch into pieces that fit into events.

use std::io::{self, Read};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use service::protocol::event::{Encoding, Stream};
use service::protocol::{Payload, Step};

/// Most bytes of a piece, so that it is no longer than 64 KiB as base64 either.
const MAX_BYTES: usize = 48 * 1024;

/// Calls `emit` for each piece, in order. Joined, and decoded where they say so, they are what was
/// read.
pub(crate) fn cut(mut patch: impl Read, mut emit: impl FnMut(Payload)) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(MAX_BYTES);
    loop {
        let room = (MAX_BYTES - buffer.len()) as u64;
        let read = (&mut patch).take(room).read_to_end(&mut buffer)?;
        if buffer.is_empty() {
            return Ok(());
        }
        let is_last = (read as u64) < room;
        let end = if is_last { buffer.len() } else { place_to_cut(&buffer) };
        let rest = buffer.split_off(end);
        emit(payload(buffer));
        buffer = rest;
        buffer.reserve(MAX_BYTES - buffer.len());
    }
}

/// After the last line; a line longer than a piece is cut between two characters.
fn place_to_cut(bytes: &[u8]) -> usize {
    if let Some(end) = bytes.iter().rposition(|&byte| byte == b'\n') {
        return end + 1;
    }
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => error.valid_up_to(),
        _ => bytes.len(),
    }
}

fn payload(piece: Vec<u8>) -> Payload {
    let (text, encoding) = match String::from_utf8(piece) {
        Ok(text) => (text, None),
        Err(error) => (STANDARD.encode(error.as_bytes()), Some(Encoding::Base64)),
    };
    Payload::Output { step: Step::Deliver, stream: Stream::Patch, text, encoding }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(bytes: &[u8]) -> Vec<(String, bool)> {
        let mut pieces = Vec::new();
        let emit = |payload| match payload {
            Payload::Output { text, encoding, .. } => pieces.push((text, encoding.is_some())),
            other => panic!("{other:?}"),
        };
        cut(bytes, emit).unwrap();
        pieces
    }

    fn joined(pieces: &[(String, bool)]) -> Vec<u8> {
        let decode = |(text, is_base64): &(String, bool)| match is_base64 {
            true => STANDARD.decode(text).unwrap(),
            false => text.as_bytes().to_vec(),
        };
        pieces.iter().flat_map(decode).collect()
    }

    #[test]
    fn pieces_end_with_lines_and_join_to_the_whole() {
        let text = "a line of the patch\n".repeat(10_000);
        let pieces = pieces(text.as_bytes());
        assert!(pieces.iter().all(|(text, _)| text.len() <= 64 * 1024 && text.ends_with('\n')));
        assert_eq!(joined(&pieces), text.as_bytes());
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        for shift in 0..3 {
            let text = format!("{}{}", "x".repeat(shift), "€".repeat(100_000));
            let pieces = pieces(text.as_bytes());
            assert!(pieces.iter().all(|(_, is_base64)| !is_base64));
            assert_eq!(joined(&pieces), text.as_bytes());
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_survive() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|number| (number % 251) as u8).collect();
        let pieces = pieces(&bytes);
        assert!(pieces.iter().all(|(text, _)| text.len() <= 64 * 1024));
        assert_eq!(joined(&pieces), bytes);
    }

    #[test]
    fn nothing_makes_no_piece() {
        assert!(pieces(b"").is_empty());
    }
}
