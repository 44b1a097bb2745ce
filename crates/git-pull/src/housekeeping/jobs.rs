//! The folders of jobs: they go after their time, or when all together are too large.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use service::protocol::{JobId, Step};
use service::workspace::Workspace;

use super::sizes::Sizes;
use super::{folders, name_of, remove};

/// How long a job's next step may be away, by its last one, before the folder may go to make room. A
/// delivery is the last one, or is repeated at once; an agent waits for others to end.
fn next_step_within(last: Option<Step>) -> Duration {
    Duration::from_secs(match last {
        Some(Step::Deliver) => 60,
        Some(Step::Execute | Step::Check) => 60 * 60,
        Some(Step::Pull) | None => 24 * 60 * 60,
    })
}

/// Removes the folders in which nobody has worked for that long.
pub(super) fn remove_old(workspace: &Workspace, age: Duration, now: SystemTime) -> io::Result<()> {
    for job in jobs(workspace)? {
        if remove_untouched(workspace, job, age, now) {
            tracing::info!("job {job} is over its retention time");
        }
    }
    Ok(())
}

/// Removes the folders of jobs that are over, those that ended first before the others, until all
/// together have no more than so many bytes.
pub(super) fn shrink(workspace: &Workspace, max_bytes: u64, now: SystemTime) -> io::Result<()> {
    let mut sizes = Sizes::read(&workspace.cache());
    let mut known = Vec::new();
    for job in jobs(workspace)? {
        // One in use is measured once it rests.
        let folder = workspace.job(job);
        if let Some(changed) = changed(&folder).filter(|changed| *changed + REST < now) {
            known.push((changed, job, sizes.of(job, changed, &folder)));
        }
    }
    known.sort_unstable();
    let mut total: u64 = known.iter().map(|(.., bytes)| bytes).sum();
    for (_, job, bytes) in &known {
        if total <= max_bytes {
            break;
        }
        let age = next_step_within(workspace.last_step(*job));
        if remove_untouched(workspace, *job, age, now) {
            tracing::info!("removed the folder of job {job} to make room");
            total -= bytes;
        }
    }
    sizes.keep(known.into_iter().map(|(_, job, _)| job));
    Ok(())
}

/// A folder that was changed more recently is in use.
const REST: Duration = Duration::from_secs(10);

fn jobs(workspace: &Workspace) -> io::Result<Vec<JobId>> {
    let folders = folders(&workspace.jobs())?;
    Ok(folders.iter().filter_map(|path| name_of(path).parse().ok()).collect())
}

/// Removes a job's folder in which nobody works, or has worked for that long; says whether.
fn remove_untouched(workspace: &Workspace, job: JobId, age: Duration, now: SystemTime) -> bool {
    let path = workspace.job(job);
    if !is_untouched(&path, age, now) {
        return false;
    }
    match workspace.try_lock_job(job) {
        // A step may have begun and ended since the first look.
        Ok(Some(_lock)) if is_untouched(&path, age, now) => {
            remove(&path);
            true
        }
        Ok(_) => false,
        Err(error) => {
            tracing::warn!("cannot lock {}: {error}", path.display());
            false
        }
    }
}

/// Whether nothing has become of a job's folder for so long.
fn is_untouched(path: &Path, age: Duration, now: SystemTime) -> bool {
    changed(path).is_some_and(|changed| now.duration_since(changed).is_ok_and(|since| since > age))
}

/// When a folder was changed last, as the kernel keeps it: an agent can set any other time, even to
/// one in the future.
fn changed(path: &Path) -> Option<SystemTime> {
    let seconds = u64::try_from(fs::symlink_metadata(path).ok()?.ctime()).unwrap_or_default();
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use service::one_shot::Job;

    use super::*;
    use crate::testing::soon;

    const HOUR: Duration = Duration::from_secs(60 * 60);

    struct Site {
        _root: tempfile::TempDir,
        workspace: Workspace,
    }

    impl Site {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let workspace = Workspace::open(root.path()).unwrap();
            Self { _root: root, workspace }
        }

        /// A job with a file of 1 MB, in which this step was the last.
        async fn job(&self, step: Step) -> JobId {
            let job = Job::detached();
            drop(self.workspace.lock_job(&job, step).await.unwrap());
            fs::create_dir(self.workspace.checkout(job.id())).unwrap();
            fs::write(self.workspace.checkout(job.id()).join("file"), vec![1; 1_000_000]).unwrap();
            job.id()
        }

        fn left(&self) -> Vec<JobId> {
            let mut left = jobs(&self.workspace).unwrap();
            left.sort();
            left
        }

        /// What is left after making room, which is as much in the end.
        fn shrinks_to(&self, count: usize, max_bytes: u64, later: Duration) -> Vec<JobId> {
            soon(|| {
                shrink(&self.workspace, max_bytes, SystemTime::now() + later).unwrap();
                self.left().len() <= count
            });
            self.left()
        }
    }

    #[tokio::test]
    async fn to_make_room_jobs_that_are_over_go_and_no_more_than_needed() {
        let site = Site::new();
        let mut jobs = Vec::new();
        for _ in 0..4 {
            jobs.push(site.job(Step::Deliver).await);
        }
        jobs.sort();
        assert_eq!(site.shrinks_to(4, 4_500_000, HOUR), jobs);
        assert_eq!(site.shrinks_to(2, 2_500_000, HOUR).len(), 2);
        site.shrinks_to(0, 0, HOUR);
    }

    #[tokio::test]
    async fn a_job_that_may_go_on_stays_however_little_room_there_is() {
        let site = Site::new();
        let pulled = site.job(Step::Pull).await;
        let executed = site.job(Step::Execute).await;
        let delivered = site.job(Step::Deliver).await;
        let mut all = vec![pulled, executed, delivered];
        all.sort();
        assert_eq!(site.shrinks_to(3, 0, Duration::from_secs(30)), all);
        assert!(!site.shrinks_to(2, 0, HOUR / 2).contains(&delivered));
        assert_eq!(site.shrinks_to(1, 0, 2 * HOUR), [pulled]);
        site.shrinks_to(0, 0, 25 * HOUR);
    }

    #[tokio::test]
    async fn a_job_in_which_a_step_works_stays_however_little_room_there_is() {
        let site = Site::new();
        let job = Job::detached();
        let lock = site.workspace.lock_job(&job, Step::Deliver).await.unwrap();
        assert_eq!(site.shrinks_to(1, 0, HOUR), [job.id()]);
        drop(lock);
        site.shrinks_to(0, 0, HOUR);
    }
}
