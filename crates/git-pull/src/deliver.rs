//! `POST /api/deliver`: makes a patch of what changed in the job's checkout.
//!
//! The checkout and its `.git` are what an agent left: hostile data, of which the files are read
//! and nothing is obeyed.

mod ignored;
mod left_out;
mod patch;
mod pieces;
mod store;
#[cfg(test)]
mod tests;
mod tree;
mod worktree;

use std::ffi::CString;
use std::sync::Arc;
use std::time::Duration;

use git2::Oid;
use service::one_shot::{Job, Shift};
use service::protocol::event::{StepEvent, StepState};
use service::protocol::outcome::Changes;
use service::protocol::request::{DeliverMode, DeliverRequest};
use service::protocol::{JobId, Outcome, Payload, Reason, Step};
use tokio_util::sync::CancellationToken;

use crate::fault::Fault;
use crate::job_folder::JobFolder;
use crate::mirror::Mirror;
use crate::progress::Progress;
use crate::run::{self, Ended, Use};
use crate::settings::Settings;
use patch::Patch;
use store::Store;
use tree::TreeMaker;
use worktree::Folder;

/// A worker that nobody hears any more ends its job after 30 s without a reader, and within 8 s
/// then. One that has not may hang for ever, while what it has done can be read.
const PATIENCE: Duration = Duration::from_secs(40);

/// The same when whoever asks has told everybody to end, and waits for what is left.
const SALVAGE_PATIENCE: Duration = Duration::from_secs(1);

/// The shift that delivers.
pub(crate) struct Deliver {
    pub(crate) settings: Arc<Settings>,
}

impl Shift for Deliver {
    type Request = DeliverRequest;
    const ROUTE: &'static str = "deliver";

    async fn run(&self, request: DeliverRequest, job: Job) -> Outcome {
        if request.deliver.mode == DeliverMode::None {
            job.emit(Payload::Step(Box::new(StepEvent::new(Step::Deliver, StepState::Skipped))));
            return Outcome::completed("nothing was to be delivered");
        }
        let settings = Arc::clone(&self.settings);
        let workspace = &self.settings.workspace;
        let step = (Step::Deliver, Use::ToRead(patience(&request)));
        let ended = run::step(step, &job, workspace, |job, progress, stop| {
            move || {
                let delivery = Delivery { settings: &settings, request: &request, progress, stop };
                delivery.patch(job.id(), |payload| job.emit(payload))
            }
        });
        match ended.await {
            Ended::Done(changes, milliseconds) => delivered(&job, changes, milliseconds),
            Ended::Early(outcome) => *outcome,
        }
    }
}

/// How long whoever still works in the folder may take to end.
fn patience(request: &DeliverRequest) -> Duration {
    if request.salvage { SALVAGE_PATIENCE } else { PATIENCE }
}

fn delivered(job: &Job, changes: Changes, milliseconds: u64) -> Outcome {
    let mut step = StepEvent::new(Step::Deliver, StepState::Completed);
    step.duration_ms = Some(milliseconds);
    step.changes = Some(changes);
    let mut outcome = Outcome::completed(sentence(changes));
    if changes.files == 0 {
        outcome.reason = Some(Reason::NoChanges);
        step.reason = Some(Reason::NoChanges);
    }
    job.emit(Payload::Step(Box::new(step)));
    outcome.changes = Some(changes);
    outcome.durations.deliver_ms = Some(milliseconds);
    outcome
}

fn sentence(changes: Changes) -> String {
    let Changes { files, insertions, deletions } = changes;
    match files {
        0 => "nothing in the checkout is different".to_owned(),
        1 => format!("1 file is different: {insertions} lines added, {deletions} removed"),
        _ => format!("{files} files are different: {insertions} lines added, {deletions} removed"),
    }
}

/// One delivery, on a thread that may block.
struct Delivery<'a> {
    settings: &'a Settings,
    request: &'a DeliverRequest,
    progress: Progress,
    stop: CancellationToken,
}

impl Delivery<'_> {
    fn patch(&self, job: JobId, emit: impl FnMut(Payload)) -> Result<Changes, Fault> {
        let workspace = &self.settings.workspace;
        let url = &self.request.repo_url;
        let mirror = Mirror::new(&workspace.cache(), url.public());
        JobFolder::new(workspace, job).check(&mirror, &url.to_string())?;
        let checkout = self.open(job)?;
        let store = Store::new(&workspace.cache(), &mirror)?;
        let base = self.base(&store)?;
        let mut maker = TreeMaker::new(&store, &self.stop)?;
        let tree = maker.make(&checkout, base.as_ref())?;
        let patch = Patch::make(&store, base.as_ref(), tree, &self.stop)?;
        maker.left_out.tell(&self.progress);
        pieces::cut(patch.file, emit).map_err(Fault::io("read the patch"))?;
        Ok(patch.changes)
    }

    /// Opens the checkout step by step, so that no link leads elsewhere.
    fn open(&self, job: JobId) -> Result<Folder, Fault> {
        let name = CString::new(job.to_string()).expect("an id holds no NUL");
        let open = || {
            let jobs = Folder::open(&self.settings.workspace.jobs())?;
            jobs.folder(&name)?.folder(c"repo")
        };
        open().map_err(|_| Fault::NoCheckout { job })
    }

    /// The tree that the checkout was made from; none for an empty repository.
    fn base<'store>(&self, store: &'store Store) -> Result<Option<git2::Tree<'store>>, Fault> {
        let Some(base) = &self.request.base else { return Ok(None) };
        let missing =
            || Fault::BaseMissing { base: base.clone(), url: self.request.repo_url.to_string() };
        let id = Oid::from_str(base).map_err(|_| missing())?;
        let commit = store.commit(id)?.ok_or_else(missing)?;
        store.tree(commit.tree_id()).map(Some)
    }
}
