//! Which mirror in the cache a job's checkout borrows its objects from.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// The file in a job's folder that names the mirror; git-pull writes it.
pub const LENDER: &str = "mirror";

/// Most bytes that are read of it: a mirror's name has 68. An agent may have put anything there.
const MAX_BYTES: u64 = 256;

/// The name of the mirror that the checkout in a job's folder borrows from, as whoever works in the
/// folder may have changed it.
#[must_use]
pub fn lender_of(job: &Path) -> Option<String> {
    // An agent's link is not followed, and its pipe not waited for.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(job.join(LENDER)).ok()?;
    file.metadata().ok().filter(Metadata::is_file)?;
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text).ok()?;
    Some(text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use rustix::fs::Mode;

    use super::*;

    #[test]
    fn a_note_of_the_lender_that_is_no_note_is_none() {
        let root = tempfile::tempdir().unwrap();
        let (job, note) = (root.path(), root.path().join(LENDER));
        fs::write(job.join("other"), "x.git\n").unwrap();
        symlink("other", &note).unwrap();
        assert_eq!(lender_of(job), None);
        fs::rename(job.join("other"), &note).unwrap();
        assert_eq!(lender_of(job).as_deref(), Some("x.git"));
        File::create(&note).unwrap().set_len(1 << 40).unwrap();
        assert!(lender_of(job).is_none_or(|name| name.len() <= 256));
        fs::remove_file(&note).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &note, fifo, Mode::RWXU, 0).unwrap();
        assert_eq!(lender_of(job), None);
    }
}
