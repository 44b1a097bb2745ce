//! A client that does not mind a gateway that is away.

use std::time::Duration;

use end_to_end::http;
use end_to_end::sse::{Events, Frame};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

/// How long the gateway may be away, or not answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// The way to the gateway.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) url: String,
}

impl Door {
    /// Submits a job under a key, as often as it takes; returns its id.
    pub(crate) async fn submit(&self, key: &str, request: &Value) -> String {
        let post = http::client()
            .post(format!("{}/api/workflow", self.url))
            .header("prefer", "respond-async")
            .header("idempotency-key", key)
            .body(request.to_string());
        let job = json(&post).await;
        job["id"].as_str().unwrap_or_else(|| panic!("{key}: no job: {job}")).to_owned()
    }

    /// Asks for a job's end; returns the end that it has, if it has one.
    pub(crate) async fn cancel(&self, job: &str) -> Option<String> {
        let job = json(&http::client().delete(format!("{}/api/jobs/{job}", self.url))).await;
        job["outcome"].is_object().then(|| ending(&job))
    }

    /// A job's patch, if it has one.
    pub(crate) async fn patch(&self, job: &str) -> Option<String> {
        loop {
            let get = http::client().get(format!("{}/api/jobs/{job}/patch", self.url));
            let answer = send(&get).await;
            let is_there = answer.status().is_success();
            // If the gateway dies while it answers, it is asked again.
            if let Ok(text) = answer.text().await {
                return is_there.then_some(text);
            }
        }
    }

    /// What the gateway answers to a `GET`.
    pub(crate) async fn get(&self, path: &str) -> Value {
        json(&http::client().get(format!("{}{path}", self.url))).await
    }

    /// All jobs that there are, in pages.
    pub(crate) async fn jobs(&self) -> Vec<Value> {
        let (mut jobs, mut cursor) = (Vec::new(), String::new());
        loop {
            let mut page = self.get(&format!("/api/jobs?limit=100{cursor}")).await;
            jobs.append(page["jobs"].as_array_mut().expect("a page has jobs"));
            let Some(next) = page["nextCursor"].as_str() else { return jobs };
            cursor = format!("&cursor={next}");
        }
    }

    /// A job's events up to the terminal one; whenever the stream breaks off, from there on.
    pub(crate) async fn follow(&self, job: &str) -> Followed {
        let mut followed = Followed::default();
        while !followed.frames.last().is_some_and(Frame::is_terminal) {
            let mut get = http::client().get(format!("{}/api/jobs/{job}/events", self.url));
            if let Some(last) = followed.frames.last() {
                get = get.header("last-event-id", last.id.as_deref().unwrap_or_default());
            }
            let answer = send(&get).await;
            // What was there before the stream broke off is told only once.
            if answer.status() == StatusCode::NO_CONTENT {
                break;
            }
            let mut events = Events::of(answer).await;
            while let Some(frame) = events.next().await {
                followed.frames.push(frame);
            }
            followed.connections += 1;
        }
        followed
    }
}

/// What a follower has seen.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    pub(crate) frames: Vec<Frame>,
    pub(crate) connections: u32,
}

/// How a job ended, for example `failed worker_lost`; or `queued`.
pub(crate) fn ending(job: &Value) -> String {
    let words = [job["state"].as_str(), job["outcome"]["reason"].as_str()];
    words.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

async fn json(request: &RequestBuilder) -> Value {
    loop {
        let answer = send(request).await;
        let status = answer.status();
        // If the gateway dies while it answers, it is asked again.
        let Ok(text) = answer.text().await else { continue };
        assert!(status.is_success(), "{status}: {text}");
        return serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    }
}

/// Sends a request until the gateway is there and answers something other than that it is not.
async fn send(request: &RequestBuilder) -> Response {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let attempt = request.try_clone().expect("no request here is a stream").send();
        if let Ok(Ok(answer)) = timeout(PATIENCE, attempt).await
            && answer.status() != StatusCode::SERVICE_UNAVAILABLE
        {
            return answer;
        }
        assert!(Instant::now() < deadline, "the gateway stays away");
        sleep(PAUSE).await;
    }
}
