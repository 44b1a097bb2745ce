//! One step at a time in a job's folder, and none after a later one, even when an earlier attempt of
//! the job goes on that nobody hears of any more.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use protocol::event::{AgentEvent, Step};
use protocol::{JobId, Outcome, Payload, Reason};
use rustix::fs::{FlockOperation, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, flock, futimens};
use rustix::io::Errno;
use tokio::time::Instant;

use super::turn::Turn;
use super::{Workspace, remove};
use crate::one_shot::Job;

/// Between two tries; a step is late by no more than this.
const PAUSE: Duration = Duration::from_millis(20);

/// After this a wait is worth a remark.
const SHORT_WAIT: Duration = Duration::from_secs(1);

/// A worker whose caller is gone ends its job after 30 s without a reader, and within 8 s then.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The right to work in a job's folder. The kernel takes it back when its holder dies; programs
/// that the holder starts do not inherit it.
#[derive(Debug)]
pub struct JobLock {
    folder: File,
}

impl Workspace {
    /// Takes the lock of a job's folder for a step; the folder is made if there is none. Waits for
    /// an earlier attempt's step to end, and says so if that takes long.
    ///
    /// # Errors
    /// The outcome of a job that was stopped meanwhile, of which a later step has been in the
    /// folder, whose folder stayed in use, or cannot be made.
    pub async fn lock_job(&self, job: &Job, step: Step) -> Result<JobLock, Box<Outcome>> {
        let Some(lock) = self.wait_for_lock(job, LONGEST_WAIT).await? else {
            let message = "an earlier attempt of this job still works in its folder";
            return Err(Box::new(Outcome::failed(Reason::WorkerLost, message)));
        };
        self.check_turn(job, step)?;
        let turn = Turn::new(job.attempt(), step);
        turn.take(&self.job(job.id())).map_err(|error| unusable(&error))?;
        Ok(lock)
    }

    /// The same for a step that changes nothing in the folder: if it stays in use for longer than
    /// `patience`, the step goes on without the lock, and says so.
    ///
    /// # Errors
    /// The outcome of a job that was stopped meanwhile, of which a later step has been in the
    /// folder, or whose folder cannot be made.
    pub async fn lock_job_to_read(
        &self,
        job: &Job,
        step: Step,
        patience: Duration,
    ) -> Result<Option<JobLock>, Box<Outcome>> {
        let lock = self.wait_for_lock(job, patience).await?;
        self.check_turn(job, step)?;
        if lock.is_some() {
            // On a full disk it reads nevertheless.
            let _ = Turn::new(job.attempt(), step).take(&self.job(job.id()));
        } else {
            let message = "an earlier step of this job still works in its folder and does not end; \
                           what is read there may not be all of one moment";
            tell(job, "folder_in_use", message);
        }
        Ok(lock)
    }

    /// Refuses a step that comes after a later one.
    fn check_turn(&self, job: &Job, step: Step) -> Result<(), Box<Outcome>> {
        if Turn::last(&self.job(job.id())) <= Some(Turn::new(job.attempt(), step)) {
            return Ok(());
        }
        let message = format!(
            "{} of attempt {} comes too late: a later step has worked in the job's folder; to begin \
             again there, name a higher attempt in Oneshift-Attempt",
            step.name(),
            job.attempt(),
        );
        Err(Box::new(Outcome::failed(Reason::Superseded, message)))
    }

    async fn wait_for_lock(
        &self,
        job: &Job,
        patience: Duration,
    ) -> Result<Option<JobLock>, Box<Outcome>> {
        let since = Instant::now();
        let mut is_told = false;
        loop {
            match self.make_and_lock(job.id()) {
                Ok(Some(lock)) => {
                    lock.touch();
                    return Ok(Some(lock));
                }
                Ok(None) => {}
                Err(error) => return Err(unusable(&error)),
            }
            if since.elapsed() > patience {
                return Ok(None);
            }
            if since.elapsed() > SHORT_WAIT && !is_told {
                is_told = true;
                let message = "an earlier attempt of this job still works in its folder; waiting \
                               for its end";
                tell(job, "waits_for_earlier_attempt", message);
            }
            tokio::select! {
                stop = job.stopped() => return Err(Box::new(stop.into_outcome())),
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    /// Takes the lock of a job's folder if nobody has it; that alone does not count as its use.
    ///
    /// # Errors
    /// When there is no such folder, or it cannot be opened.
    pub fn try_lock_job(&self, job: JobId) -> io::Result<Option<JobLock>> {
        JobLock::try_take(&self.job(job))
    }

    fn make_and_lock(&self, job: JobId) -> io::Result<Option<JobLock>> {
        match fs::create_dir(self.job(job)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        match self.try_lock_job(job) {
            // It was tidied away just now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            taken => taken,
        }
    }
}

impl JobLock {
    fn try_take(path: &Path) -> io::Result<Option<Self>> {
        let folder = match open(path) {
            Err(Errno::ACCESS) => {
                remove::open_folder_up(path)?;
                open(path)?
            }
            opened => opened?,
        };
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK | Errno::INTR) => return Ok(None),
            // NFS, for one, has no locks on folders: there the job goes on without.
            Err(Errno::BADF | Errno::NOTSUP | Errno::NOLCK | Errno::NOSYS) => {
                tracing::warn!("the workspace's file system cannot lock folders");
            }
            Err(errno) => return Err(errno.into()),
        }
        let (ours, there) = (folder.metadata()?, fs::symlink_metadata(path)?);
        if (ours.dev(), ours.ino()) != (there.dev(), there.ino()) {
            return Ok(None);
        }
        Ok(Some(Self { folder }))
    }

    /// Marks the folder as just used.
    fn touch(&self) {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        // Without it the folder is taken for older than it is.
        let _ = futimens(&self.folder, &Timestamps { last_access: now, last_modification: now });
    }
}

/// For a process that is to hold the lock as well, and to keep it if this one dies.
impl AsFd for JobLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}

/// The folder of a step that took longer than folders are kept must not go before the next step.
impl Drop for JobLock {
    fn drop(&mut self) {
        self.touch();
    }
}

/// Only a folder itself, not a link to one, and not for the programs that are started meanwhile.
fn open(path: &Path) -> Result<File, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map(File::from)
}

fn tell(job: &Job, code: &str, message: &str) {
    let (code, message) = (code.to_owned(), message.to_owned());
    job.emit(Payload::Agent(AgentEvent::Notice { code, message }));
}

fn unusable(error: &io::Error) -> Box<Outcome> {
    let (reason, what) = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (Reason::DiskFull, "the disk of the workspace is full; ")
        }
        _ => (Reason::InternalError, ""),
    };
    Box::new(Outcome::failed(reason, format!("{what}cannot make the job's folder: {error}")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::one_shot::Stop;

    fn workspace() -> (tempfile::TempDir, Workspace) {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace::open(folder.path()).unwrap();
        (folder, workspace)
    }

    fn notices(job: &Job) -> usize {
        let is_notice = |payload: &Payload| matches!(payload, Payload::Agent(_));
        job.events().iter().filter(|event| is_notice(&event.payload)).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_attempt_waits_for_the_first_and_says_so() {
        let (_folder, workspace) = workspace();
        let job = Job::detached();
        let first = workspace.lock_job(&job, Step::Pull).await.unwrap();
        assert!(workspace.try_lock_job(job.id()).unwrap().is_none());
        let second = workspace.lock_job(&job, Step::Pull);
        let end_first = async {
            while notices(&job) == 0 {
                tokio::time::sleep(PAUSE).await;
            }
            drop(first);
        };
        let (second, ()) = tokio::join!(second, end_first);
        second.unwrap();
        assert_eq!(notices(&job), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_with_the_job_or_when_it_takes_too_long() {
        let (_folder, workspace) = workspace();
        let job = Job::detached();
        let _first = workspace.lock_job(&job, Step::Pull).await.unwrap();
        let outcome = workspace.lock_job(&job, Step::Pull).await.unwrap_err();
        assert_eq!((outcome.reason, outcome.retryable), (Some(Reason::WorkerLost), true));
        job.request_stop(Stop::new(Reason::CancelRequested, "cancelled"));
        let outcome = workspace.lock_job(&job, Step::Pull).await.unwrap_err();
        assert_eq!(outcome.reason, Some(Reason::CancelRequested));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_only_reads_goes_on_without_the_lock_in_the_end_and_says_so() {
        let (_folder, workspace) = workspace();
        let job = Job::detached();
        let first = workspace.lock_job(&job, Step::Pull).await.unwrap();
        let patience = Duration::from_secs(3);
        let lock = workspace.lock_job_to_read(&job, Step::Deliver, patience).await.unwrap();
        assert!(lock.is_none());
        assert_eq!(notices(&job), 2);
        drop(first);
        assert!(workspace.lock_job_to_read(&job, Step::Deliver, patience).await.unwrap().is_some());
        assert_eq!(notices(&job), 2);
    }

    #[tokio::test]
    async fn a_step_that_comes_after_a_later_one_is_refused_and_leaves_the_folder_alone() {
        let (_folder, workspace) = workspace();
        let id = JobId::random();
        let [first, second] = [1, 2].map(|attempt| Job::detached_in(id, attempt));
        drop(workspace.lock_job(&first, Step::Pull).await.unwrap());
        drop(workspace.lock_job(&first, Step::Execute).await.unwrap());
        // Once more, from a worker that hung in a pull which another one took over.
        let late = workspace.lock_job(&first, Step::Pull).await.unwrap_err();
        assert_eq!((late.reason, late.retryable), (Some(Reason::Superseded), false));
        drop(workspace.lock_job(&first, Step::Execute).await.unwrap());
        let patience = Duration::from_secs(10);
        let read = workspace.lock_job_to_read(&first, Step::Deliver, patience).await.unwrap();
        assert!(read.is_some());
        drop(read);
        assert!(workspace.lock_job(&first, Step::Execute).await.is_err());
        let held = workspace.lock_job(&second, Step::Pull).await.unwrap();
        let late = workspace.lock_job_to_read(&first, Step::Deliver, Duration::ZERO).await;
        let late = late.unwrap_err();
        assert!(late.message.starts_with("deliver of attempt 1 comes too late: "));
        drop(held);
        drop(workspace.lock_job(&second, Step::Execute).await.unwrap());
    }

    #[tokio::test]
    async fn the_lock_of_a_folder_that_was_removed_is_none() {
        let (_folder, workspace) = workspace();
        let job = Job::detached();
        let lock = workspace.lock_job(&job, Step::Pull).await.unwrap();
        remove::remove_tree(&workspace.job(job.id())).unwrap();
        let _second = workspace.lock_job(&job, Step::Pull).await.unwrap();
        drop(lock);
        assert!(workspace.try_lock_job(job.id()).unwrap().is_none());
    }

    #[tokio::test]
    async fn an_agent_can_neither_close_a_job_s_folder_nor_lead_its_lock_elsewhere() {
        let (_folder, workspace) = workspace();
        let job = Job::detached();
        drop(workspace.lock_job(&job, Step::Pull).await.unwrap());
        let path = workspace.job(job.id());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        assert!(workspace.try_lock_job(job.id()).unwrap().is_some());
        remove::remove_tree(&path).unwrap();
        symlink(workspace.cache(), &path).unwrap();
        let outcome = workspace.lock_job(&job, Step::Pull).await.unwrap_err();
        assert_eq!(outcome.reason, Some(Reason::InternalError));
    }

    #[tokio::test]
    async fn programs_do_not_inherit_the_lock() {
        let (_folder, workspace) = workspace();
        let job = Job::detached();
        let lock = workspace.lock_job(&job, Step::Pull).await.unwrap();
        let mut program = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        drop(lock);
        // Not at once: the kernel lets us go on a moment before it closes what a new program must
        // not have.
        let is_free = workspace.lock_job(&job, Step::Pull).await.is_ok();
        program.kill().unwrap();
        program.wait().unwrap();
        assert!(is_free);
    }
}
