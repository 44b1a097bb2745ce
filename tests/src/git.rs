//! The real git, the same on every machine: no configuration of the user or the system.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

/// Variables that make git forget the machine it is on.
pub(crate) const ISOLATION: [(&str, &str); 10] = [
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_ASKPASS", "true"),
    ("GIT_AUTHOR_NAME", "Ada"),
    ("GIT_AUTHOR_EMAIL", "ada@example.org"),
    ("GIT_AUTHOR_DATE", "1700000000 +0000"),
    ("GIT_COMMITTER_NAME", "Ada"),
    ("GIT_COMMITTER_EMAIL", "ada@example.org"),
    ("GIT_COMMITTER_DATE", "1700000000 +0000"),
];

/// Variables of a surrounding git (a hook, say) that would lead ours astray.
pub(crate) const ASTRAY: [&str; 4] =
    ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"];

/// A git command in `folder`, isolated, without input.
#[must_use]
pub fn command<A: AsRef<OsStr>>(folder: &Path, arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new("git");
    command.current_dir(folder).args(arguments).envs(ISOLATION).stdin(Stdio::null());
    for name in ASTRAY {
        command.env_remove(name);
    }
    command
}

/// Runs git in `folder` and returns what it printed, without the last line break.
///
/// # Panics
/// When git is missing, fails, or prints what is not UTF-8.
pub fn run<A: AsRef<OsStr>>(folder: &Path, arguments: impl IntoIterator<Item = A>) -> String {
    let mut command = command(folder, arguments);
    let output = command.output().expect("git is installed (apt-get install git)");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {errors}", output.status);
    String::from_utf8(output.stdout).expect("the output is UTF-8").trim_end().to_owned()
}
