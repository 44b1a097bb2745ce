//! More queued jobs than anybody waits for.

use std::collections::HashSet;

use end_to_end::sse::{Events, Frame, assert_numbered};
use end_to_end::{eventually, http};
use futures_util::{StreamExt, stream};
use serde_json::json;

use crate::gateway::Gateway;
use crate::{alone, size};

/// How many are submitted at the same time.
const AT_ONCE: usize = 64;

async fn submitted(gateway: &Gateway, count: usize) -> Vec<String> {
    let submissions = stream::iter(0..count).map(|n| gateway.submit(format!("job {n}")));
    submissions.buffered(AT_ONCE).collect().await
}

/// The ids of all jobs, page by page, newest first.
async fn listed(gateway: &Gateway, filter: &str) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = gateway.get(&format!("/api/jobs?limit=200{filter}{cursor}")).await;
        let jobs = page["jobs"].as_array().unwrap();
        ids.extend(jobs.iter().map(|job| job["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["nextCursor"].as_str() else { return ids };
        cursor = format!("&cursor={next}");
    }
}

async fn follow(gateway: &Gateway, job: &str, after: &str) -> Events {
    let url = gateway.url(&format!("/api/jobs/{job}/events?after={after}"));
    Events::of(http::client().get(url).send().await.unwrap()).await
}

async fn cancel(gateway: &Gateway, job: &str) {
    let answer = http::client().delete(gateway.url(&format!("/api/jobs/{job}"))).send().await;
    assert_eq!(answer.unwrap().status(), 200);
}

async fn queued(gateway: &Gateway) -> u64 {
    gateway.get("/health").await["jobs"]["queued"].as_u64().unwrap()
}

#[tokio::test]
async fn a_hundred_thousand_jobs_wait_and_each_can_be_listed_followed_and_cancelled() {
    let _alone = alone().await;
    let count = size(5_000, 100_000);
    let mut gateway = Gateway::start().await;
    let jobs = submitted(&gateway, count).await;
    assert_eq!(jobs.iter().collect::<HashSet<_>>().len(), count, "each is a job of its own");
    assert_eq!(queued(&gateway).await, count as u64);
    // Those that were submitted together have an order that only the gateway knows.
    let in_order = listed(&gateway, "").await;
    assert_eq!(in_order.len(), count);
    assert_eq!(in_order.iter().collect::<HashSet<_>>(), jobs.iter().collect::<HashSet<_>>());

    let (one, other) = (&in_order[count / 2], &in_order[count / 3]);
    let mut before = follow(&gateway, one, "0").await;
    let first = before.until(|frame| frame.event == "queued").await;
    cancel(&gateway, other).await;
    let ended = follow(&gateway, other, "0").await.rest().await;
    assert_numbered(&ended, 1);
    assert_eq!(ended.last().unwrap().event, "cancelled");
    assert_eq!(queued(&gateway).await, count as u64 - 1);

    gateway.replace().await;
    assert_eq!(before.rest().await, [], "the line just broke");
    eventually("the new gateway knows them all", async || {
        (queued(&gateway).await == count as u64 - 1).then_some(())
    })
    .await;
    assert_eq!(listed(&gateway, "").await, in_order);
    assert_eq!(listed(&gateway, "&state=cancelled").await, std::slice::from_ref(other));
    let after = first.id.unwrap();
    let rest = follow(&gateway, one, &after).await;
    cancel(&gateway, one).await;
    let rest = rest.rest().await;
    assert_numbered(&rest, after.parse::<u64>().unwrap() + 1);
    assert!(rest.last().is_some_and(Frame::is_terminal), "{rest:?}");
    let next = gateway.submit("one more".to_owned()).await;
    let job = gateway.get(&format!("/api/jobs/{next}")).await;
    assert_eq!((&job["state"], &job["request"]["prompt"]), (&json!("queued"), &json!("one more")));
}
