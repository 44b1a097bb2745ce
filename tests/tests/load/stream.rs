//! Followers that cost a test little: plain sockets, on which a gateway's answer is read as it comes,
//! or not at all.

use std::net::SocketAddr;

use end_to_end::Stack;
use end_to_end::sse::{Frame, parse};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Where a stack's gateway listens.
pub(crate) fn address(stack: &Stack) -> SocketAddr {
    stack.url("").trim_start_matches("http://").parse().unwrap()
}

/// Asks for a job's events, and reads nothing of the answer.
pub(crate) async fn ask(gateway: SocketAddr, job: &str) -> TcpStream {
    let mut stream = TcpStream::connect(gateway).await.unwrap();
    // The answer to this version of HTTP is not in chunks: its body is what follows the head.
    let request = format!("GET /api/jobs/{job}/events HTTP/1.0\r\nHost: {gateway}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Reads the first line of an answer, such as `HTTP/1.0 200 OK`, and no more.
pub(crate) async fn status(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(line).unwrap().trim_end().to_owned()
}

/// Reads what is left of an answer.
pub(crate) async fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Reads what is left of an answer whose status has been read; returns its events.
pub(crate) async fn events(stream: TcpStream) -> Vec<Frame> {
    let text = rest(stream).await;
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    parse(body)
}
