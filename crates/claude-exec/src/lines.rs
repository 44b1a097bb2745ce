//! Lines of any length out of chunks of bytes, in bounded memory.

/// Longest piece of text in one event; longer lines come as several.
pub(crate) const PIECE_BYTES: usize = 1024 * 1024;

/// What a [`LineSplitter`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// A whole line, without its line break.
    Line(&'a [u8]),
    /// The first piece of a line that is too long to be had whole; at most [`PIECE_BYTES`].
    LongStart(&'a [u8]),
    /// A further piece of that line.
    LongRest(&'a [u8]),
}

impl<'a> Piece<'a> {
    /// The piece's bytes.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        match self {
            Self::Line(bytes) | Self::LongStart(bytes) | Self::LongRest(bytes) => bytes,
        }
    }
}

/// Splits a stream of bytes into lines; keeps at most one line of `max_line` bytes in memory.
#[derive(Debug)]
pub(crate) struct LineSplitter {
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    max_line: usize,
    /// Whether the current line was too long, and its beginning has been handed on already.
    in_long_line: bool,
}

impl LineSplitter {
    /// A splitter that hands lines of up to `max_line` bytes on in one piece.
    pub(crate) fn new(max_line: usize) -> Self {
        Self { partial: Vec::new(), max_line: max_line.max(PIECE_BYTES), in_long_line: false }
    }

    /// Takes the next bytes and hands on what is complete.
    pub(crate) fn feed(&mut self, mut chunk: &[u8], mut each: impl FnMut(Piece<'_>)) {
        while let Some(end) = chunk.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = (&chunk[..end], &chunk[end + 1..]);
            if self.partial.is_empty() && !self.in_long_line {
                each(Piece::Line(without_return(line)));
            } else {
                self.partial.extend_from_slice(line);
                self.end_line(&mut each);
            }
            chunk = rest;
        }
        self.partial.extend_from_slice(chunk);
        let limit = if self.in_long_line { PIECE_BYTES } else { self.max_line };
        if self.partial.len() > limit {
            self.hand_on_pieces(&mut each);
        }
    }

    /// Hands on a last line that has no line break.
    pub(crate) fn finish(&mut self, mut each: impl FnMut(Piece<'_>)) {
        if !self.partial.is_empty() {
            self.end_line(&mut each);
        }
    }

    fn end_line(&mut self, each: &mut impl FnMut(Piece<'_>)) {
        if self.in_long_line || self.partial.len() > self.max_line {
            self.hand_on_pieces(each);
            let rest = std::mem::take(&mut self.partial);
            if !rest.is_empty() {
                each(Piece::LongRest(without_return(&rest)));
            }
        } else {
            each(Piece::Line(without_return(&self.partial)));
        }
        self.in_long_line = false;
        self.partial.clear();
        self.partial.shrink_to(PIECE_BYTES);
    }

    /// Hands on all of an over-long line but its last piece, which may end amid a character.
    fn hand_on_pieces(&mut self, each: &mut impl FnMut(Piece<'_>)) {
        let mut start = 0;
        while self.partial.len() - start > PIECE_BYTES {
            let end = character_boundary(&self.partial, start + PIECE_BYTES);
            let piece = &self.partial[start..end];
            each(if self.in_long_line { Piece::LongRest(piece) } else { Piece::LongStart(piece) });
            self.in_long_line = true;
            start = end;
        }
        self.partial.drain(..start);
        self.partial.shrink_to(PIECE_BYTES);
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The last place at or before `end` that is not inside a UTF-8 character.
fn character_boundary(bytes: &[u8], end: usize) -> usize {
    let is_continuation = |at: usize| bytes.get(at).is_some_and(|byte| byte & 0xC0 == 0x80);
    (end.saturating_sub(3)..=end).rev().find(|at| !is_continuation(*at)).unwrap_or(end)
}

/// At most `max_bytes` of a text, cut between characters.
pub(crate) fn cut(text: &str, max_bytes: usize) -> &str {
    let mut end = max_bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(chunks: &[&[u8]], max_line: usize) -> Vec<(bool, Vec<u8>)> {
        let mut splitter = LineSplitter::new(max_line);
        let mut found = Vec::new();
        let mut keep = |piece: Piece<'_>| {
            found.push((matches!(piece, Piece::Line(_)), piece.bytes().to_vec()))
        };
        for chunk in chunks {
            splitter.feed(chunk, &mut keep);
        }
        splitter.finish(&mut keep);
        found
    }

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let text = |(whole, bytes): (bool, Vec<u8>)| {
            assert!(whole);
            String::from_utf8(bytes).unwrap()
        };
        split(chunks, 0).into_iter().map(text).collect()
    }

    #[test]
    fn lines_are_found_wherever_the_chunks_end() {
        let text = b"one\n\ntwo\r\nthree";
        for at in 0..text.len() {
            assert_eq!(lines(&[&text[..at], &text[at..]]), ["one", "", "two", "three"], "{at}");
        }
    }

    #[test]
    fn a_final_line_break_adds_no_line() {
        assert_eq!(lines(&[b"a\n"]), ["a"]);
        assert!(lines(&[b""]).is_empty());
    }

    #[test]
    fn a_line_up_to_the_limit_comes_whole() {
        let line = vec![b'x'; 3 * PIECE_BYTES];
        let chunks: Vec<&[u8]> = line.chunks(60_000).collect();
        assert_eq!(split(&chunks, 3 * PIECE_BYTES), [(true, line.clone())]);
    }

    #[test]
    fn a_longer_line_comes_in_pieces_cut_between_characters() {
        let line = "xü€".repeat(PIECE_BYTES / 2);
        let bytes = [line.as_bytes(), b"\nnext\n"].concat();
        let chunks: Vec<&[u8]> = bytes.chunks(65_536).collect();
        let mut found = split(&chunks, PIECE_BYTES);
        assert_eq!(found.pop(), Some((true, b"next".to_vec())));
        assert!(found.iter().all(|(whole, piece)| !whole && piece.len() <= PIECE_BYTES));
        let pieces: Vec<&str> =
            found.iter().map(|(_, piece)| std::str::from_utf8(piece).unwrap()).collect();
        assert_eq!(pieces.concat(), line);
    }

    #[test]
    fn an_endless_line_is_not_kept() {
        let mut splitter = LineSplitter::new(PIECE_BYTES);
        let mut bytes = 0;
        for _ in 0..200 {
            splitter.feed(&[b'x'; 100_000], |piece| bytes += piece.bytes().len());
            assert!(splitter.partial.capacity() < 3 * PIECE_BYTES);
        }
        assert!(bytes > 18_000_000);
    }
}
