//! What the machine offers, and what a test does without it.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Reads an environment variable; empty counts as unset.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place where the fixtures do so")]
pub fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Where the program `name` is on the `PATH`; if nowhere, says that the calling test is skipped.
///
/// # Panics
/// When it is nowhere and `ONESHIFT_REQUIRE_ALL=1` is set.
#[must_use]
pub fn tool(name: &str) -> Option<PathBuf> {
    let found = find_program(name);
    if found.is_none() {
        skipped(name, "it is not on the PATH");
    }
    found
}

/// Says that something is not tested, and why; also when the test runner hides what tests print.
///
/// # Panics
/// When `ONESHIFT_REQUIRE_ALL=1` is set, as it is in CI: there nothing may be skipped.
pub fn skipped(what: &str, why: &str) {
    assert!(!requires_all(), "{what} cannot be skipped here: {why}");
    let line = format!("SKIPPED: {what}: {why}\n");
    // Not `eprintln`, which the test runner captures. If the line cannot be written, nobody reads.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Whether a test that cannot run has failed.
fn requires_all() -> bool {
    variable("ONESHIFT_REQUIRE_ALL").is_some_and(|value| value == "1")
}

/// Finds a program on the `PATH`.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = variable("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| is_program(file))
}

/// Whether a file can be run.
pub(crate) fn is_program(file: &Path) -> bool {
    file.metadata().is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_on_the_path_and_nothing_else_is() {
        assert!(find_program("sh").is_some_and(|path| path.is_absolute()));
        assert_eq!(find_program("no-such-program"), None);
        assert!(!is_program(Path::new("/etc/passwd")));
        assert!(!is_program(Path::new("/etc")));
    }
}
