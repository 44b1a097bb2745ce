//! What is made of the work of an agent whose workers are lost, or hang.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use end_to_end::git_server::{Access, GitServer, Repository};
use end_to_end::model::{Script, Turn};
use end_to_end::sse::{Events, Frame};
use end_to_end::{Ended, Model, Setup, Stack, eventually, git, kernel};
use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::lost_workers::{WAITING, busy, is_ready, kill, server, signal, until};

/// A job whose agent has written `half.txt` and waits, with processes of its own.
struct Scene {
    stack: Stack,
    repository: Repository,
    _server: GitServer,
    job: String,
    frames: Vec<Frame>,
    events: Events,
    /// The workers of each kind as they were before the job: workflow, git-pull, claude-exec.
    before: [Vec<u32>; 3],
}

impl Scene {
    async fn start(setup: Setup, more: Value) -> Self {
        let (stack, server) = (setup.start().await, GitServer::start());
        let repository = server.repository("demo", |repository| {
            repository.file("a.txt", "a\n").commit("first");
        });
        let before = ["workflow", "git-pull", "claude-exec"].map(|kind| stack.processes(kind));
        let mut request = json!({"prompt": WAITING, "repoUrl": server.url(Access::Public, "demo")});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut events = stack.submit(&request).await;
        let frames = until(&mut events, is_ready).await;
        let job = frames[0].json()["jobId"].as_str().unwrap().to_owned();
        let scene = Self { stack, repository, _server: server, job, frames, events, before };
        assert!(kernel::working_below(&scene.checkout()).len() >= 3);
        scene
    }

    fn checkout(&self) -> std::path::PathBuf {
        self.stack.job_folder(&self.job).join("repo")
    }

    /// The process of a service of which there is one.
    async fn busy(&self, service: &str) -> u32 {
        let before = if service == "workflow" { &self.before[0] } else { &self.before[2] };
        busy(&self.stack, service, before).await
    }

    /// Follows the job to its end, also across a gateway that is killed.
    async fn end(&mut self) -> Ended {
        while self.frames.last().is_some_and(|frame| !frame.is_terminal()) {
            match self.events.next().await {
                Some(frame) => self.frames.push(frame),
                None => self.follow_again().await,
            }
        }
        Ended::of(std::mem::take(&mut self.frames))
    }

    async fn follow_again(&mut self) {
        let last = self.frames.last().and_then(|frame| frame.id.clone()).unwrap();
        let url = self.stack.url(&format!("/api/jobs/{}/events?after={last}", self.job));
        let again = async || end_to_end::http::client().get(&url).send().await.ok();
        self.events = Events::of(eventually("the gateway is back", again).await).await;
    }

    /// Checks that the half is in the patch, which is there once.
    async fn assert_half_is_salvaged(&self, ended: &Ended) {
        assert_eq!(ended.outcome["changes"]["files"], 1, "{}", ended.outcome);
        let patch = self.stack.patch(&self.job).await;
        assert_eq!(patch.matches("+half").count(), 1, "{patch}");
        let commit = ended.outcome["commit"].as_str().unwrap();
        let clone = git::applied(self.repository.path(), commit, &patch);
        assert_eq!(std::fs::read_to_string(clone.path().join("half.txt")).unwrap(), "half\n");
    }

    /// Checks that nothing works in the job's folder any more, and that it is not locked.
    fn assert_nothing_is_left(&self) {
        assert_eq!(kernel::working_below(&self.checkout()), []);
        let folder = File::open(self.stack.job_folder(&self.job)).unwrap();
        flock(&folder, FlockOperation::NonBlockingLockExclusive).expect("the folder is not locked");
    }
}

/// Shorter than the half minute for which a worker waits for another reader.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(25), what).await.expect("it does not take that long")
}

#[tokio::test]
async fn a_lost_workflow_leaves_its_agents_work_as_a_patch_and_nothing_else() {
    let mut scene = Scene::start(Setup::new(), json!({})).await;
    kill(scene.busy("workflow").await);
    let ended = soon(scene.end()).await;
    assert_eq!(ended.ending(), "failed worker_lost", "{}", ended.outcome);
    scene.assert_nothing_is_left();
    scene.assert_half_is_salvaged(&ended).await;
    assert_eq!(ended.outcome["retryable"], true);
    let message = ended.outcome["message"].as_str().unwrap();
    assert!(message.contains("was lost"), "{message}");
    assert!(message.ends_with("what its agent had changed is in the patch: 1 file (+1 -0)"));
    assert!(ended.outcome["durations"]["executeMs"].is_u64(), "{}", ended.outcome);
    assert_eq!(ended.events("started").len(), 1);
    assert!(ended.notices().contains(&"worker_lost".to_owned()));
    scene.stack.at_full_strength().await;
}

#[tokio::test]
async fn a_gateway_and_a_workflow_killed_together_leave_the_patch_to_the_next_gateway() {
    let setup = Setup::new().env("ONESHIFT_REATTACH_SECONDS", "2");
    let mut scene = Scene::start(setup, json!({})).await;
    let gateway = scene.stack.processes("gateway")[0];
    kill(scene.busy("workflow").await);
    kill(gateway);
    let ended = soon(scene.end()).await;
    assert_eq!(ended.ending(), "failed worker_lost", "{}", ended.outcome);
    scene.assert_nothing_is_left();
    scene.assert_half_is_salvaged(&ended).await;
    scene.stack.at_full_strength().await;
}

#[tokio::test]
async fn a_gateway_killed_while_it_salvages_does_it_again_and_makes_one_patch() {
    // The next one gives the workflow time to come back, which the first one knew to be dead.
    let setup = Setup::new().env("ONESHIFT_REATTACH_SECONDS", "2");
    let mut scene = Scene::start(setup, json!({})).await;
    let gateway = scene.stack.processes("gateway")[0];
    kill(scene.busy("workflow").await);
    let is_salvage = |frame: &Frame| frame.data.contains("\"worker_lost\"");
    let frames = until(&mut scene.events, is_salvage).await;
    kill(gateway);
    scene.frames.extend(frames);
    let ended = soon(scene.end()).await;
    assert_eq!(ended.ending(), "failed worker_lost", "{}", ended.outcome);
    scene.assert_nothing_is_left();
    scene.assert_half_is_salvaged(&ended).await;
    scene.stack.at_full_strength().await;
}

#[tokio::test]
async fn a_lost_workflow_and_claude_exec_leave_the_patch_too() {
    let mut scene = Scene::start(Setup::new(), json!({})).await;
    let (workflow, agent) = (scene.busy("workflow").await, scene.busy("claude-exec").await);
    kill(workflow);
    kill(agent);
    let ended = soon(scene.end()).await;
    assert_eq!(ended.ending(), "failed worker_lost", "{}", ended.outcome);
    scene.assert_half_is_salvaged(&ended).await;
    scene.stack.at_full_strength().await;
}

#[tokio::test]
async fn a_workflow_that_hangs_holds_no_cancel_up() {
    let mut scene = Scene::start(Setup::new(), json!({})).await;
    let workflow = scene.busy("workflow").await;
    signal(workflow, Signal::STOP);
    scene.stack.cancel(&scene.job).await;
    let ended = soon(scene.end()).await;
    assert_eq!(ended.ending(), "cancelled cancel_requested", "{}", ended.outcome);
    scene.assert_nothing_is_left();
    scene.assert_half_is_salvaged(&ended).await;
    // It finds that nobody wants its job any more.
    signal(workflow, Signal::CONT);
    scene.stack.at_full_strength().await;
}

#[tokio::test]
async fn a_claude_exec_that_hangs_holds_no_cancel_up() {
    let mut scene = Scene::start(Setup::new(), json!({})).await;
    let agent = scene.busy("claude-exec").await;
    signal(agent, Signal::STOP);
    scene.stack.cancel(&scene.job).await;
    let ended = soon(scene.end()).await;
    assert_eq!(ended.ending(), "cancelled cancel_requested", "{}", ended.outcome);
    scene.assert_half_is_salvaged(&ended).await;
    // Its agent may still write while the patch is made.
    assert!(ended.notices().contains(&"folder_in_use".to_owned()), "{:?}", ended.notices());
    kill(agent);
    scene.stack.at_full_strength().await;
}

#[tokio::test]
async fn a_workflow_that_hangs_is_lost_and_its_agents_work_is_salvaged() {
    let mut scene = Scene::start(Setup::new(), json!({})).await;
    let workflow = scene.busy("workflow").await;
    signal(workflow, Signal::STOP);
    let ended = scene.end().await;
    assert_eq!(ended.ending(), "failed worker_lost", "{}", ended.outcome);
    scene.assert_nothing_is_left();
    scene.assert_half_is_salvaged(&ended).await;
    signal(workflow, Signal::CONT);
    scene.stack.at_full_strength().await;
}

#[tokio::test]
async fn a_claude_exec_that_hangs_is_lost_and_its_agents_work_is_salvaged() {
    let mut scene = Scene::start(Setup::new(), json!({})).await;
    let agent = scene.busy("claude-exec").await;
    signal(agent, Signal::STOP);
    let ended = scene.end().await;
    assert_eq!(ended.ending(), "failed worker_lost", "{}", ended.outcome);
    scene.assert_half_is_salvaged(&ended).await;
    let steps = ended.events("step");
    let is_end = |step: &&Value| step["step"] == "execute" && step["state"] == "failed";
    assert_eq!(steps.iter().find(is_end).unwrap()["reason"], "worker_lost", "{steps:#?}");
    kill(agent);
    scene.stack.at_full_strength().await;
}

/// Waits in line for a job's folder, which its agent has: the test is next.
fn queue_for(folder: &Path) -> tokio::task::JoinHandle<File> {
    let folder = File::open(folder).unwrap();
    tokio::task::spawn_blocking(move || {
        flock(&folder, FlockOperation::LockExclusive).unwrap();
        folder
    })
}

/// A job whose delivery waits for its folder, which the test has; and the git-pull that delivers.
async fn delivering() -> (Scene, File, u32) {
    let prompt = "echo half > half.txt; (setsid sleep 1000 &); sleep 1000 & echo ready;
                  while [ ! -e go ]; do sleep 0.1; done; rm go";
    let mut scene = Scene::start(Setup::new(), json!({"prompt": prompt})).await;
    let lock = queue_for(&scene.stack.job_folder(&scene.job));
    std::fs::write(scene.checkout().join("go"), "").unwrap();
    let lock = lock.await.unwrap();
    let waits = |frame: &Frame| frame.data.contains("waits_for_earlier_attempt");
    let frames = until(&mut scene.events, waits).await;
    scene.frames.extend(frames);
    // The other one that was there has pulled, and is gone.
    let there = scene.stack.processes("git-pull");
    let still: Vec<u32> = scene.before[1].iter().copied().filter(|it| there.contains(it)).collect();
    assert_eq!(still.len(), 1, "{:?}, now {there:?}", scene.before[1]);
    (scene, lock, still[0])
}

#[tokio::test]
async fn a_git_pull_lost_while_delivering_is_replaced_and_the_job_completes() {
    let (mut scene, lock, git_pull) = delivering().await;
    kill(git_pull);
    let again = |frame: &Frame| frame.data.contains("\"delivery_repeated\"");
    let frames = until(&mut scene.events, again).await;
    scene.frames.extend(frames);
    drop(lock);
    let ended = soon(scene.end()).await;
    assert_eq!(ended.ending(), "completed", "{}", ended.outcome);
    let steps = ended.events("step");
    let states: Vec<_> = steps.iter().filter(|step| step["step"] == "deliver").collect();
    let states: Vec<_> = states.iter().map(|step| step["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["started", "failed", "started", "completed"]);
    scene.assert_half_is_salvaged(&ended).await;
    scene.stack.at_full_strength().await;
}

#[tokio::test]
async fn a_git_pull_that_hangs_while_delivering_is_replaced_and_the_job_completes() {
    let (mut scene, lock, git_pull) = delivering().await;
    signal(git_pull, Signal::STOP);
    drop(lock);
    let ended = scene.end().await;
    assert_eq!(ended.ending(), "completed", "{}", ended.outcome);
    scene.assert_half_is_salvaged(&ended).await;
    kill(git_pull);
    scene.stack.at_full_strength().await;
}

#[tokio::test]
async fn the_costs_of_a_real_agent_whose_worker_is_lost_are_known_as_far_as_they_were_told() {
    for lost in ["workflow", "claude-exec"] {
        let script = Script::endless([
            Turn::write("half.txt", "half\n"),
            Turn::stall("And now silence, for as long as anybody listens"),
        ]);
        let model = Model::start(script);
        let Some(setup) = Setup::with_claude(&model) else { return };
        let (stack, server) = (setup.start().await, server());
        let before = stack.processes(lost);
        let url = server.url(Access::Public, "demo");
        let mut events = stack.submit(&json!({"prompt": "Do it", "repoUrl": url})).await;
        let mut frames = until(&mut events, |frame| frame.data.contains("\"usage\"")).await;
        let silent = async || (model.turns().len() == 2).then_some(());
        eventually("the model has been asked twice", silent).await;
        kill(busy(&stack, lost, &before).await);
        frames.extend(events.rest().await);
        let ended = Ended::of(frames);
        assert_eq!(ended.ending(), "failed worker_lost", "{}", ended.outcome);
        assert!(ended.outcome["usage"]["inputTokens"].as_u64() > Some(0), "{}", ended.outcome);
        // Whoever stops the agent hears all that it tells, which with one CLI in twenty is not its last
        // record; if its worker died, what was told before stands.
        let is_heard = lost == "workflow";
        let is_excuse =
            |frame: &Frame| frame.data.contains("the agent's worker was lost before it told");
        assert_ne!(ended.frames.iter().any(is_excuse), is_heard, "{:?}", ended.notices());
        assert_eq!(ended.outcome["sessionId"].is_string(), is_heard, "{}", ended.outcome);
        assert!(stack.patch(&ended.job).await.contains("+half\n"));
    }
}
