//! More jobs than workers.

use std::collections::HashSet;

use end_to_end::git_server::{Access, GitServer};
use end_to_end::{Ended, Setup};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{alone, size};

#[tokio::test]
async fn a_thousand_jobs_through_a_few_workers_all_complete() {
    let _alone = alone().await;
    let count = size(60, 1_000);
    let server = GitServer::start();
    server.repository("demo", |repository| {
        repository.file("a.txt", "a\n").commit("first");
    });
    let url = server.url(Access::Public, "demo");
    let stack = Setup::new().env("ONESHIFT_LOG", "warn").sizes(5, 3, 3).start().await;
    let mut jobs = JoinSet::new();
    for n in 0..count {
        let request = json!({"prompt": format!("echo I am {n}; echo {n} > n.txt"), "repoUrl": url});
        let events = stack.submit(&request).await;
        jobs.spawn(async move { (n, Ended::of(events.rest().await)) });
    }
    let mut ids = HashSet::new();
    while let Some(ended) = jobs.join_next().await {
        let (n, ended) = ended.unwrap();
        assert_eq!(ended.ending(), "completed", "job {n}: {}", ended.outcome);
        assert_eq!(ended.events("started").len(), 1, "job {n} ran once");
        assert_eq!(ended.output("execute", "stdout"), format!("I am {n}"));
        assert!(stack.patch(&ended.job).await.ends_with(&format!("+{n}\n")), "job {n}");
        ids.insert(ended.job);
    }
    assert_eq!(ids.len(), count);
    stack.at_full_strength().await;
}
