//! `POST /api/pull`: brings a repository into the job's folder.

use std::sync::Arc;

use service::one_shot::{Job, Shift};
use service::protocol::event::{StepEvent, StepState};
use service::protocol::request::PullRequest;
use service::protocol::{ErrorCode, Outcome, RequestError, Step};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::checkout::{self, LeftAlone, Place};
use crate::checkout_git;
use crate::fault::Fault;
use crate::job_folder::JobFolder;
use crate::mirror::{Mirror, Work};
use crate::plan;
use crate::progress::{Progress, first_few};
use crate::run::{self, Ended, Use};
use crate::settings::Settings;
use crate::snapshot::{Found, Snapshot};
use crate::source::Source;
use crate::web::Web;

/// The shift that pulls.
pub(crate) struct Pull {
    pub(crate) settings: Arc<Settings>,
}

impl Shift for Pull {
    type Request = PullRequest;
    const ROUTE: &'static str = "pull";

    fn admit(&self, request: &PullRequest) -> Result<(), RequestError> {
        self.settings.policy.admit(request.repo_url.public()).map_err(|fault| {
            RequestError::field(ErrorCode::NotAllowed, "repoUrl", format!("repoUrl: {fault}"))
        })
    }

    async fn run(&self, request: PullRequest, job: Job) -> Outcome {
        let settings = Arc::clone(&self.settings);
        let workspace = &self.settings.workspace;
        let ended = run::step((Step::Pull, Use::Alone), &job, workspace, |job, progress, stop| {
            move || Puller { settings: &settings, request: &request, progress, stop }.pull(&job)
        });
        match ended.await {
            Ended::Done(pulled, milliseconds) => pulled.outcome(&job, milliseconds),
            Ended::Early(outcome) => *outcome,
        }
    }
}

/// What is in the job's folder now.
struct Pulled {
    /// None for an empty repository.
    commit: Option<String>,
    branch: Option<String>,
}

impl Pulled {
    fn outcome(self, job: &Job, milliseconds: u64) -> Outcome {
        let mut step = StepEvent::new(Step::Pull, StepState::Completed);
        step.duration_ms = Some(milliseconds);
        step.commit.clone_from(&self.commit);
        step.branch.clone_from(&self.branch);
        job.emit(service::protocol::Payload::Step(Box::new(step)));
        let mut outcome = Outcome::completed(match &self.commit {
            Some(_) => "the repository is checked out",
            None => "the repository is empty",
        });
        (outcome.commit, outcome.branch) = (self.commit, self.branch);
        outcome.durations.pull_ms = Some(milliseconds);
        outcome
    }
}

/// One pull, on a thread that may block.
struct Puller<'a> {
    settings: &'a Settings,
    request: &'a PullRequest,
    progress: Progress,
    stop: CancellationToken,
}

impl Puller<'_> {
    fn pull(&self, job: &Job) -> Result<Pulled, Fault> {
        let (settings, url) = (self.settings, &self.request.repo_url);
        let login = settings.credentials.login_for(url)?;
        let policy = Arc::clone(&settings.policy);
        let web = Web::new(Handle::current(), policy, settings.patience, self.stop.clone())?;
        let source = Source::connect(&web, url, login)?;
        let found = self.find(source.snapshot())?;
        let mirror = Mirror::new(&settings.workspace.cache(), url.public());
        let folder = JobFolder::new(&settings.workspace, job.id());
        let seen = mirror.identity();
        match self.check_out(&source, found.as_ref(), &mirror, &folder) {
            Err(Fault::MirrorDamaged { cause, .. }) => {
                tracing::warn!(cause, "the mirror is damaged");
                mirror.put_aside(seen.or(mirror.identity()), &self.work())?;
                self.check_out(&source, found.as_ref(), &mirror, &folder)?;
            }
            result => result?,
        }
        let empty = || source.snapshot().is_empty().then(|| "main".to_owned());
        Ok(Pulled {
            commit: found.as_ref().map(|found| found.commit.to_string()),
            branch: found.as_ref().map_or_else(empty, Found::short),
        })
    }

    fn work(&self) -> Work<'_> {
        Work { progress: &self.progress, stop: &self.stop }
    }

    /// What to check out; nothing when the repository is empty.
    fn find(&self, snapshot: &Snapshot) -> Result<Option<Found>, Fault> {
        let url = self.request.repo_url.to_string();
        match &self.request.branch {
            Some(branch) => match snapshot.find(branch.as_str()) {
                Some(found) => Ok(Some(found)),
                None => Err(Fault::BranchNotFound { branch: branch.to_string(), url }),
            },
            None if snapshot.is_empty() => match &self.request.directory {
                Some(directory) => Err(Fault::DirectoryNotFound {
                    directory: directory.to_string(),
                    what: "does not exist",
                    url,
                }),
                None => Ok(None),
            },
            None => snapshot.find_head().map(Some).ok_or(Fault::NoDefaultBranch { url }),
        }
    }

    fn check_out(
        &self,
        source: &Source<'_>,
        found: Option<&Found>,
        mirror: &Mirror,
        folder: &JobFolder,
    ) -> Result<(), Fault> {
        folder.prepare()?;
        mirror.sync(source, &self.work(), || folder.borrow_from(mirror))?;
        let checkout = folder.checkout();
        let tree = found.map(|found| self.tree_of(found, mirror)).transpose()?;
        let url = self.request.repo_url.public();
        checkout_git::create(&checkout.join(".git"), mirror, url, source.snapshot(), found)
            .map_err(Fault::io("make the checkout"))?;
        if let Some(tree) = tree {
            let place = Place { folder: &checkout, max_bytes: self.settings.max_checkout_bytes };
            // Half a checkout is of no use to anybody, and takes up room.
            let left = checkout::write_tree(mirror, tree, place, &self.work())
                .inspect_err(|_| folder.discard_checkout())?;
            self.tell(&left);
        }
        Ok(())
    }

    /// The tree of what was found, after a look at the folder that the job is about.
    fn tree_of(&self, found: &Found, mirror: &Mirror) -> Result<git2::Oid, Fault> {
        let repository = mirror.open()?;
        let object =
            repository.find_object(found.commit, None).map_err(|cause| mirror.damaged(cause))?;
        let url = self.request.repo_url.to_string();
        let Some(commit) = object.as_commit() else {
            let branch = found.short().unwrap_or_default();
            return Err(Fault::NotACommit { branch, url });
        };
        let tree = commit.tree_id();
        if let Some(directory) = &self.request.directory {
            plan::check_directory(&repository, tree, directory.as_path(), &url)?;
        }
        Ok(tree)
    }

    fn tell(&self, left: &LeftAlone) {
        let LeftAlone { submodules, lfs_pointers } = left;
        if !submodules.is_empty() {
            let (count, few) = (submodules.len(), first_few(submodules));
            let message = format!("submodules are left as empty folders ({count}): {few}");
            self.progress.notice("submodules_left", message);
        }
        if !lfs_pointers.is_empty() {
            let (count, few) = (lfs_pointers.len(), first_few(lfs_pointers));
            let message = format!("files in Git LFS are left as pointers ({count}): {few}");
            self.progress.notice("lfs_pointers_left", message);
        }
    }
}

#[cfg(test)]
mod tests;
