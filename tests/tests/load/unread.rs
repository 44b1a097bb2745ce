//! Clients that ask for events and never read them.

use end_to_end::sse::{Events, parse};
use end_to_end::{Ended, http};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::gateway::{memory, need_files};
use crate::network::unsent;
use crate::scene::Scene;
use crate::stream::{address, ask, status};
use crate::{alone, size};

/// An agent that prints so many megabytes, in lines of a thousand bytes.
fn talkative(megabytes: usize) -> String {
    format!("head -c {megabytes}000000 /dev/zero | tr '\\0' x | fold -w 999; echo b > b.txt")
}

async fn followers(scene: &Scene, job: &str, count: usize) -> Vec<TcpStream> {
    let mut followers = Vec::new();
    for _ in 0..count {
        let mut follower = ask(address(&scene.stack), job).await;
        assert_eq!(status(&mut follower).await, "HTTP/1.0 200 OK");
        followers.push(follower);
    }
    followers
}

#[tokio::test]
async fn who_never_reads_a_long_stream_is_no_burden_and_can_still_have_all_of_it() {
    let _alone = alone().await;
    let scene = Scene::start().await;
    let request = scene.request(&talkative(size(20, 100)));
    let mut events = scene.stack.submit(&request).await;
    let first = events.next().await.unwrap();
    let job = first.json()["jobId"].as_str().unwrap().to_owned();
    let mut idler = followers(&scene, &job, 1).await.pop().unwrap();
    let mut frames = vec![first];
    frames.extend(events.rest().await);
    let whole = Ended::of(frames);
    assert_eq!((whole.ending(), whole.notices().len()), ("completed".to_owned(), 0));
    let memory = memory(scene.gateway());
    assert!(memory < 150, "{memory} MiB");

    // If that took longer than a minute, it has been cut meanwhile, and comes back for the rest.
    let mut bytes = Vec::new();
    let _ = idler.read_to_end(&mut bytes).await;
    let mut late = parse(&String::from_utf8_lossy(&bytes));
    if late.len() < whole.frames.len() {
        let url = scene.stack.url(&format!("/api/jobs/{job}/events"));
        let again = http::client().get(url).header("last-event-id", late.len().to_string());
        late.extend(Events::of(again.send().await.unwrap()).await.rest().await);
    }
    assert!(late == whole.frames, "{} of {} events", late.len(), whole.frames.len());
}

#[tokio::test]
async fn thousands_who_never_read_hold_little_memory_and_slow_nobody_down() {
    let _alone = alone().await;
    let count = size(2_000, 10_000);
    need_files(count as u64 + 2_000);
    let scene = Scene::start().await;
    let ended = scene.stack.run(&scene.request(&talkative(10))).await;
    let running = scene.waiting().await;
    let before = memory(scene.gateway());
    let followers = followers(&scene, &ended.job, count).await;
    scene.serves(running).await;
    let grown = memory(scene.gateway()).saturating_sub(before);
    assert!(grown * 1024 / count < 128, "{grown} MiB for {count} followers");
    let unsent = unsent(address(&scene.stack).port());
    assert!(unsent / count < 256 * 1024, "the kernel holds {unsent} bytes for {count} followers");
    drop(followers);
}
