//! A process that hangs (SIGSTOP): a worker counts as lost, and whatever comes back finds its place.

use end_to_end::sse::Frame;
use end_to_end::{Setup, eventually};
use rustix::process::Signal;

use crate::aftermath::{AGAIN, UNTOUCHED, assert_aftermath};
use crate::cell::signal;
use crate::point::{Point, Victim};
use crate::scene::Scene;

/// The worker hangs while the repository is pulled, until its loss is known.
async fn hang(victim: Victim) {
    // How long a step goes on whose workflow is lost.
    let setup = Setup::new().env("ONESHIFT_READER_WAIT_SECONDS", "1");
    let mut scene = Scene::start(setup).await;
    scene.reach(Point::Pulling).await;
    let seen = scene.stack.children();
    let process = scene.process_of(victim, Point::Pulling).await;
    signal(process, Signal::STOP);
    let job = scene.job.as_ref().unwrap();
    job.until(|frame| frame.data.contains("trying again")).await;
    signal(process, Signal::CONT);
    assert_aftermath(scene, AGAIN, seen).await;
}

#[tokio::test]
async fn workflow_hung_while_pulling() {
    hang(Victim::Workflow).await;
}

#[tokio::test]
async fn git_pull_hung_while_pulling() {
    hang(Victim::GitPull).await;
}

#[tokio::test]
async fn gateway_hung_while_the_agent_runs() {
    let mut scene = Scene::start(Setup::new()).await;
    scene.reach(Point::AgentRuns).await;
    let seen = scene.stack.children();
    let gateway = scene.process_of(Victim::Gateway, Point::AgentRuns).await;
    signal(gateway, Signal::STOP);
    eventually("the workers find their lines dead", async || {
        let broke = |line: &&String| line.contains("the line to the gateway broke");
        (scene.stack.log().iter().filter(broke).count() >= 3).then_some(())
    })
    .await;
    signal(gateway, Signal::CONT);
    assert_aftermath(scene, UNTOUCHED, seen).await;
}

#[tokio::test]
async fn supervisor_hung_while_the_agent_runs() {
    let mut scene = Scene::start(Setup::new()).await;
    scene.reach(Point::AgentRuns).await;
    let seen = scene.stack.children();
    let supervisor = scene.stack.supervisor().id();
    signal(supervisor, Signal::STOP);
    scene.release();
    // As far as the workers go that are there; nobody starts others.
    scene.job.as_ref().unwrap().until(Frame::is_terminal).await;
    signal(supervisor, Signal::CONT);
    assert_aftermath(scene, UNTOUCHED, seen).await;
}
