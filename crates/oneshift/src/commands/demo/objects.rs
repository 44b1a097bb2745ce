//! Git objects, written without git, so that the demo needs nothing on the machine.
//!
//! Formats: gitformat-pack(5) and "Git Internals - Git Objects" for loose objects, RFC 1950 and
//! RFC 1951 for their compression, which is none here ("stored" blocks).

use std::fmt::Write;
use std::io;
use std::path::Path;

use sha1::{Digest, Sha1};

/// An object's name: the SHA-1 of its content with its header.
pub(super) type Name = [u8; 20];

/// Writes an object of a kind (`blob`, `tree`, `commit`) below `objects` and returns its name.
pub(super) fn write(objects: &Path, kind: &str, content: &[u8]) -> io::Result<Name> {
    let mut object = format!("{kind} {}\0", content.len()).into_bytes();
    object.extend_from_slice(content);
    let name: Name = Sha1::digest(&object).into();
    let hex = hex(&name);
    let folder = objects.join(&hex[..2]);
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join(&hex[2..]), zlib(&object))?;
    Ok(name)
}

/// A name as people write it.
pub(super) fn hex(name: &Name) -> String {
    name.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn zlib(content: &[u8]) -> Vec<u8> {
    // RFC 1950: deflate with a 32 KiB window, fastest; the two bytes are a multiple of 31.
    let mut stream = vec![0x78, 0x01];
    let mut blocks = content.chunks(usize::from(u16::MAX)).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        stream.push(u8::from(blocks.peek().is_none()));
        stream.extend_from_slice(&length.to_le_bytes());
        stream.extend_from_slice(&(!length).to_le_bytes());
        stream.extend_from_slice(block);
    }
    stream.extend_from_slice(&adler32(content).to_be_bytes());
    stream
}

/// RFC 1950, section 8.
fn adler32(content: &[u8]) -> u32 {
    const BASE: u32 = 65_521;
    let (a, b) = content.iter().fold((1, 0), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % BASE;
        (a, (a + b) % BASE)
    });
    b << 16 | a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_has_the_name_that_git_gives_it() {
        let folder = tempfile::tempdir().unwrap();
        // From `printf hello | git hash-object --stdin`.
        let name = write(folder.path(), "blob", b"hello").unwrap();
        assert_eq!(hex(&name), "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0");
        assert!(folder.path().join("b6/fc4c620b67d95f953a5c1c1230aaab5db5a1b0").is_file());
    }

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        // From the Wikipedia article on Adler-32.
        assert_eq!(adler32(b"Wikipedia"), 0x11E6_0398);
    }
}
