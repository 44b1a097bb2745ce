//! The empty baselines: a server that only answers, and a process that only runs.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use client::protocol::JobId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

/// Serves one event to every request, whatever it is, until it is dropped.
pub(super) async fn answer(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(exchange(stream));
    }
}

async fn exchange(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let (body, job) = ("id: 1\nevent: completed\ndata: {}\n\n", JobId::random());
    let answer = format!(
        "HTTP/1.1 200 OK\r\noneshift-job: {job}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut buffer = [0_u8; 8192];
    // The requests here are small: each arrives in one piece.
    while let Ok(1..) = stream.read(&mut buffer).await {
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Runs the agent without anything around it, with this prompt; returns how long it took and how
/// many bytes it printed.
pub(super) async fn agent(
    program: &Path,
    folder: &Path,
    prompt: &str,
) -> anyhow::Result<(Duration, u64)> {
    let start = Instant::now();
    let mut child = Command::new(program)
        .arg("bench-agent")
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the benchmark's agent")?;
    let mut stdin = child.stdin.take().context("the agent has no standard input")?;
    stdin.write_all(prompt.as_bytes()).await?;
    drop(stdin);
    let mut stdout = child.stdout.take().context("the agent has no standard output")?;
    let bytes = tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await?;
    child.wait().await?;
    Ok((start.elapsed(), bytes))
}
