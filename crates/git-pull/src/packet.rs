//! Git's packet lines: four hexadecimal digits of length, then the content (gitprotocol-common).

use bytes::{Bytes, BytesMut};

use crate::fault::Fault;

/// A body that arrives in pieces, cut anywhere.
pub(crate) trait Pieces {
    /// The next piece; none at the end.
    fn next_piece(&mut self) -> Result<Option<Bytes>, Fault>;
    /// The fault of a body that ends in the middle of something.
    fn cut_off(&self) -> Fault;
}

/// One packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    /// Content, which may be empty.
    Data(Bytes),
    /// The end of a section.
    Flush,
}

/// Why a body is not made of packets.
#[derive(Debug)]
pub(crate) enum PacketFault {
    /// It has bytes where a length should be.
    NotPackets,
    /// It did not arrive.
    Body(Fault),
}

/// Takes a body apart.
pub(crate) struct Packets<P> {
    pieces: P,
    buffer: BytesMut,
}

impl<P: Pieces> Packets<P> {
    pub(crate) fn new(pieces: P) -> Self {
        Self { pieces, buffer: BytesMut::new() }
    }

    /// The next packet; none at the end of the body.
    pub(crate) fn next(&mut self) -> Result<Option<Packet>, PacketFault> {
        if !self.fill(4)? {
            return match self.buffer.is_empty() {
                true => Ok(None),
                false => Err(PacketFault::Body(self.pieces.cut_off())),
            };
        }
        let length = self.buffer.split_to(4);
        let length = std::str::from_utf8(&length)
            .ok()
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| usize::from_str_radix(digits, 16).ok())
            .ok_or(PacketFault::NotPackets)?;
        match length {
            0 => Ok(Some(Packet::Flush)),
            // 1 to 3 have a meaning in protocol 2 only, which was not asked for.
            1..4 => Err(PacketFault::NotPackets),
            _ if !self.fill(length - 4)? => Err(PacketFault::Body(self.pieces.cut_off())),
            _ => Ok(Some(Packet::Data(self.buffer.split_to(length - 4).freeze()))),
        }
    }

    /// The fault of a body that ends where it must not.
    pub(crate) fn cut_off(&self) -> Fault {
        self.pieces.cut_off()
    }

    /// Waits for this many bytes; false when the body ends before.
    fn fill(&mut self, length: usize) -> Result<bool, PacketFault> {
        while self.buffer.len() < length {
            match self.pieces.next_piece().map_err(PacketFault::Body)? {
                Some(piece) => self.buffer.extend_from_slice(&piece),
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// Appends a packet.
pub(crate) fn push(buffer: &mut Vec<u8>, content: &str) {
    buffer.extend_from_slice(format!("{:04x}{content}", content.len() + 4).as_bytes());
}

/// Appends the end of a section.
pub(crate) fn push_flush(buffer: &mut Vec<u8>) {
    buffer.extend_from_slice(b"0000");
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A body that is there already, in pieces of this size.
    pub(crate) struct Ready(pub(crate) Vec<u8>, pub(crate) usize);

    impl Pieces for Ready {
        fn next_piece(&mut self) -> Result<Option<Bytes>, Fault> {
            let size = self.1.min(self.0.len());
            let piece: Vec<u8> = self.0.drain(..size).collect();
            Ok((!piece.is_empty()).then(|| piece.into()))
        }

        fn cut_off(&self) -> Fault {
            Fault::CutOff { url: "test".into(), cause: "end".into() }
        }
    }

    #[test]
    fn packets_survive_any_cut() {
        let mut body = Vec::new();
        push(&mut body, "hello\n");
        push_flush(&mut body);
        push(&mut body, "");
        for size in 1..body.len() {
            let mut packets = Packets::new(Ready(body.clone(), size));
            assert_eq!(packets.next().unwrap(), Some(Packet::Data("hello\n".into())));
            assert_eq!(packets.next().unwrap(), Some(Packet::Flush));
            assert_eq!(packets.next().unwrap(), Some(Packet::Data(Bytes::new())));
            assert_eq!(packets.next().unwrap(), None);
        }
    }

    #[test]
    fn what_is_not_packets_is_told_from_what_is_cut_off() {
        for text in ["<!doctype html>", "0003", "+123"] {
            let fault = Packets::new(Ready(text.into(), 3)).next().unwrap_err();
            assert!(matches!(fault, PacketFault::NotPackets), "{text}: {fault:?}");
        }
        for text in ["00", "0009hel"] {
            let fault = Packets::new(Ready(text.into(), 3)).next().unwrap_err();
            assert!(matches!(fault, PacketFault::Body(Fault::CutOff { .. })), "{text}: {fault:?}");
        }
    }
}
