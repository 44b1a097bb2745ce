//! The empty baselines: a server that only answers, and a process that only runs.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use client::protocol::JobId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

/// A server that answers every request with one event, on a thread of its own, as a real one has
/// at least that. It serves as long as this process lives.
///
/// # Errors
/// When it cannot listen.
pub(super) fn server() -> anyhow::Result<String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("cannot listen")?;
    listener.set_nonblocking(true)?;
    let address = format!("http://{}", listener.local_addr()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || runtime.block_on(answer(listener)));
    Ok(address)
}

async fn answer(listener: std::net::TcpListener) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
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

/// How many records of this size a second reach the disk, one after the other, in about so long.
pub(super) async fn durable_writes(
    file: PathBuf,
    bytes: usize,
    long: Duration,
) -> anyhow::Result<f64> {
    let write = move || {
        let mut file = std::fs::File::create(file)?;
        let record = vec![b'x'; bytes];
        let (start, mut count) = (Instant::now(), 0);
        while start.elapsed() < long {
            file.write_all(&record)?;
            file.sync_data()?;
            count += 1;
        }
        Ok::<_, std::io::Error>(f64::from(count) / start.elapsed().as_secs_f64())
    };
    tokio::task::spawn_blocking(write).await?.context("cannot write beside the store")
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
