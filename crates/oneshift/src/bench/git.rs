//! The bare git that is measured against.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::process::Command;

/// Runs git in a folder, without anybody's settings.
async fn git(folder: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("git")
        .current_dir(folder)
        .args(["-c", "user.name=bench", "-c", "user.email=bench@oneshift.invalid"])
        .args(arguments)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .stdin(Stdio::null())
        .output()
        .await
        .context("cannot run git, which the benchmark measures against")?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "git {} failed: {}", arguments.join(" "), words.trim());
    Ok(())
}

/// Makes a repository with so many files and so many commits, packed as on a server.
pub(super) async fn make(folder: &Path, files: usize, commits: usize) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    git(folder, &["init", "--quiet", "--initial-branch=main"]).await?;
    for number in 0..files {
        let parent = folder.join(format!("part{}", number % 40));
        std::fs::create_dir_all(&parent)?;
        std::fs::write(parent.join(format!("file{number}.txt")), text(number, 0))?;
    }
    for commit in 0..commits {
        // Later commits touch one file in forty.
        for number in (commit % 40..files).step_by(40).filter(|_| commit > 0) {
            let path = format!("part{}/file{number}.txt", number % 40);
            std::fs::write(folder.join(path), text(number, commit))?;
        }
        git(folder, &["add", "--all"]).await?;
        let message = format!("Change {commit}");
        git(folder, &["commit", "--quiet", "--allow-empty", "--message", &message]).await?;
    }
    git(folder, &["repack", "-a", "-d", "--quiet"]).await
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
    git(Path::new("/"), &["clone", "--quiet", from, &to_text]).await?;
    Ok(start.elapsed())
}
