//! What can go wrong with an answer on its way.

use std::io;
use std::time::Duration;

use async_stream::try_stream;
use axum::body::{Body, Bytes};
use axum::http::Response;
use futures_util::StreamExt;
use tokio::sync::watch;

use crate::loopback::streamed;

/// How many bytes of a pack arrive before the fault: its header and the start of an object. The
/// pack of a single commit is longer.
const PACK_BYTES: usize = 40;

/// A slow server's piece, and the pause after it: 20 kB/s.
const SLOW_PIECE: (usize, Duration) = (200, Duration::from_millis(10));

/// Where an answer breaks off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BreaksAt {
    /// After its headers.
    Start,
    /// In the middle of the pack; an answer without a pack arrives whole.
    Pack,
}

/// How an answer breaks off.
#[derive(Debug)]
pub(super) enum Break {
    /// The connection stays open, and nothing more comes.
    Stall,
    /// The connection is closed.
    Cut,
    /// The rest comes once this is true.
    Hold(watch::Receiver<bool>),
}

/// Lets an answer break off.
pub(super) fn break_off(response: Response<Body>, at: BreaksAt, how: Break) -> Response<Body> {
    let (mut response, mut how) = (response, how);
    response.headers_mut().remove("content-length");
    response.map(|body| {
        let mut pieces = body.into_data_stream();
        streamed(try_stream! {
            let mut pack = PackFinder::default();
            while let Some(piece) = pieces.next().await {
                let piece = piece.map_err(io::Error::other)?;
                let end = match at {
                    BreaksAt::Start => Some(0),
                    BreaksAt::Pack => pack.find(&piece),
                };
                let Some(end) = end else {
                    yield piece;
                    continue;
                };
                let rest = piece.slice(end.min(piece.len())..);
                yield piece.slice(..piece.len() - rest.len());
                // Lets the server send what it has.
                tokio::task::yield_now().await;
                match &mut how {
                    Break::Stall => std::future::pending::<()>().await,
                    Break::Cut => Err(io::Error::other("cut off"))?,
                    Break::Hold(gate) => {
                        let is_open = gate.wait_for(|is_open| *is_open).await.is_ok();
                        if !is_open {
                            Err(io::Error::other("the server is gone"))?;
                        }
                        yield rest;
                    }
                }
            }
        })
    })
}

/// Lets an answer arrive whole, but slowly.
pub(super) fn slow_down(response: Response<Body>) -> Response<Body> {
    response.map(|body| {
        let mut pieces = body.into_data_stream();
        streamed(try_stream! {
            while let Some(piece) = pieces.next().await {
                let mut piece: Bytes = piece.map_err(io::Error::other)?;
                while !piece.is_empty() {
                    yield piece.split_to(SLOW_PIECE.0.min(piece.len()));
                    tokio::time::sleep(SLOW_PIECE.1).await;
                }
            }
        })
    })
}

/// Finds the start of a pack in a stream, wherever it is cut.
#[derive(Default)]
struct PackFinder {
    matched: usize,
    /// How much of the pack is still to be let through, once it has begun.
    left: Option<usize>,
}

impl PackFinder {
    /// Where in this piece the answer ends, if it does.
    fn find(&mut self, piece: &[u8]) -> Option<usize> {
        const SIGNATURE: &[u8] = b"PACK";
        let mut start = 0;
        if self.left.is_none() {
            for (position, &byte) in piece.iter().enumerate() {
                self.matched = match byte {
                    _ if byte == SIGNATURE[self.matched] => self.matched + 1,
                    b'P' => 1,
                    _ => 0,
                };
                if self.matched == SIGNATURE.len() {
                    (self.left, start) = (Some(PACK_BYTES), position + 1);
                    break;
                }
            }
        }
        let left = self.left.as_mut()?;
        let rest = piece.len() - start;
        if rest >= *left {
            return Some(start + *left);
        }
        *left -= rest;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pack_is_found_wherever_the_stream_is_cut() {
        let stream: Vec<u8> = [b"PAxPPACK".as_slice(), &[7; 100]].concat();
        for cut in 0..stream.len() {
            let mut finder = PackFinder::default();
            let (first, second) = stream.split_at(cut);
            let end = finder.find(first).or_else(|| finder.find(second).map(|end| end + cut));
            assert_eq!(end, Some(8 + PACK_BYTES), "cut at {cut}");
        }
    }
}
