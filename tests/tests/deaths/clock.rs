//! A clock that is set while a job is on its way, hours ahead or back: nothing that takes time may
//! go by it.

use end_to_end::clock::Clock;
use end_to_end::{Ended, Setup, Stack, eventually, http};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::aftermath::{RETRIED, UNTOUCHED, assert_aftermath};
use crate::cell::signal;
use crate::point::{Point, Victim};
use crate::scene::Scene;

const HOUR: i64 = 3600;
const YEAR: i64 = 365 * 24 * HOUR;

/// Sets the clock by so many seconds when the job has come to this point.
async fn leap(seconds: i64, point: Point) {
    let Some(clock) = Clock::new() else { return };
    let mut scene = Scene::start(clock.rule(Setup::new())).await;
    scene.reach(point).await;
    let seen = scene.stack.children();
    clock.set(seconds);
    if point == Point::BeforeAccept {
        scene.submit_job().await;
    }
    let ended = assert_aftermath(scene, UNTOUCHED, seen).await;
    let times = ended.frames.iter().map(|frame| frame.json()["at"].as_str().unwrap().to_owned());
    let times: Vec<_> = times.collect();
    if !matches!(point, Point::BeforeAccept | Point::Unread) {
        // In UTC and of equal length up to the seconds, so they compare as texts.
        let is_later = times.last() > times.first();
        assert_eq!(is_later, seconds > 0, "the services go by this clock: {times:?}");
    }
    assert_sane(&ended);
}

/// What is told to have taken some time took less than any leap.
fn assert_sane(ended: &Ended) {
    for (step, duration) in ended.outcome["durations"].as_object().unwrap() {
        let duration = duration.as_i64().unwrap();
        assert!((0..HOUR * 1000).contains(&duration), "{step}: {duration}");
    }
}

macro_rules! leaps {
    ($($name:ident: $hours:literal at $point:ident;)*) => {$(
        #[tokio::test]
        async fn $name() {
            leap($hours * HOUR, Point::$point).await;
        }
    )*};
}

leaps! {
    clock_set_ahead_before_accept: 10 at BeforeAccept;
    clock_set_ahead_while_queued: 10 at Queued;
    clock_set_ahead_while_pulling: 10 at Pulling;
    clock_set_ahead_while_the_agent_runs: 10 at AgentRuns;
    clock_set_ahead_while_the_check_runs: 10 at CheckRuns;
    clock_set_ahead_while_delivering: 10 at Delivering;
    clock_set_ahead_before_the_end_is_read: 10 at Unread;

    clock_set_back_before_accept: -10 at BeforeAccept;
    clock_set_back_while_queued: -10 at Queued;
    clock_set_back_while_pulling: -10 at Pulling;
    clock_set_back_while_the_agent_runs: -10 at AgentRuns;
    clock_set_back_while_the_check_runs: -10 at CheckRuns;
    clock_set_back_while_delivering: -10 at Delivering;
    clock_set_back_before_the_end_is_read: -10 at Unread;
}

#[tokio::test]
async fn clock_set_ahead_by_a_year_between_two_steps() {
    let Some(clock) = Clock::new() else { return };
    let setup = clock.rule(Setup::new().env("ONESHIFT_RETENTION_HOURS", "1"));
    let mut scene = Scene::start_with(setup, 2).await;
    // It has been pulled, and waits for the only claude-exec: nobody holds its folder.
    scene.reach(Point::Queued).await;
    let seen = scene.stack.children();
    let job = scene.job.as_ref().unwrap().job.clone();
    clock.set(YEAR);
    let git_pull = scene.process_of(Victim::GitPull, Point::Queued).await;
    signal(git_pull, Signal::TERM);
    eventually("the next git-pull has tidied up by the new clock", async || {
        let leapt = |line: &String| line.contains("the clock has leapt ahead");
        scene.stack.log().iter().any(leapt).then_some(())
    })
    .await;
    eventually("it is done with that", async || {
        crate::locks::held_in(&scene.stack.workspace()).len().eq(&1).then_some(())
    })
    .await;
    assert!(scene.stack.job_folder(&job).join("repo/a.txt").exists());
    assert_sane(&assert_aftermath(scene, UNTOUCHED, seen).await);
}

#[tokio::test]
async fn clock_set_ahead_by_a_year_and_back_across_two_gateways() {
    let Some(clock) = Clock::new() else { return };
    let setup = Setup::new().env("ONESHIFT_KEEP_JOBS_DAYS", "1");
    let mut scene = Scene::start(clock.rule(setup)).await;
    scene.reach(Point::Queued).await;
    let seen = scene.stack.children();
    for seconds in [YEAR, 0] {
        clock.set(seconds);
        let gateway = scene.process_of(Victim::Gateway, Point::Queued).await;
        signal(gateway, Signal::KILL);
        eventually("there is a new gateway", async || {
            let [new] = scene.stack.processes("gateway")[..] else { return None };
            let answer = http::client().get(scene.stack.url("/health")).send().await;
            (new != gateway && answer.is_ok()).then_some(())
        })
        .await;
        let jobs = scene.stack.get("/api/jobs").await;
        assert_eq!(jobs["jobs"].as_array().unwrap().len(), 2, "{jobs}");
    }
    assert_aftermath(scene, UNTOUCHED, seen).await;
}

#[tokio::test]
async fn clock_set_ahead_while_a_job_pauses_before_its_retry() {
    pause(10 * HOUR).await;
}

#[tokio::test]
async fn clock_set_back_while_a_job_pauses_before_its_retry() {
    pause(-10 * HOUR).await;
}

async fn pause(seconds: i64) {
    let Some(clock) = Clock::new() else { return };
    let mut scene = Scene::start(clock.rule(Setup::new())).await;
    scene.retries = 1;
    scene.reach(Point::AgentRuns).await;
    let seen = scene.stack.children();
    signal(scene.process_of(Victim::ClaudeExec, Point::AgentRuns).await, Signal::KILL);
    let job = scene.job.as_ref().unwrap();
    job.until(|frame| frame.data.contains("retry 1 of 1 in 1 s")).await;
    clock.set(seconds);
    assert_sane(&assert_aftermath(scene, RETRIED, seen).await);
}

const TOKEN: &str = "a-token-for-two-jobs-a-minute";

#[tokio::test]
async fn clock_set_does_not_change_how_much_a_token_may_submit() {
    let Some(clock) = Clock::new() else { return };
    let tokens = tempfile::NamedTempFile::new().unwrap();
    let token = json!([{"name": "two", "token": TOKEN, "scopes": ["submit", "read"],
                        "quotas": {"submissionsPerMinute": 2}}]);
    std::fs::write(tokens.path(), token.to_string()).unwrap();
    let setup = Setup::new().sizes(1, 1, 1).env("ONESHIFT_TOKENS_FILE", tokens.path());
    let stack = clock.rule(setup).start().await;
    assert_eq!(submit(&stack).await.0, 202);
    assert_eq!(submit(&stack).await.0, 202);
    for seconds in [0, 10 * HOUR, -10 * HOUR] {
        clock.set(seconds);
        let (status, wait) = submit(&stack).await;
        assert_eq!(status, 429);
        assert!((1..=30).contains(&wait), "{wait} s");
    }
    stack.stop().await;
}

/// Submits a job with the token; the status, and the seconds of `Retry-After`, or 0.
async fn submit(stack: &Stack) -> (u16, u32) {
    let request: Value = json!({"prompt": "true", "repoUrl": "http://127.0.0.1:1/none"});
    let post = http::client().post(stack.url("/api/workflow")).bearer_auth(TOKEN);
    let post = post.header("prefer", "respond-async").body(request.to_string());
    let answer = post.send().await.unwrap();
    let wait = answer.headers().get("retry-after").map(|wait| wait.to_str().unwrap().parse());
    (answer.status().as_u16(), wait.map_or(0, Result::unwrap))
}
