//! Clients that keep a service waiting, over real sockets.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use futures_util::StreamExt;
use service::serve::{Limits, guarded, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Longer than anything here takes that works.
const PATIENCE: Duration = Duration::from_secs(30);

const SEATS: usize = 4;

/// Tells that it was dropped.
struct Told(mpsc::Sender<()>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.try_send(());
    }
}

/// Answers a stream that goes on as long as it is read, and tells when it ends; or what it was sent.
async fn start(unread: Duration) -> (SocketAddr, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, ended) = mpsc::channel(1);
    let endless = move || async move {
        let pieces = futures_util::stream::repeat(Bytes::from(vec![b'x'; 64 * 1024]));
        guarded(Body::from_stream(pieces.map(Ok::<_, axum::Error>)), Told(tell))
    };
    let router = Router::new()
        .route("/endless", get(endless))
        .route("/echo", post(|body: Bytes| async { body }))
        .route("/", get(|| async { "here" }));
    let limits = Limits { connections: SEATS, unread, linger: Duration::ZERO };
    tokio::spawn(serve(listener, router, limits, std::future::pending()));
    (address, ended)
}

async fn say(address: SocketAddr, words: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(words.as_bytes()).await.unwrap();
    stream
}

async fn hear(stream: &mut TcpStream) -> String {
    let mut buffer = vec![0; 1024];
    let count = timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap().unwrap_or(0);
    String::from_utf8_lossy(&buffer[..count]).into_owned()
}

async fn is_answered(address: SocketAddr) {
    let mut stream = say(address, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    let answer = hear(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
}

/// Whether the service has closed the connection; takes no time when it has.
async fn is_closed(stream: &mut TcpStream) -> bool {
    timeout(Duration::from_millis(100), stream.read(&mut [0; 1])).await.is_ok()
}

#[tokio::test]
async fn of_those_who_say_too_little_only_as_many_have_to_go_as_others_come() {
    let (address, _) = start(PATIENCE).await;
    let mut waiting = Vec::new();
    for words in [
        "",
        "GET / HT",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf",
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        waiting.push(say(address, words).await);
    }
    // The last one is answered and may ask again.
    assert!(hear(&mut waiting[3]).await.ends_with("here"));
    is_answered(address).await;
    assert!(is_closed(&mut waiting[0]).await, "the one that waited longest");
    for stream in &mut waiting[1..] {
        assert!(!is_closed(stream).await);
    }
    waiting[2].write_all(b" more").await.unwrap();
    assert!(hear(&mut waiting[2]).await.ends_with("half more"));
}

#[tokio::test]
async fn a_body_that_does_not_come_does_not_keep_others_out() {
    let (address, _) = start(PATIENCE).await;
    let head = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n";
    let mut slow = Vec::new();
    for _ in 0..SEATS {
        slow.push(say(address, head).await);
    }
    is_answered(address).await;
}

#[tokio::test]
async fn nobody_is_sent_away_who_is_being_answered() {
    let (address, _) = start(PATIENCE).await;
    let mut followers = Vec::new();
    for _ in 1..SEATS {
        let mut stream = say(address, "GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(hear(&mut stream).await.starts_with("HTTP/1.1 200"));
        followers.push(stream);
    }
    // One seat is left, which each of these leaves to the next.
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(say(address, "").await);
        is_answered(address).await;
    }
    // Now even that is taken, until one who was answered has gone.
    followers.push(say(address, "GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await);
    assert!(hear(&mut followers[SEATS - 1]).await.starts_with("HTTP/1.1 200"));
    let mut last = say(address, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(!is_closed(&mut last).await);
    for stream in &mut followers {
        assert!(hear(stream).await.contains("xxx"));
    }
    drop(followers);
    assert!(hear(&mut last).await.ends_with("here"));
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_given_up() {
    let (address, mut ended) = start(Duration::from_secs(1)).await;
    let mut follower = say(address, "GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(hear(&mut follower).await.starts_with("HTTP/1.1 200"));
    // It reads no further, and the line stays open.
    assert_eq!(timeout(PATIENCE, ended.recv()).await, Ok(Some(())));
    drop(follower);
}
