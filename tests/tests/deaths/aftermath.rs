//! What must be true after any death.

use std::fs;

use end_to_end::sse::parse;
use end_to_end::{Ended, eventually, kernel};
use rustix::process::Signal;
use serde_json::json;

use crate::locks;
use crate::scene::Scene;

/// How a job is to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promise {
    /// State and reason; one of these.
    endings: &'static [&'static str],
    /// How many attempts that takes.
    attempts: usize,
    /// What the patch has: nothing, half of what the agent does, or all of it.
    patch: &'static [&'static str],
    /// How often its agent is run.
    runs: usize,
}

const HALF: &[&str] = &["+half\n"];
const ALL: &[&str] = &["+half\n", "+b\n"];

/// It completes, as if nothing had happened.
pub(crate) const UNTOUCHED: Promise =
    Promise { endings: &["completed"], attempts: 1, patch: ALL, runs: 1 };

/// Its agent had not begun: it is queued again, and completes.
pub(crate) const AGAIN: Promise = Promise { attempts: 2, ..UNTOUCHED };

/// It completes if the gateway has read its end by then; else it is lost, with its whole patch.
pub(crate) const READ_OR_LOST: Promise =
    Promise { endings: &["completed", "failed worker_lost"], ..UNTOUCHED };

/// Its agent had begun, and the job allows a second run.
pub(crate) const RETRIED: Promise = Promise { runs: 2, ..AGAIN };

/// Its agent had begun: it is not run a second time; what it had done by then becomes the patch.
pub(crate) const LOST: Promise =
    Promise { endings: &["failed worker_lost"], patch: HALF, ..UNTOUCHED };

/// The same, and it was the worker that makes the patch.
pub(crate) const LOST_UNDELIVERED: Promise = Promise { patch: &[], ..LOST };

/// Like [`LOST`], and the worker could still say so.
pub(crate) const STOPPED: Promise = Promise { endings: &["failed worker_stopped"], ..LOST };

/// The same, and it was the worker that makes the patch.
pub(crate) const STOPPED_UNDELIVERED: Promise = Promise { patch: &[], ..STOPPED };

/// Nobody was left to make the patch, nor, as a rule, to store what the worker could still say.
pub(crate) const GONE: Promise =
    Promise { endings: &["failed worker_lost", "failed worker_stopped"], ..LOST_UNDELIVERED };

/// The disk of the workspace was full when the job needed it.
pub(crate) const FULL: Promise = Promise { endings: &["failed disk_full"], ..LOST_UNDELIVERED };

/// The same, and before its agent could begin.
pub(crate) const FULL_BEFORE: Promise = Promise { runs: 0, ..FULL };

/// Lets the job go on, waits for its end, and checks everything that was promised.
///
/// `seen` are the processes that were there before the death.
pub(crate) async fn assert_aftermath(
    mut scene: Scene,
    promise: Promise,
    seen: Vec<kernel::Seen>,
) -> Ended {
    scene.release();
    let job = scene.job.take().expect("the job was submitted").end().await;
    assert_kept(&scene, &job, promise).await;
    assert_eq!(scene.runs(), promise.runs, "as often was its agent run");
    if let Some(earlier) = scene.earlier.take() {
        earlier.end().await;
    }
    let next = scene.submit(&json!({"prompt": "echo c > c.txt", "repoUrl": scene.url()})).await;
    let next = next.end().await;
    assert_eq!(next.ending(), "completed", "the next job: {}", next.outcome);
    scene.stack.at_full_strength().await;
    assert_tidy(&scene).await;
    assert_nothing_outlives(scene, seen).await;
    job
}

/// The job ended as promised, and all that read its events read the same.
async fn assert_kept(scene: &Scene, job: &Ended, promise: Promise) {
    let ending = job.ending();
    assert!(promise.endings.contains(&&*ending), "{ending}: {:#?}", job.frames);
    assert_eq!(job.events("started").len(), promise.attempts, "{:#?}", job.frames);
    let stored = parse(&scene.stack.text(&format!("/api/jobs/{}/events", job.job)).await);
    assert_eq!(stored, job.frames, "the follower saw what is stored");
    let view = scene.stack.get(&format!("/api/jobs/{}", job.job)).await;
    assert_eq!(view["attempt"], promise.attempts, "{view}");
    assert_eq!(view["state"], job.outcome["state"], "{view}");
    if !promise.patch.is_empty() {
        let patch = scene.stack.patch(&job.job).await;
        for change in promise.patch {
            assert_eq!(patch.matches(change).count(), 1, "{change:?} is there once: {patch}");
        }
    }
}

/// No process works in the workspace, nobody holds a lock there, and nothing lies about that
/// housekeeping would not take.
async fn assert_tidy(scene: &Scene) {
    let workspace = scene.stack.workspace();
    eventually("no process works in the workspace", async || {
        scene.stack.at_work().is_empty().then_some(())
    })
    .await;
    // An idle git-pull tidies up for a moment.
    eventually("no lock is held in the workspace", async || {
        locks::held_in(&workspace).is_empty().then_some(())
    })
    .await;
    for entry in fs::read_dir(workspace.join("jobs")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let job = scene.stack.get(&format!("/api/jobs/{name}")).await;
        assert_eq!(job["id"], *name, "a folder that is no job's");
    }
    for entry in fs::read_dir(workspace.join("cache")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let is_known = [".git", ".lock", "job-sizes"].iter().any(|end| name.ends_with(end));
        assert!(is_known || name.starts_with("deliver-"), "{name}: housekeeping leaves it");
    }
}

/// After the house has stopped, no process that it ever had is left, and the store is free.
async fn assert_nothing_outlives(mut scene: Scene, mut seen: Vec<kernel::Seen>) {
    seen.extend(scene.stack.children());
    let data = scene.stack.data();
    let status = scene.stack.end_supervisor(Signal::TERM).await;
    assert!(status.success(), "{status}: {:#?}", scene.stack.log());
    let is_alive =
        |seen: &&kernel::Seen| kernel::look_at(seen.id).is_some_and(|now| now.name == seen.name);
    let left: Vec<_> = seen.iter().filter(is_alive).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(scene.stack.at_work(), []);
    locks::assert_store_is_free(&data);
}
