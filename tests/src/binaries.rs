//! The workspace's own programs, built.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::environment::variable;

/// The folder with all programs of the workspace, built in the profile of the calling test; once
/// in each test process. `ONESHIFT_BINARIES` names a folder where they are ready.
///
/// # Panics
/// When they cannot be built.
#[must_use]
pub fn binaries() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| match variable("ONESHIFT_BINARIES") {
        Some(folder) => PathBuf::from(folder),
        None => build(),
    })
}

fn build() -> PathBuf {
    let folder = profile_folder();
    let target = folder.parent().expect("a profile's folder is in the target folder");
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(name) => name,
        None => panic!("{folder:?} is the folder of no profile"),
    };
    let cargo = variable("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let output = Command::new(cargo)
        .args(["build", "--workspace", "--bins", "--locked", "--profile", profile])
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .output()
        .expect("cargo runs, since it runs the test");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the programs cannot be built: {errors}");
    folder
}

/// For example `target/debug`: the calling test is `target/debug/deps/name-hash`.
fn profile_folder() -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    let folder = test.parent().and_then(Path::parent).expect("a test is two folders deep");
    folder.to_owned()
}
