//! More followers of one job than anybody has.

use end_to_end::sse::Frame;
use tokio::task::JoinSet;

use crate::gateway::{memory, need_files};
use crate::scene::Scene;
use crate::stream::{address, ask, events as events_of, status};
use crate::{alone, size};

const FOLLOWERS: usize = 10_000;

#[tokio::test]
async fn ten_thousand_followers_of_a_job_get_every_event_exactly_once() {
    let _alone = alone().await;
    need_files(FOLLOWERS as u64 + 2_000);
    let scene = Scene::start().await;
    let lines = size(20, 200);
    let prompt = format!(
        "for i in $(seq {lines}); do echo line $i; done; echo ready
         while [ ! -e go ]; do sleep 0.05; done
         for i in $(seq {lines}); do echo more $i; sleep 0.01; done; echo b > b.txt"
    );
    let mut events = scene.stack.submit(&scene.request(&prompt)).await;
    let ready = events.until(|frame| frame.data.contains("\"ready\"")).await;
    let job = ready.json()["jobId"].as_str().unwrap().to_owned();
    let before = memory(scene.gateway());
    let mut followers = JoinSet::new();
    for _ in 0..FOLLOWERS {
        let mut follower = ask(address(&scene.stack), &job).await;
        assert_eq!(status(&mut follower).await, "HTTP/1.0 200 OK");
        followers.spawn(events_of(follower));
    }
    let grown = memory(scene.gateway()).saturating_sub(before);
    assert!(grown < 300, "{grown} MiB for {FOLLOWERS} followers");
    scene.go_on(&job);
    let last = events.rest().await.pop();
    assert!(last.is_some_and(|last| last.event == "completed"));
    let whole = scene.ended(&job).await.frames;
    let said = whole.iter().filter(|frame| frame.event == "output").count();
    assert!(said >= 2 * lines, "{said} of {} lines", 2 * lines);
    let mut seen = 0;
    while let Some(frames) = followers.join_next().await {
        let frames: Vec<Frame> = frames.unwrap();
        assert!(frames == whole, "{} of {} events", frames.len(), whole.len());
        seen += 1;
    }
    assert_eq!(seen, FOLLOWERS);
}
