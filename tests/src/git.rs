//! The real git, the same on every machine: no configuration of the user or the system.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

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

/// A fresh clone of `repository` at `commit` to which git has applied `patch`.
///
/// # Panics
/// When git refuses the patch.
#[must_use]
pub fn applied(repository: &Path, commit: &str, patch: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("there is room for a temporary folder");
    run(
        folder.path(),
        ["clone".as_ref(), "--quiet".as_ref(), repository.as_os_str(), ".".as_ref()],
    );
    run(folder.path(), ["checkout", "--quiet", "--detach", commit]);
    for arguments in [&["apply", "--check", "-"][..], &["apply", "-"]] {
        let mut child = command(folder.path(), arguments)
            .stdin(Stdio::piped())
            .spawn()
            .expect("git is installed");
        let mut stdin = child.stdin.take().expect("it is piped");
        stdin.write_all(patch.as_bytes()).expect("git reads it all");
        drop(stdin);
        assert!(child.wait().expect("git ends").success(), "git refuses {patch}");
    }
    folder
}
