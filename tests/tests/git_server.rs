//! The git server fixture, as the real git sees it.

#![expect(clippy::unwrap_used, reason = "a test fails where its assumption does")]

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Output, Stdio};

use end_to_end::git;
use end_to_end::git_server::{Access, GitServer, PASSWORD, Repository, USER};
use tempfile::TempDir;

fn server() -> (GitServer, Repository, TempDir) {
    let server = GitServer::start();
    let repository = server.repository("demo", |repo| {
        repo.file("README.md", "# Demo\n").noise("noise.bin", 100_000).commit("Start");
    });
    (server, repository, tempfile::tempdir().unwrap())
}

fn clone(folder: &Path, url: &str) -> Output {
    git::command(folder, ["clone", "--quiet", url, "copy"]).output().unwrap()
}

fn cloned_readme(folder: &Path, url: &str) -> String {
    let output = clone(folder, url);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::read_to_string(folder.join("copy/README.md")).unwrap()
}

fn clone_error(folder: &Path, url: &str) -> String {
    let output = clone(folder, url);
    assert!(!output.status.success(), "git cloned {url}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_public_repository_is_cloned_and_the_requests_are_recorded() {
    let (server, repository, folder) = server();
    assert_eq!(cloned_readme(folder.path(), &server.url(Access::Public, "demo")), "# Demo\n");
    let head = git::run(&folder.path().join("copy"), ["rev-parse", "HEAD"]);
    assert_eq!(head, repository.commit_id("main"));
    let requests = server.requests();
    assert_eq!(requests[0].path, "/public/demo.git/info/refs");
    assert_eq!(requests[0].query, "service=git-upload-pack");
    assert_eq!(server.upload_packs(), requests.len() - 1);
}

#[test]
fn a_private_repository_wants_its_password() {
    let (server, _, folder) = server();
    let error = clone_error(folder.path(), &server.url(Access::Private, "demo"));
    assert!(error.contains("Username") || error.contains("Authentication failed"), "{error}");
    let wrong = server.url_with_password("demo").replace("correct", "wrong");
    let error = clone_error(folder.path(), &wrong);
    assert!(error.contains("Authentication failed"), "{error}");
    assert_eq!(cloned_readme(folder.path(), &server.url_with_password("demo")), "# Demo\n");
    assert!(server.requests().iter().any(|request| request.authorization.is_some()));
    assert_eq!((USER, PASSWORD), ("ada", "correct horse"));
}

#[test]
fn refusals_have_their_status() {
    let (server, _, folder) = server();
    for (access, name, words) in [
        (Access::Forbidden, "demo", "403"),
        (Access::Missing, "demo", "not found"),
        (Access::Public, "nothing", "not found"),
        (Access::Broken, "demo", "500"),
        (Access::NotGit, "demo", "not valid"),
        (Access::RedirectLoop, "demo", "redirect"),
    ] {
        let error = clone_error(folder.path(), &server.url(access, name));
        assert!(error.to_lowercase().contains(words), "{access:?}: {error}");
    }
}

#[test]
fn a_redirect_leads_to_the_public_repository() {
    let (server, _, folder) = server();
    assert_eq!(cloned_readme(folder.path(), &server.url(Access::Redirect, "demo")), "# Demo\n");
}

#[test]
fn a_cut_comes_in_the_middle_of_the_pack() {
    let (server, _, folder) = server();
    let error = clone_error(folder.path(), &server.url(Access::Cut, "demo"));
    assert!(error.contains("early EOF") || error.contains("unexpected disconnect"), "{error}");
}

#[test]
fn a_slow_server_still_delivers_everything() {
    let server = GitServer::start();
    server.repository("small", |repo| {
        repo.file("README.md", "# Small\n").commit("Start");
    });
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(cloned_readme(folder.path(), &server.url(Access::Slow, "small")), "# Small\n");
}

#[test]
fn a_stalled_server_goes_silent() {
    let (server, _, folder) = server();
    for access in [Access::StalledRefs, Access::StalledPack] {
        // git's own limit tells a stalled transfer from one that ends.
        let mut child = git::command(folder.path(), ["clone", &server.url(access, "demo"), "copy"])
            .env("GIT_HTTP_LOW_SPEED_LIMIT", "1")
            .env("GIT_HTTP_LOW_SPEED_TIME", "1")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut error = String::new();
        child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
        assert!(!child.wait().unwrap().success());
        assert!(error.contains("too slow"), "{access:?}: {error}");
    }
    assert!(server.upload_packs() > 0);
}

#[test]
fn pushes_arrive_unless_they_are_refused() {
    let (server, mut repository, folder) = server();
    cloned_readme(folder.path(), &server.url_with_password("demo"));
    let copy = folder.path().join("copy");
    git::run(&copy, ["commit", "--quiet", "--allow-empty", "-m", "Second"]);
    git::run(&copy, ["push", "--quiet", "origin", "HEAD:refs/heads/topic"]);
    assert_eq!(repository.git(["log", "-1", "--format=%s", "topic"]), "Second");
    repository.refuse_pushes("the branch is closed");
    let arguments = ["push", "--quiet", "origin", "HEAD:refs/heads/other"];
    let output = git::command(&copy, arguments).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("the branch is closed"));
}

#[test]
fn a_repository_can_hold_all_that_git_allows() {
    let server = GitServer::start();
    let repository = server.repository("odd", |repo| {
        repo.default_branch("trunk")
            .file(b"caf\xe9 \"x\".txt", "latin1\n")
            .executable("run.sh", "#!/bin/sh\n")
            .symlink("link", "run.sh")
            .submodule("vendor/lib", "https://example.org/lib.git")
            .lfs_pointer("big.bin")
            .many_files(2001)
            .commit("Everything");
        repo.tag("v1").annotated_tag("v2");
        repo.remove("link").commit("Less");
        repo.on("topic").file("topic.txt", "t\n").commit("Topic");
    });
    let folder = tempfile::tempdir().unwrap();
    let url = server.url(Access::Public, "odd");
    git::run(folder.path(), ["clone", "--quiet", "--branch", "v2", &url, "copy"]);
    let copy = folder.path().join("copy");
    let name = OsStr::from_bytes(b"caf\xe9 \"x\".txt");
    assert_eq!(fs::read_to_string(copy.join(name)).unwrap(), "latin1\n");
    assert_eq!(fs::read_link(copy.join("link")).unwrap(), Path::new("run.sh"));
    assert_eq!(fs::read_to_string(copy.join("many/2/2000.txt")).unwrap(), "2000\n");
    assert!(fs::read_to_string(copy.join("big.bin")).unwrap().starts_with("version https"));
    assert!(git::run(&copy, ["submodule", "status"]).contains("vendor/lib"));
    assert_eq!(git::run(&copy, ["rev-parse", "origin/HEAD"]), repository.commit_id("trunk"));
    assert_eq!(repository.commit_id("v1"), repository.commit_id("v2"));
    assert_eq!(repository.commit_id("topic~1"), repository.commit_id("trunk"));
    assert_eq!(repository.read("topic", "topic.txt"), "t");
}

#[test]
fn an_empty_repository_can_be_cloned() {
    let server = GitServer::start();
    server.repository("empty", |_| {});
    let folder = tempfile::tempdir().unwrap();
    let output = clone(folder.path(), &server.url(Access::Public, "empty"));
    assert!(output.status.success());
}

#[test]
fn a_large_push_in_chunks_and_a_compressed_request_get_through() {
    let (server, repository, folder) = server();
    cloned_readme(folder.path(), &server.url(Access::Public, "demo"));
    let copy = folder.path().join("copy");
    // More than `http.postBuffer`, so git sends it chunked; many refs make it compress the wants.
    for number in 0..60 {
        git::run(&copy, ["branch", &format!("b{number}")]);
    }
    fs::write(copy.join("large.bin"), noise(3_000_000)).unwrap();
    git::run(&copy, ["add", "large.bin"]);
    git::run(&copy, ["commit", "--quiet", "-m", "Large"]);
    git::run(&copy, ["push", "--quiet", "--all", "origin"]);
    assert_eq!(repository.git(["cat-file", "-s", "main:large.bin"]), "3000000");
    git::run(folder.path(), ["clone", "--quiet", &server.url(Access::Public, "demo"), "again"]);
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut noise = Vec::with_capacity(bytes);
    fs::File::open("/dev/urandom").unwrap().take(bytes as u64).read_to_end(&mut noise).unwrap();
    noise
}
