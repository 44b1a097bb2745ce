//! The browser's own `EventSource`, in a real Chromium, on a page of the gateway's own origin.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod webdriver;

use std::time::Duration;

use end_to_end::git_server::{Access, GitServer};
use end_to_end::sse::{Frame, assert_complete, parse};
use end_to_end::{Setup, Stack, eventually, http, kernel};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use webdriver::Browser;

/// Follows a job, and notes whatever happens. An event without a name would be a `message`.
const FOLLOW: &str = r"
    const names = ['message', 'accepted', 'queued', 'started', 'step', 'progress', 'agent', 'output',
                   'completed', 'failed', 'cancelled'];
    window.source = new EventSource(arguments[0]);
    window.events = [];
    window.opened = 0;
    source.onopen = () => { opened += 1; };
    for (const name of names) {
        source.addEventListener(name, (event) => events.push([event.type, event.lastEventId, event.data]));
    }
";

/// What [`FOLLOW`] has noted, and how often the page asked for events.
const LOOK: &str = r"
    const asked = performance.getEntriesByType('resource').filter((it) => it.name.includes('/events'));
    return {events, opened, state: source.readyState, requests: asked.length};
";

/// `EventSource.CLOSED`: it will not come back.
const CLOSED: u64 = 2;

struct Scene {
    stack: Stack,
    server: GitServer,
    browser: Browser,
}

impl Scene {
    /// None, which is said aloud, if there is no browser.
    async fn start() -> Option<Self> {
        let browser = Browser::start().await?;
        let server = GitServer::start();
        server.repository("demo", |repository| {
            repository.file("a.txt", "a\n").commit("first");
        });
        let stack = Setup::new().start().await;
        // There is no web page yet; any answer of the gateway makes a page of its origin.
        browser.open(&stack.url("/health")).await;
        Some(Self { stack, server, browser })
    }

    fn request(&self, prompt: &str) -> Value {
        json!({"prompt": prompt, "repoUrl": self.server.url(Access::Public, "demo")})
    }

    async fn follow(&self, path: &str) {
        self.browser.run(FOLLOW, &[json!(path)]).await;
    }

    /// Waits until the page has seen what is wanted.
    async fn until(&self, what: &str, is_wanted: impl Fn(&Seen) -> bool) -> Seen {
        eventually(what, async || {
            let seen = Seen::of(&self.browser.run(LOOK, &[]).await);
            is_wanted(&seen).then_some(seen)
        })
        .await
    }

    async fn until_closed(&self) -> Seen {
        self.until("the browser is told not to come back", |seen| seen.state == CLOSED).await
    }

    /// All of a job's events, as everybody else is shown them.
    async fn stored(&self, job: &str) -> Vec<Frame> {
        let frames = parse(&self.stack.text(&format!("/api/jobs/{job}/events")).await);
        assert_complete(&frames);
        frames
    }
}

/// What a page has seen.
#[derive(Debug)]
struct Seen {
    frames: Vec<Frame>,
    opened: u64,
    state: u64,
    requests: u64,
}

impl Seen {
    fn of(value: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let frame = |event: &Value| {
            let [name, id, data] = [0, 1, 2].map(|index| text(&event[index]));
            Frame { id: Some(id), event: name, data }
        };
        let number = |name: &str| value[name].as_u64().unwrap();
        Self {
            frames: value["events"].as_array().unwrap().iter().map(frame).collect(),
            opened: number("opened"),
            state: number("state"),
            requests: number("requests"),
        }
    }

    fn has_said(&self, text: &str) -> bool {
        self.frames.iter().any(|frame| frame.data.contains(text))
    }
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).unwrap()).unwrap()
}

/// Kills the gateway, and keeps its supervisor from starting the next one until the given work is
/// done: whoever comes back meanwhile is refused.
async fn without_gateway(stack: &Stack, work: impl Future<Output = ()>) {
    let gateway = stack.processes("gateway")[0];
    let supervisor = pid(kernel::look_at(gateway).unwrap().parent);
    kill_process(supervisor, Signal::STOP).unwrap();
    kill_process(pid(gateway), Signal::KILL).unwrap();
    work.await;
    kill_process(supervisor, Signal::CONT).unwrap();
    eventually("the gateway is back", async || {
        http::client().get(stack.url("/health/live")).send().await.ok()
    })
    .await;
}

#[tokio::test]
async fn an_event_source_follows_a_job_across_a_killed_gateway_and_is_told_when_to_stop() {
    let Some(scene) = Scene::start().await else { return };
    let prompt = "for i in 1 2 3 4 5; do echo line $i; done; echo ready
                  while [ ! -e go ]; do sleep 0.05; done
                  for i in 6 7 8 9; do echo line $i; done; echo 'döne ✓'; echo b > b.txt";
    let mut events = scene.stack.submit(&scene.request(prompt)).await;
    let first = events.next().await.unwrap().json();
    let job = first["jobId"].as_str().unwrap();
    drop(events);
    scene.follow(&format!("/api/jobs/{job}/events")).await;
    let before = scene.until("the agent is ready", |seen| seen.has_said("\"ready\"")).await;
    assert_eq!(before.opened, 1);
    without_gateway(&scene.stack, async {
        std::fs::write(scene.stack.job_folder(job).join("repo/go"), "").unwrap();
        // The browser tries in vain at least once: it comes back after a second.
        tokio::time::sleep(Duration::from_millis(1500)).await;
    })
    .await;
    let seen = scene.until_closed().await;
    let stored = scene.stored(job).await;
    assert_eq!(seen.frames, stored, "each event once, in order, with its id");
    assert_eq!(stored.last().unwrap().event, "completed");
    assert!(seen.has_said("döne ✓"));
    assert_eq!(seen.opened, 2, "it came back once");
}

#[tokio::test]
async fn an_event_source_of_a_job_that_has_ended_gets_its_events_once_and_does_not_come_back() {
    let Some(scene) = Scene::start().await else { return };
    let ended = scene.stack.run(&scene.request("echo hello; echo b > b.txt")).await;
    let path = format!("/api/jobs/{}/events", ended.job);
    scene.follow(&path).await;
    let seen = scene.until_closed().await;
    assert_eq!(seen.frames, ended.frames);
    assert_eq!((seen.opened, seen.requests), (1, 2), "the stream, and the word that it is over");

    let last = ended.frames.len();
    for (after, requests) in [(last - 1, 2), (last, 1)] {
        scene.browser.open(&scene.stack.url("/health/live")).await;
        scene.follow(&format!("{path}?after={after}")).await;
        let seen = scene.until_closed().await;
        assert_eq!(seen.frames, ended.frames[after..], "after {after}");
        assert_eq!(seen.requests, requests, "after {after}");
    }
}

#[tokio::test]
async fn an_event_source_of_an_unknown_job_gives_up_at_once() {
    let Some(scene) = Scene::start().await else { return };
    for job in ["01890a5d-ac96-774b-bcce-b302099a8057", "nonsense"] {
        scene.browser.open(&scene.stack.url("/no/such/page")).await;
        scene.follow(&format!("/api/jobs/{job}/events")).await;
        let seen = scene.until_closed().await;
        assert_eq!((seen.frames.len(), seen.opened, seen.requests), (0, 0, 1), "{job}");
    }
}

#[tokio::test]
async fn a_closed_page_leaves_no_follower_behind() {
    let Some(scene) = Scene::start().await else { return };
    let prompt = "echo ready; while [ ! -e go ]; do sleep 0.05; done";
    let mut events = scene.stack.submit(&scene.request(prompt)).await;
    let job = events.next().await.unwrap().json()["jobId"].as_str().unwrap().to_owned();
    drop(events);
    scene.follow(&format!("/api/jobs/{job}/events")).await;
    scene.until("the agent is ready", |seen| seen.has_said("\"ready\"")).await;
    scene.browser.close_page().await;
    eventually("nobody follows", async || {
        let metrics = scene.stack.text("/metrics").await;
        metrics.lines().any(|line| line == "oneshift_followers 0").then_some(())
    })
    .await;
    std::fs::write(scene.stack.job_folder(&job).join("repo/go"), "").unwrap();
    assert_eq!(scene.stored(&job).await.last().unwrap().event, "completed");
}
