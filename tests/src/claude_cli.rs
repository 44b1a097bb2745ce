//! Finds or installs the real Claude Code CLI.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rustix::fs::{FlockOperation, flock};

use crate::environment::{find_program, is_program, skipped, variable};

/// The version that is installed if there is none.
pub const VERSION: &str = "2.1.197";

/// The Claude Code CLI: `ONESHIFT_CLAUDE`, or `claude` on the `PATH`, or one that is installed by
/// npm into the user's cache folder, once for all test processes. If none can be had, says that the
/// calling test is skipped.
///
/// # Panics
/// When there is none and `ONESHIFT_REQUIRE_ALL=1` is set.
#[must_use]
pub fn claude_cli() -> Option<PathBuf> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match FOUND.get_or_init(find_or_install) {
        Ok(path) => Some(path.clone()),
        Err(why) => {
            skipped("real Claude Code CLI", why);
            None
        }
    }
}

/// A command that runs the CLI as tests want it: in an empty environment with `home` as its home
/// folder, against the model at `url`, printing its stream of JSON lines, allowed to do everything.
#[must_use]
pub fn claude_command(claude: &Path, home: &Path, url: &str) -> Command {
    let mut command = Command::new(claude);
    command
        .args(["-p", "--output-format", "stream-json", "--verbose"])
        .args(["--permission-mode", "bypassPermissions"])
        .env_clear()
        .env("PATH", variable("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("ANTHROPIC_BASE_URL", url)
        .env("ANTHROPIC_API_KEY", "sk-ant-loopback")
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
        // Without it the CLI does not bypass permissions for root.
        .env("IS_SANDBOX", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn find_or_install() -> Result<PathBuf, String> {
    if let Some(path) = variable("ONESHIFT_CLAUDE").map(PathBuf::from) {
        let is_there = is_program(&path);
        return if is_there { Ok(path) } else { Err("ONESHIFT_CLAUDE is no program".to_owned()) };
    }
    if let Some(path) = find_program("claude") {
        return Ok(path);
    }
    let cache = variable("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".cache")));
    let cache = cache.ok_or("neither XDG_CACHE_HOME nor HOME says where to install it")?;
    install(&cache.join("oneshift"))
}

/// Installs the CLI, or waits until another process has done so.
fn install(cache: &Path) -> Result<PathBuf, String> {
    let folder = cache.join(format!("claude-code-{VERSION}"));
    let program = folder.join("node_modules/.bin/claude");
    if is_program(&program) {
        return Ok(program);
    }
    fs::create_dir_all(cache).map_err(|error| format!("cannot make {cache:?}: {error}"))?;
    let lock = cache.join(format!("claude-code-{VERSION}.lock"));
    let lock = File::create(&lock).map_err(|error| format!("cannot make {lock:?}: {error}"))?;
    flock(&lock, FlockOperation::LockExclusive)
        .map_err(|error| format!("cannot lock the cache: {error}"))?;
    if is_program(&program) {
        return Ok(program);
    }
    // The complete installation appears in one move.
    let partial = cache.join(format!("claude-code-{VERSION}.partial"));
    for leftover in [&partial, &folder] {
        if leftover.exists() {
            fs::remove_dir_all(leftover)
                .map_err(|error| format!("cannot remove {leftover:?}: {error}"))?;
        }
    }
    npm_install(&partial)?;
    fs::rename(&partial, &folder).map_err(|error| format!("cannot move {partial:?}: {error}"))?;
    let is_there = is_program(&program);
    if is_there { Ok(program) } else { Err("npm installed no program".to_owned()) }
}

fn npm_install(folder: &Path) -> Result<(), String> {
    let npm = find_program("npm").ok_or("neither claude nor npm is on the PATH")?;
    fs::create_dir_all(folder).map_err(|error| format!("cannot make {folder:?}: {error}"))?;
    let output = Command::new(npm)
        .args(["install", "--no-audit", "--no-fund", "--no-save", "--loglevel=error", "--prefix"])
        .arg(folder)
        .arg(format!("@anthropic-ai/claude-code@{VERSION}"))
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run npm: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("npm install failed: {}", errors.lines().next().unwrap_or_default()))
}
