//! How much a checkout may take up, on the disk and in memory. A small pack can stand for any
//! number of bytes.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use git2::{Odb, OdbObject, Oid};

use crate::fault::Fault;
use crate::mirror::Mirror;

/// Largest file: each is in memory as a whole while it is written.
const MAX_FILE_BYTES: u64 = 2 << 30;

/// Files that are larger than this are read one after the other.
const LARGE_FILE_BYTES: u64 = 64 << 20;

/// Longest target of a symlink; Linux has no longer ones.
const MAX_LINK_BYTES: u64 = 4095;

/// What is left for the files of one checkout.
#[derive(Debug)]
pub(crate) struct Budget {
    max_bytes: u64,
    used: AtomicU64,
    large: Mutex<()>,
}

impl Budget {
    pub(crate) fn new(max_bytes: u64) -> Self {
        Self { max_bytes, used: AtomicU64::new(0), large: Mutex::new(()) }
    }

    /// Reads a file if there is room for it, and hands it to `write`.
    pub(crate) fn read<T>(
        &self,
        blob: &Blob<'_>,
        write: impl FnOnce(&OdbObject<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let bytes = blob.bytes(MAX_FILE_BYTES)?;
        let used = self.used.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if used > self.max_bytes {
            let fault = format!("its files have more than {} bytes", self.max_bytes);
            return Err(Fault::Malformed(fault));
        }
        let is_large = bytes > LARGE_FILE_BYTES;
        let _turn = is_large.then(|| self.large.lock().unwrap_or_else(PoisonError::into_inner));
        write(&blob.read()?)
    }
}

/// A file's content in the mirror.
pub(crate) struct Blob<'a> {
    pub(crate) mirror: &'a Mirror,
    pub(crate) odb: &'a Odb<'a>,
    pub(crate) id: Oid,
    /// Where it goes, for messages.
    pub(crate) path: &'a Path,
}

impl<'a> Blob<'a> {
    /// Reads the target of a symlink.
    pub(crate) fn read_link(&self) -> Result<OdbObject<'a>, Fault> {
        self.bytes(MAX_LINK_BYTES)?;
        self.read()
    }

    /// Its size, which must be no more than `max`.
    fn bytes(&self, max: u64) -> Result<u64, Fault> {
        let header = self.odb.read_header(self.id);
        let (bytes, _) = header.map_err(|cause| self.mirror.damaged(cause))?;
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        if bytes > max {
            let fault = format!("{:?} has {bytes} bytes, and {max} are possible", self.path);
            return Err(Fault::Malformed(fault));
        }
        Ok(bytes)
    }

    fn read(&self) -> Result<OdbObject<'a>, Fault> {
        self.odb.read(self.id).map_err(|cause| self.mirror.damaged(cause))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use url::Url;

    use super::*;

    /// A loose object that says no more than how large it is, in zlib's form for data as it is
    /// (RFC 1950 and 1951).
    fn claim(bytes: u64) -> Vec<u8> {
        let header = format!("blob {bytes}\0");
        let length = u16::try_from(header.len()).unwrap();
        let [low, high] = length.to_le_bytes();
        let mut file = vec![0x78, 0x01, 0x01, low, high, !low, !high];
        file.extend_from_slice(header.as_bytes());
        file
    }

    #[test]
    fn a_file_is_refused_for_its_size_before_it_is_read() {
        let cache = tempfile::tempdir().unwrap();
        let mirror = Mirror::new(cache.path(), &Url::parse("https://host/repo").unwrap());
        let objects = mirror.path().join("objects");
        fs::create_dir_all(objects.join("11")).unwrap();
        fs::write(objects.join("11").join("1".repeat(38)), claim(MAX_FILE_BYTES + 1)).unwrap();
        let odb = mirror.objects().unwrap();
        let id = Oid::from_str(&"1".repeat(40)).unwrap();
        let blob = Blob { mirror: &mirror, odb: &odb, id, path: Path::new("huge") };
        let fault = Budget::new(u64::MAX).read(&blob, |_| Ok(())).unwrap_err().to_string();
        assert!(fault.ends_with("\"huge\" has 2147483649 bytes, and 2147483648 are possible"));
    }
}
