//! More connections than anybody needs.

use std::net::SocketAddr;
use std::time::Duration;

use end_to_end::{eventually, http};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::alone;
use crate::gateway::{limit_files, memory, need_files, open_files};
use crate::scene::Scene;
use crate::stream::{address, ask, rest, status};

async fn connect(scene: &Scene, count: usize) -> Vec<TcpStream> {
    let mut connections = Vec::new();
    for _ in 0..count {
        connections.push(TcpStream::connect(address(&scene.stack)).await.unwrap());
    }
    connections
}

const IDLE: usize = 10_000;

#[tokio::test]
async fn ten_thousand_idle_connections_are_in_nobodys_way_and_do_not_last() {
    let _alone = alone().await;
    need_files(12_000);
    let scene = Scene::start().await;
    let running = scene.waiting().await;
    let (before, gateway) = (open_files(scene.gateway()), scene.gateway());
    let idle = connect(&scene, IDLE).await;
    scene.serves(running).await;
    let memory = memory(gateway);
    assert!(memory < 300, "{memory} MiB for {IDLE} connections");
    eventually("idle connections are closed", async || {
        (open_files(gateway) < before + 100).then_some(())
    })
    .await;
    assert_eq!(scene.gateway(), gateway, "it was not replaced");
    drop(idle);
}

/// How many files the gateway may open; half of them are connections, and half of these are callers'.
const FILES: u64 = 2_048;
const CALLERS: usize = 512;

/// Puts a gateway in the place of the first that has only so many connections.
async fn with_few_connections() -> Scene {
    need_files(10_000);
    let scene = Scene::start().await;
    let first = scene.gateway();
    limit_files(scene.stack.supervisor().id(), FILES);
    kill_process(Pid::from_raw(i32::try_from(first).unwrap()).unwrap(), Signal::KILL).unwrap();
    eventually("another gateway is there", async || {
        let answer = http::client().get(scene.stack.url("/health/live")).send().await.ok();
        answer.filter(|_| scene.gateway() != first)
    })
    .await;
    scene.stack.at_full_strength().await;
    scene
}

#[tokio::test]
async fn strangers_who_never_leave_make_room_for_callers_and_workers() {
    let _alone = alone().await;
    let scene = with_few_connections().await;
    let running = scene.waiting().await;
    let gateway = address(&scene.stack);
    let mut strangers = JoinSet::new();
    for _ in 0..2_500 {
        strangers.spawn(stay(gateway));
    }
    let gateway = scene.gateway();
    eventually("all connections are taken", async || (open_files(gateway) > 1_024).then_some(()))
        .await;
    let served = timeout(Duration::from_secs(90), scene.serves(running)).await;
    assert!(served.is_ok(), "strangers keep others out");
}

/// Says nothing, and comes back whenever it is sent away.
async fn stay(gateway: SocketAddr) {
    loop {
        if let Ok(mut stream) = TcpStream::connect(gateway).await {
            let _ = stream.read_u8().await;
        }
    }
}

#[tokio::test]
async fn followers_that_are_too_many_are_told_so_and_keep_no_worker_out() {
    let _alone = alone().await;
    let scene = with_few_connections().await;
    let (job, events) = scene.waiting().await;
    let mut followers = Vec::new();
    for _ in 1..CALLERS {
        let mut follower = ask(address(&scene.stack), &job).await;
        assert_eq!(status(&mut follower).await, "HTTP/1.0 200 OK");
        followers.push(follower);
    }
    let url = scene.stack.url(&format!("/api/jobs/{job}/events"));
    let refused = http::client().get(url).send().await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["retry-after"]),
        (503, &"5".parse().unwrap())
    );
    let refusal: Value = serde_json::from_str(&refused.text().await.unwrap()).unwrap();
    assert_eq!(refusal["error"]["code"], "unavailable", "{refusal}");
    // All of them stay where they are, and are in nobody's way: neither that of the job, which goes
    // on to its next workers, nor that of the workers which come after those.
    let health = scene.stack.get("/health").await;
    assert_eq!(health["jobs"]["running"], 1, "{health}");
    scene.go_on(&job);
    let last = events.rest().await.pop().unwrap();
    assert_eq!(last.event, "completed", "{last:?}");
    scene.stack.at_full_strength().await;
    for follower in followers {
        let text = rest(follower).await;
        assert!(text.contains("event: completed"), "{text}");
    }
    let ended = scene.stack.run(&scene.request("echo c > c.txt")).await;
    assert_eq!(ended.ending(), "completed", "{}", ended.outcome);
}
