//! The bare git that is measured against.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Runs git in a folder, without anybody's settings, with `input` to read.
async fn git(folder: &Path, arguments: &[&str], input: &[u8]) -> anyhow::Result<()> {
    let mut child = Command::new("git")
        .current_dir(folder)
        .args(arguments)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run git, which the benchmark measures against")?;
    let mut stdin = child.stdin.take().context("git has a standard input")?;
    let (written, output) =
        tokio::join!(async move { stdin.write_all(input).await }, child.wait_with_output());
    let output = output?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "git {} failed: {}", arguments.join(" "), words.trim());
    written.context("git did not read its input")
}

/// A repository to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Files in its tree.
    pub(crate) files: usize,
    /// Commits after the first; each changes five files.
    pub(crate) commits: usize,
}

/// Makes a bare repository, packed as on a server.
pub(super) async fn make(folder: &Path, shape: Shape) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    git(folder, &["init", "--quiet", "--bare", "--initial-branch=main"], b"").await?;
    git(folder, &["fast-import", "--quiet"], &history(shape)).await?;
    git(folder, &["repack", "-a", "-d", "--quiet"], b"").await
}

/// The history as `git fast-import` reads it.
fn history(shape: Shape) -> Vec<u8> {
    let mut stream = Vec::new();
    for commit in 0..=shape.commits {
        let header = format!(
            "commit refs/heads/main\ncommitter bench <bench@oneshift.invalid> {} +0000\ndata 1\nx\n",
            1_700_000_000 + commit
        );
        stream.extend_from_slice(header.as_bytes());
        let changed: Vec<usize> = match commit {
            0 => (0..shape.files).collect(),
            _ => (0..5).map(|turn| (commit * 7 + turn * 13) % shape.files).collect(),
        };
        for number in changed {
            let text = text(number, commit);
            let part = number % 40;
            let file = format!(
                "M 100644 inline part{part}/file{number}.txt\ndata {}\n{text}\n",
                text.len()
            );
            stream.extend_from_slice(file.as_bytes());
        }
    }
    stream
}

/// About 4 KB that look like code: no two files are alike.
fn text(number: usize, commit: usize) -> String {
    let line = |row: usize| {
        let value = number.wrapping_mul(31).wrapping_add(row.wrapping_mul(17 + commit)) % 9_973;
        format!("let value_{row} = compute({value}, {number}); // revision {commit}\n")
    };
    (0..80).map(line).collect()
}

/// How long a fresh clone takes; `from` is a path or a `file://` address.
pub(super) async fn clone(from: &str, to: &Path) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let to_text = to.display().to_string();
    git(Path::new("/"), &["clone", "--quiet", from, &to_text], b"").await?;
    Ok(start.elapsed())
}
