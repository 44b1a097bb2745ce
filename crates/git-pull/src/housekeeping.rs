//! Keeps the workspace from growing without end: old jobs' folders go, then the mirrors that were
//! used longest ago.
//!
//! It runs on a thread of its own while the worker waits for its job. It may be cut off at any
//! point by the worker's exit; the next worker goes on from there.

mod jobs;
mod sizes;
mod steady;

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use service::config::{ConfigError, Environment};
use service::workspace::{Workspace, lender_of, remove_tree};

use crate::fault::Fault;
use crate::lock::Lock;
use crate::mirror;

/// What a killed worker may leave in the cache is safe to remove after this time: no fetch and no
/// delivery takes that long.
const LITTER_AGE: Duration = Duration::from_secs(24 * 60 * 60);

const HOUR: Duration = Duration::from_secs(60 * 60);

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How long a job's folder stays after its last step.
    pub(crate) retention: Duration,
    /// How large all jobs' folders together may be; those of jobs that go on stay anyhow.
    pub(crate) jobs_bytes: Option<u64>,
    /// How large all mirrors together may be; those that a job still borrows from stay anyhow.
    pub(crate) cache_bytes: u64,
}

impl Limits {
    /// Reads `ONESHIFT_RETENTION_HOURS` (72; 0.5 is half an hour), `ONESHIFT_JOBS_MAX_BYTES` (50 GiB
    /// or half of the disk, whatever is less) and `ONESHIFT_CACHE_MAX_BYTES` (20 GiB).
    pub(crate) fn read(environment: &Environment) -> Result<Self, ConfigError> {
        const RETENTION: &str = "ONESHIFT_RETENTION_HOURS";
        let hours: f64 = environment.number(RETENTION, 72.0)?;
        let retention = Duration::try_from_secs_f64(hours * HOUR.as_secs_f64()).ok();
        let retention = retention.filter(|retention| !retention.is_zero()).ok_or_else(|| {
            ConfigError::new(RETENTION, format!("is {hours}; use a number above 0, such as 0.5"))
        })?;
        const JOBS: &str = "ONESHIFT_JOBS_MAX_BYTES";
        let is_set = environment.text(JOBS).is_some();
        let jobs_bytes = is_set.then(|| environment.number(JOBS, 0)).transpose()?;
        Ok(Self {
            retention,
            jobs_bytes,
            cache_bytes: environment.number("ONESHIFT_CACHE_MAX_BYTES", 20 << 30)?,
        })
    }
}

/// Starts tidying up in the background.
pub(crate) fn start(workspace: Workspace, limits: Limits) {
    let tidy_up = move || {
        let now = steady::now(&lock_path(&workspace), limits.retention.max(LITTER_AGE));
        if let Err(fault) = tidy(&workspace, limits, now) {
            tracing::warn!("the workspace cannot be tidied up: {fault}");
        }
    };
    // Without it the worker does its job all the same.
    if let Err(error) = std::thread::Builder::new().name("housekeeping".into()).spawn(tidy_up) {
        tracing::warn!("housekeeping cannot start: {error}");
    }
}

/// Removes what is beyond the limits; does nothing when another worker is at it.
pub(crate) fn tidy(workspace: &Workspace, limits: Limits, now: SystemTime) -> Result<(), Fault> {
    let Some(_lock) = Lock::try_now(&lock_path(workspace))? else { return Ok(()) };
    let tidy = || {
        jobs::remove_old(workspace, limits.retention, now)?;
        let jobs_bytes = limits.jobs_bytes.unwrap_or_else(|| usual_jobs_bytes(&workspace.jobs()));
        jobs::shrink(workspace, jobs_bytes, now)?;
        remove_litter(&workspace.cache(), now)
    };
    tidy().map_err(Fault::io("remove what is old"))?;
    shrink(workspace, limits.cache_bytes)
}

/// Jobs' folders must never fill the disk, on which the mirrors are as well.
fn usual_jobs_bytes(jobs: &Path) -> u64 {
    const MOST: u64 = 50 << 30;
    let disk = rustix::fs::statvfs(jobs).map(|disk| disk.f_blocks.saturating_mul(disk.f_frsize));
    disk.map_or(MOST, |bytes| MOST.min(bytes / 2))
}

/// The file that is locked meanwhile; it holds a note about the clock.
fn lock_path(workspace: &Workspace) -> PathBuf {
    workspace.cache().join("housekeeping.lock")
}

fn remove_litter(cache: &Path, now: SystemTime) -> io::Result<()> {
    for path in folders(cache)? {
        let name = name_of(&path);
        let is_litter = name.starts_with("deliver-") || name.contains(".git.damaged-");
        if is_litter && is_older(&path, LITTER_AGE, now) {
            remove(&path);
        }
    }
    Ok(())
}

/// One folder that cannot be removed must not keep the others.
fn remove(path: &Path) {
    if let Err(error) = remove_tree(path) {
        tracing::warn!("cannot remove {}: {error}", path.display());
    }
}

fn shrink(workspace: &Workspace, max_bytes: u64) -> Result<(), Fault> {
    let fault = || Fault::io("look through the cache");
    let mut mirrors = Vec::new();
    let mut total = 0;
    for path in folders(&workspace.cache()).map_err(fault())? {
        if path.extension().is_some_and(|extension| extension == "git") {
            let bytes = size_of(&path.join("objects"));
            total += bytes;
            mirrors.push((mirror::last_use(&path), path, bytes));
        }
    }
    mirrors.sort();
    for (_, path, bytes) in mirrors {
        if total <= max_bytes {
            break;
        }
        if remove_unless_borrowed(workspace, &path)? {
            total -= bytes;
        }
    }
    Ok(())
}

/// Under the mirror's lock, since a job notes under it that it borrows.
fn remove_unless_borrowed(workspace: &Workspace, mirror: &Path) -> Result<bool, Fault> {
    let Some(_lock) = Lock::try_now(&mirror::lock_path(mirror))? else { return Ok(false) };
    let fault = || Fault::io("make room in the cache");
    let jobs = folders(&workspace.jobs()).map_err(fault())?;
    let lenders: HashSet<String> = jobs.iter().filter_map(|job| lender_of(job)).collect();
    if lenders.contains(&name_of(mirror)) {
        return Ok(false);
    }
    tracing::info!(mirror = name_of(mirror), "removed to make room");
    remove_tree(mirror).map_err(fault())?;
    Ok(true)
}

fn folders(parent: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn is_older(path: &Path, age: Duration, now: SystemTime) -> bool {
    let modified = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| now.duration_since(modified).is_ok_and(|since| since > age))
}

/// Bytes of the files in a folder of objects; what cannot be read counts for nothing.
fn size_of(objects: &Path) -> u64 {
    let size_in = |folder: PathBuf| -> u64 {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
    };
    folders(objects).unwrap_or_default().into_iter().map(size_in).sum()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use end_to_end::git_server::GitServer;

    use super::*;
    use crate::testing::{Pulled, Site, soon};

    fn limits(cache_bytes: u64) -> Limits {
        Limits { retention: 72 * HOUR, jobs_bytes: None, cache_bytes }
    }

    /// Pulls a new repository of 100 kB.
    fn pull(site: &Site, server: &GitServer, name: &str) -> Pulled {
        let repository = server.repository(name, |repository| {
            repository.noise(name, 100_000).commit("first");
        });
        let pulled = site.pull(repository.path().to_str().unwrap());
        pulled.commit();
        pulled
    }

    fn mirrors(site: &Site) -> usize {
        let cache = folders(&site.settings.workspace.cache()).unwrap();
        cache.iter().filter(|path| path.extension().is_some_and(|end| end == "git")).count()
    }

    #[test]
    fn the_retention_time_may_be_a_part_of_an_hour_but_not_nothing() {
        let read =
            |hours| Limits::read(&Environment::from_pairs([("ONESHIFT_RETENTION_HOURS", hours)]));
        assert_eq!(read("0.5").unwrap().retention, HOUR / 2);
        assert_eq!(read("72").unwrap().retention, HOUR * 72);
        for wrong in ["0", "-1", "nan", "inf", "1e300", "1e-300", "soon"] {
            let fault = read(wrong).unwrap_err().to_string();
            assert!(fault.starts_with("ONESHIFT_RETENTION_HOURS is "), "{fault}");
        }
    }

    #[test]
    fn jobs_go_after_their_time_and_not_before() {
        let (site, server) = (Site::new(), GitServer::start());
        let pulled = pull(&site, &server, "demo");
        let workspace = &site.settings.workspace;
        let strange = workspace.jobs().join("not-a-job");
        fs::create_dir(&strange).unwrap();
        let now = SystemTime::now();
        tidy(workspace, limits(u64::MAX), now + 71 * HOUR).unwrap();
        assert!(pulled.checkout.exists());
        soon(|| {
            tidy(workspace, limits(u64::MAX), now + 73 * HOUR).unwrap();
            !workspace.job(pulled.job.id()).exists()
        });
        assert!(strange.exists());
    }

    #[test]
    fn a_job_in_which_a_step_works_stays_however_long_it_takes() {
        let (site, server) = (Site::new(), GitServer::start());
        let pulled = pull(&site, &server, "demo");
        let workspace = &site.settings.workspace;
        let mut lock = None;
        soon(|| {
            lock = workspace.try_lock_job(pulled.job.id()).unwrap();
            lock.is_some()
        });
        let later = SystemTime::now() + 1000 * HOUR;
        tidy(workspace, limits(u64::MAX), later).unwrap();
        assert!(pulled.checkout.exists());
        drop(lock);
        soon(|| {
            tidy(workspace, limits(u64::MAX), later).unwrap();
            !pulled.checkout.exists()
        });
    }

    #[test]
    fn no_time_that_an_agent_sets_and_no_right_that_it_takes_keeps_its_folder() {
        let (site, server) = (Site::new(), GitServer::start());
        let pulled = pull(&site, &server, "demo");
        let workspace = &site.settings.workspace;
        let folder = workspace.job(pulled.job.id());
        let (now, far) = (SystemTime::now(), SystemTime::now() + 100_000 * HOUR);
        fs::File::open(&folder).unwrap().set_modified(far).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o000)).unwrap();
        tidy(workspace, limits(u64::MAX), now + 71 * HOUR).unwrap();
        assert!(folder.exists());
        soon(|| {
            tidy(workspace, limits(u64::MAX), now + 73 * HOUR).unwrap();
            !folder.exists()
        });
    }

    #[test]
    fn a_mirror_stays_while_a_job_borrows_from_it() {
        let (site, server) = (Site::new(), GitServer::start());
        let pulled = pull(&site, &server, "demo");
        let workspace = &site.settings.workspace;
        tidy(workspace, limits(0), SystemTime::now()).unwrap();
        pulled.git(["fsck"]);
        remove_tree(&workspace.job(pulled.job.id())).unwrap();
        soon(|| {
            tidy(workspace, limits(0), SystemTime::now()).unwrap();
            mirrors(&site) == 0
        });
        pull(&site, &server, "demo-2").git(["fsck"]);
    }

    #[test]
    fn the_mirror_used_longest_ago_goes_first_and_no_more_than_needed() {
        let (site, server) = (Site::new(), GitServer::start());
        let urls: Vec<String> = ["a", "b", "c"]
            .into_iter()
            .map(|name| {
                let pulled = pull(&site, &server, name);
                pulled.git(["remote", "get-url", "origin"])
            })
            .collect();
        // The first one is used again, so the second is the oldest.
        site.pull(&urls[0]).commit();
        let workspace = &site.settings.workspace;
        fs::remove_dir_all(workspace.jobs()).unwrap();
        fs::create_dir(workspace.jobs()).unwrap();
        tidy(workspace, limits(250_000), SystemTime::now()).unwrap();
        let mirror = |url: &String| {
            let url = url::Url::parse(url).unwrap();
            crate::mirror::Mirror::new(&workspace.cache(), &url).path().exists()
        };
        assert_eq!(urls.iter().map(mirror).collect::<Vec<_>>(), [true, false, true]);
    }

    #[test]
    fn what_killed_workers_left_goes_after_a_day() {
        let site = Site::new();
        let cache = site.settings.workspace.cache();
        for name in ["deliver-x", "abc.git.damaged-1"] {
            fs::create_dir(cache.join(name)).unwrap();
        }
        let now = SystemTime::now();
        tidy(&site.settings.workspace, limits(0), now + 23 * HOUR).unwrap();
        assert_eq!(folders(&cache).unwrap().len(), 2);
        tidy(&site.settings.workspace, limits(0), now + 25 * HOUR).unwrap();
        assert_eq!(folders(&cache).unwrap().len(), 0);
    }
}
