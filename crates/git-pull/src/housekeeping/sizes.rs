//! How large jobs' folders are. To look takes long, and every worker wants to know: so it is noted
//! down, in the cache, where agents cannot write when they are confined.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, Metadata, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use service::protocol::JobId;
use walkdir::{DirEntry, WalkDir};

/// The notes: a line `<job> <seconds of its last change> <bytes>` for each, of several the last.
const NOTES: &str = "job-sizes";

/// Unit of `st_blocks`, whatever the file system's own blocks are.
const BLOCK: u64 = 512;

/// What is known.
#[derive(Debug)]
pub(super) struct Sizes {
    path: PathBuf,
    known: HashMap<JobId, (u64, u64)>,
    has_changed: bool,
}

impl Sizes {
    /// Reads the notes; none are there if they cannot be read.
    pub(super) fn read(cache: &Path) -> Self {
        let path = cache.join(NOTES);
        let text = fs::read_to_string(&path).unwrap_or_default();
        Self {
            path,
            known: text.split_inclusive('\n').filter_map(parse).collect(),
            has_changed: false,
        }
    }

    /// How many bytes a job's folder takes up that was changed then; looks if that is not known.
    pub(super) fn of(&mut self, job: JobId, changed: SystemTime, folder: &Path) -> u64 {
        let changed = changed.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if let Some((then, bytes)) = self.known.get(&job)
            && *then == changed
        {
            return *bytes;
        }
        let bytes = measure(folder);
        self.known.insert(job, (changed, bytes));
        self.has_changed = true;
        // At once, since a worker ends with its job; what cannot be noted is measured again.
        let notes = File::options().append(true).create(true).open(&self.path);
        let _ = notes.and_then(|mut notes| notes.write_all(line(job, changed, bytes).as_bytes()));
        bytes
    }

    /// Forgets all jobs but these.
    pub(super) fn keep(mut self, jobs: impl Iterator<Item = JobId>) {
        let jobs: HashSet<JobId> = jobs.collect();
        let before = self.known.len();
        self.known.retain(|job, _| jobs.contains(job));
        if !self.has_changed && self.known.len() == before {
            return;
        }
        let lines = self.known.iter().map(|(job, (changed, bytes))| line(*job, *changed, *bytes));
        let lines: String = lines.collect();
        let _ = fs::write(&self.path, lines);
    }
}

fn line(job: JobId, changed: u64, bytes: u64) -> String {
    format!("{job} {changed} {bytes}\n")
}

fn parse(line: &str) -> Option<(JobId, (u64, u64))> {
    // One without an end was cut short, perhaps within a number.
    let mut parts = line.strip_suffix('\n')?.split(' ');
    let mut next = || parts.next();
    Some((next()?.parse().ok()?, (next()?.parse().ok()?, next()?.parse().ok()?)))
}

/// What all files below a folder take up on the disk.
fn measure(folder: &Path) -> u64 {
    let entries = WalkDir::new(folder).same_file_system(true).into_iter().filter_entry(open_up);
    entries.flatten().filter_map(|entry| Some(entry.metadata().ok()?.blocks() * BLOCK)).sum()
}

/// Whatever an agent has closed is looked into as well.
fn open_up(entry: &DirEntry) -> bool {
    const READABLE: u32 = 0o500;
    if let Some(mode) = entry.metadata().ok().filter(Metadata::is_dir).map(|it| it.mode())
        && mode & READABLE != READABLE
    {
        // What stays closed counts for nothing.
        let _ = fs::set_permissions(entry.path(), Permissions::from_mode(mode | 0o700));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_measured_again_only_after_a_change() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("job");
        fs::create_dir(&folder).unwrap();
        let write = |bytes: usize| fs::write(folder.join("file"), vec![1; bytes]).unwrap();
        let (job, then, later) = (JobId::random(), SystemTime::now(), SystemTime::now());
        let later = later + std::time::Duration::from_secs(5);
        write(100_000);
        let first = Sizes::read(root.path()).of(job, then, &folder);
        assert!((100_000..200_000).contains(&first), "{first}");
        write(1_000_000);
        assert_eq!(Sizes::read(root.path()).of(job, then, &folder), first);
        let mut sizes = Sizes::read(root.path());
        assert!(sizes.of(job, later, &folder) > 1_000_000);
        sizes.keep([job].into_iter());
        assert_eq!(Sizes::read(root.path()).known.len(), 1);
        Sizes::read(root.path()).keep(std::iter::empty());
        assert!(Sizes::read(root.path()).known.is_empty());
    }

    #[test]
    fn what_an_agent_has_closed_counts() {
        let root = tempfile::tempdir().unwrap();
        let closed = root.path().join("closed");
        fs::create_dir(&closed).unwrap();
        fs::write(closed.join("file"), vec![1; 1_000_000]).unwrap();
        fs::set_permissions(&closed, Permissions::from_mode(0o000)).unwrap();
        assert!(measure(root.path()) > 1_000_000);
        assert_eq!(fs::metadata(&closed).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn notes_that_are_none_are_passed_over() {
        let root = tempfile::tempdir().unwrap();
        let job = JobId::random();
        fs::write(root.path().join(NOTES), format!("x\n{job} 1\n{job} 1 2\n{job} a b\n{job} 3 4"))
            .unwrap();
        assert_eq!(Sizes::read(root.path()).known, HashMap::from([(job, (1, 2))]));
    }
}
