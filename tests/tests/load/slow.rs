//! Clients that send byte by byte.

use std::net::SocketAddr;
use std::time::Duration;

use end_to_end::sse::Events;
use end_to_end::{Ended, Launch, eventually, http};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::alone;
use crate::gateway::{memory, need_files, open_files};
use crate::scene::Scene;
use crate::stream::address;

/// Far longer than a service may have patience for.
const PATIENCE: Duration = Duration::from_secs(90);

/// How much of a request comes at once; the rest comes byte by byte.
#[derive(Clone, Copy)]
enum AtOnce {
    /// Five bytes.
    Little,
    /// All but the body.
    Head,
}

/// Posts to a path, two bytes a second after what comes at once; returns the answer, which is empty if
/// the service has just closed the connection.
async fn dribble(service: SocketAddr, path: &str, at_once: AtOnce) -> String {
    let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n");
    let mut stream = TcpStream::connect(service).await.unwrap();
    let (head, rest) = head.as_bytes().split_at(match at_once {
        AtOnce::Little => 5,
        AtOnce::Head => head.len(),
    });
    stream.write_all(head).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let sending = async {
        for byte in rest.iter().chain(std::iter::repeat(&b' ')) {
            sleep(Duration::from_millis(500)).await;
            if writer.write_all(&[*byte]).await.is_err() {
                break;
            }
        }
        std::future::pending().await
    };
    let mut answer = Vec::new();
    let ended = tokio::select! {
        ended = timeout(PATIENCE, reader.read_to_end(&mut answer)) => ended,
        () = sending => unreachable!("it is pending at its end"),
    };
    assert!(ended.is_ok(), "nobody minds a client that dribbles");
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn clients_that_send_byte_by_byte_slow_nobody_down_and_are_given_up() {
    let alone = alone().await;
    need_files(10_000);
    let scene = Scene::start().await;
    let running = scene.waiting().await;
    let (mut heads, mut bodies) = (JoinSet::new(), JoinSet::new());
    for _ in 0..500 {
        heads.spawn(dribble(address(&scene.stack), "/api/workflow", AtOnce::Little));
        bodies.spawn(dribble(address(&scene.stack), "/api/workflow", AtOnce::Head));
    }
    scene.serves(running).await;
    drop(alone);
    for answer in heads.join_all().await {
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    for answer in bodies.join_all().await {
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(answer.contains("the body took longer than 30 s to arrive"), "{answer}");
    }
    let memory = memory(scene.gateway());
    assert!(memory < 200, "{memory} MiB");
    assert_eq!(scene.stack.get("/health").await["jobs"], json!({"queued": 0, "running": 0}));
}

/// How many connections a worker has at the same time.
const PLACES: usize = 256;

#[tokio::test]
async fn a_worker_does_its_job_while_more_clients_dribble_than_it_has_places_for() {
    let _alone = alone().await;
    need_files(10_000);
    let folder = tempfile::tempdir().unwrap();
    let mut worker = Launch::of("claude-exec")
        .env("ONESHIFT_LISTEN", "127.0.0.1:0")
        .env("ONESHIFT_WORKSPACE", folder.path())
        .env("ONESHIFT_AGENT", "command")
        .env("ONESHIFT_AGENT_COMMAND", json!(["sh"]).to_string())
        .start();
    let address = worker.address().await;
    let mut dribbling = JoinSet::new();
    for _ in 0..PLACES {
        dribbling.spawn(dribble(address, "/api/execute", AtOnce::Little));
        dribbling.spawn(dribble(address, "/api/execute", AtOnce::Head));
    }
    eventually("all its places are taken", || {
        // They are given up after a while; more come.
        dribbling.spawn(dribble(address, "/api/execute", AtOnce::Head));
        let is_full = open_files(worker.id()) > PLACES;
        async move { is_full.then_some(()) }
    })
    .await;
    let post = http::client().post(worker.url("/api/execute").await);
    let post = post.body(json!({"prompt": "echo hello"}).to_string()).send().await.unwrap();
    let ended = Ended::of(Events::of(post).await.rest().await);
    assert_eq!(ended.ending(), "completed", "{}", ended.outcome);
    assert!(worker.exit().await.success());
}
