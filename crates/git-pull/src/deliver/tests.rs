use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;

use end_to_end::git;
use end_to_end::git_server::{Access, GitServer, Repository};
use service::one_shot::{Job, Shift, Stop};
use service::protocol::event::StepState;
use service::protocol::request::parse;
use service::protocol::{Payload, Reason, State, Step};

use crate::testing::{Delivered, Pulled, Site, runtime};

/// A repository, pulled once, in which an agent may work.
struct Work {
    site: Site,
    _server: GitServer,
    url: String,
    pulled: Pulled,
}

impl Work {
    fn on(fill: impl FnOnce(&mut Repository)) -> Self {
        let (site, server) = (Site::new(), GitServer::start());
        server.repository("demo", fill);
        let url = server.url(Access::Public, "demo");
        let pulled = site.pull(&url);
        assert_eq!(pulled.outcome.state, State::Completed, "{}", pulled.outcome.message);
        Self { site, _server: server, url, pulled }
    }

    fn path(&self, name: impl AsRef<[u8]>) -> std::path::PathBuf {
        self.pulled.checkout.join(OsStr::from_bytes(name.as_ref()))
    }

    fn write(&self, name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn deliver(&self) -> Delivered {
        self.site.deliver(&self.url, &self.pulled)
    }

    /// Delivers, applies the patch to a fresh checkout with the real git, and checks that the
    /// result is what git itself makes of the agent's work.
    fn deliver_and_apply(&self) -> Delivered {
        let delivered = self.deliver();
        let fresh = self.site.pull(&self.url);
        apply(&fresh.checkout, &delivered.patch());
        self.pulled.git(["add", "--all"]);
        assert_eq!(fresh.git(["write-tree"]), self.pulled.git(["write-tree"]));
        delivered
    }
}

fn apply(checkout: &Path, patch: &[u8]) {
    let mut child = git::command(checkout, ["apply", "--index", "--whitespace=nowarn", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(patch).unwrap();
    assert!(child.wait().unwrap().success(), "{}", String::from_utf8_lossy(patch));
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn every_kind_of_change_is_in_the_patch() {
    let binary: Vec<u8> = (0..5000_u32).map(|number| (number * 7 % 256) as u8).collect();
    let work = Work::on(|repository| {
        repository.file("changed.txt", "one\ntwo\nthree\n").file("gone.txt", "gone\n");
        repository.file("gone.bin", &binary).file("changed.bin", &binary);
        repository.file("mode.sh", "#!/bin/sh\n").executable("unmode.sh", "#!/bin/sh\n");
        repository.file("crlf.txt", "a\r\nb\r\n").file("latin1.txt", b"gr\xfc\xdfe\nx\n");
        repository.file("no-newline", "a\nb").file("becomes-link", "text\n");
        repository.symlink("becomes-file", "changed.txt").symlink("moves", "changed.txt");
        repository.file("becomes-folder", "x\n").file("folder/file", "x\n");
        repository.file("deep/er/untouched", "x\n").commit("first");
    });
    work.write("changed.txt", "one\n2\nthree\nfour\n");
    work.write("changed.bin", [&binary[..2000], b"\0more\0", &binary[2000..]].concat());
    work.write("new.bin", b"\0\x01\x02");
    for name in ["gone.txt", "gone.bin", "becomes-link", "becomes-file", "moves"] {
        fs::remove_file(work.path(name)).unwrap();
    }
    set_mode(&work.path("mode.sh"), 0o755);
    set_mode(&work.path("unmode.sh"), 0o644);
    work.write("crlf.txt", "a\r\nB\r\nc\r\n");
    work.write("latin1.txt", b"gr\xfc\xdfe\n\xe4\n");
    work.write("no-newline", "a\nc");
    work.write("empty", "");
    work.write("new/folder/with spaces.txt", "x\n");
    work.write("new\ttab \"quoted\" \\", "x\n");
    work.write(b"n\xe4me", "x\n");
    work.write("ünïcode", "x\n");
    symlink("/etc/passwd", work.path("becomes-link")).unwrap();
    work.write("becomes-file", "now a file\n");
    symlink("elsewhere", work.path("moves")).unwrap();
    fs::remove_file(work.path("becomes-folder")).unwrap();
    work.write("becomes-folder/inside", "x\n");
    fs::remove_dir_all(work.path("folder")).unwrap();
    work.write("folder", "now a file\n");
    fs::create_dir_all(work.path("empty-folder")).unwrap();
    work.deliver_and_apply();
}

#[test]
fn changes_are_counted() {
    let work = Work::on(|repository| {
        repository.file("a", "1\n2\n3\n").file("b", "x\n").commit("first");
    });
    work.write("a", "1\ntwo\n3\n4\n");
    fs::remove_file(work.path("b")).unwrap();
    work.write("c", "new\n");
    let delivered = work.deliver_and_apply();
    assert_eq!(delivered.changes(), (3, 3, 2));
    let last = delivered.job.events().pop().unwrap().payload;
    let Payload::Step(step) = last else { panic!("{last:?}") };
    assert_eq!((step.state, step.changes), (StepState::Completed, delivered.outcome.changes));
    assert_eq!(delivered.outcome.reason, None);
}

#[test]
fn an_untouched_checkout_has_no_changes() {
    let work = Work::on(|repository| {
        repository.file("a", "1").symlink("l", "a").submodule("sub", "x").executable("x", "1");
        repository.file(b"n\xe4me", "1").lfs_pointer("big").commit("first");
    });
    let delivered = work.deliver();
    assert_eq!(delivered.patch(), b"");
    assert_eq!(
        (delivered.outcome.reason, delivered.changes()),
        (Some(Reason::NoChanges), (0, 0, 0))
    );
}

#[test]
fn work_that_the_agent_has_committed_is_delivered_as_well() {
    let work = Work::on(|repository| {
        repository.file("a", "1\n").commit("first");
    });
    work.write("b", "2\n");
    work.pulled.git(["add", "--all"]);
    work.pulled.git(["commit", "--quiet", "--message", "by the agent"]);
    assert_eq!(work.deliver_and_apply().changes().0, 1);
}

#[test]
fn work_in_an_empty_repository_is_delivered() {
    let work = Work::on(|_| {});
    work.write("README.md", "hello\n");
    assert_eq!(work.deliver_and_apply().changes(), (1, 1, 0));
}

#[test]
fn ignored_files_are_left_out_unless_they_are_tracked() {
    let work = Work::on(|repository| {
        repository.file(".gitignore", "*.log\n/target/\nnode_modules/\n!important.log\n");
        repository.file("tracked.log", "1\n").file("target/tracked", "1\n");
        repository.file("sub/.gitignore", "local\n!kept.log\n").commit("first");
    });
    work.write("new.log", "x");
    work.write("important.log", "x\n");
    work.write("tracked.log", "2\n");
    work.write("target/tracked", "2\n");
    work.write("target/new", "x");
    work.write("target/.gitignore", "!new\n");
    work.write("sub/node_modules/deep/file", "x");
    work.write("sub/local", "x");
    work.write("sub/kept.log", "x\n");
    work.write("agent/.gitignore", "secret\n");
    work.write("agent/secret", "x");
    assert_eq!(work.deliver_and_apply().changes().0, 5);
}

#[test]
fn the_checkouts_git_folder_is_not_obeyed() {
    let work = Work::on(|repository| {
        repository.file("a.txt", "1\n").file("b.txt", "1\n").commit("first");
    });
    let marker = work.site.path().join("was-run");
    let command = format!("touch {}", marker.display());
    for (key, value) in [
        ("core.fsmonitor", command.as_str()),
        ("filter.evil.clean", &command),
        ("diff.external", &command),
        ("core.excludesFile", "/dev/null"),
        ("core.worktree", "/etc"),
    ] {
        work.pulled.git(["config", key, value]);
    }
    work.write(".git/info/exclude", "a.txt\nhidden\n");
    work.write(".git/info/attributes", "* filter=evil\n");
    work.write(".git/index", "garbage");
    work.write(".git/objects/info/alternates", "/etc\n");
    work.write(".gitattributes", "*.txt filter=evil diff=evil -text\n");
    work.write("a.txt", "2\n");
    work.write("hidden", "2\n");
    let delivered = work.deliver();
    assert_eq!(delivered.changes().0, 3);
    assert!(!marker.exists());
}

#[test]
fn a_checkout_without_its_git_folder_is_delivered_all_the_same() {
    let work = Work::on(|repository| {
        repository.file("a", "1\n").commit("first");
    });
    fs::remove_dir_all(work.path(".git")).unwrap();
    symlink("/etc", work.path(".git")).unwrap();
    work.write("a", "2\n");
    assert_eq!(work.deliver().changes(), (1, 1, 1));
}

#[test]
fn links_to_the_outside_are_links_in_the_patch() {
    let work = Work::on(|repository| {
        repository.file("folder/file", "1\n").file("file", "1\n").commit("first");
    });
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("file"), "secret of the machine\n").unwrap();
    fs::remove_dir_all(work.path("folder")).unwrap();
    symlink(outside.path(), work.path("folder")).unwrap();
    fs::remove_file(work.path("file")).unwrap();
    symlink(outside.path().join("file"), work.path("file")).unwrap();
    symlink(outside.path().join("file"), work.path(".gitignore")).unwrap();
    let delivered = work.deliver_and_apply();
    assert!(!String::from_utf8(delivered.patch()).unwrap().contains("secret"));
}

#[test]
fn a_checkout_that_is_a_link_itself_is_refused() {
    let work = Work::on(|repository| {
        repository.file("a", "1\n").commit("first");
    });
    let outside = tempfile::tempdir().unwrap();
    fs::remove_dir_all(&work.pulled.checkout).unwrap();
    symlink(outside.path(), &work.pulled.checkout).unwrap();
    let outcome = work.deliver().outcome;
    assert_eq!((outcome.state, outcome.reason), (State::Failed, Some(Reason::DirectoryNotFound)));
    assert!(outcome.message.contains("has no checkout"), "{}", outcome.message);
}

#[test]
fn pipes_nested_repositories_and_closed_files_are_left_with_a_notice() {
    let work = Work::on(|repository| {
        repository.file("a", "1\n").file("sub/file", "1\n").commit("first");
    });
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, work.path("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(work.path("socket")).unwrap();
    fs::create_dir(work.path("nested")).unwrap();
    git::run(&work.path("nested"), ["init", "--quiet"]);
    work.write("nested/file", "x");
    git::run(&work.path("sub"), ["init", "--quiet"]);
    work.write("sub/file", "2\n");
    work.write(".git/../.GIT/config", "x");
    work.write("new", "x\n");
    let delivered = work.deliver();
    drop(listener);
    assert_eq!(delivered.notices(), ["special_files_left", "repositories_left"]);
    let patch = String::from_utf8(delivered.patch()).unwrap();
    assert_eq!(delivered.changes().0, 2, "{patch}");
    assert!(patch.contains("sub/file") && !patch.contains("nested"), "{patch}");
}

#[test]
fn submodules_stay_what_they_were() {
    let work = Work::on(|repository| {
        repository.file("a", "1\n").submodule("sub", "x").submodule("gone", "x");
        repository.commit("first");
    });
    work.write("sub/file", "x");
    fs::remove_dir(work.path("gone")).unwrap();
    work.write("a", "2\n");
    assert_eq!(work.deliver().changes().0, 1);
}

#[test]
fn a_file_that_is_too_large_is_named() {
    let size = 50 * 1024 * 1024 + 1;
    let work = Work::on(|repository| {
        repository.noise("old.bin", size).file("a", "1\n").commit("first");
    });
    work.write("a", "2\n");
    assert_eq!(work.deliver().changes(), (1, 1, 1), "an unchanged large file is fine");
    fs::File::create(work.path("huge.bin")).unwrap().set_len(size as u64).unwrap();
    let outcome = work.deliver().outcome;
    assert_eq!((outcome.state, outcome.reason), (State::Failed, Some(Reason::PatchTooLarge)));
    assert!(outcome.message.contains("huge.bin"), "{}", outcome.message);
    fs::remove_file(work.path("huge.bin")).unwrap();
    let mut file = fs::File::options().write(true).open(work.path("old.bin")).unwrap();
    file.write_all(b"changed").unwrap();
    let outcome = work.deliver().outcome;
    assert!(outcome.message.contains("old.bin"), "{}", outcome.message);
}

#[test]
fn a_patch_that_is_too_large_is_refused_as_a_whole() {
    let work = Work::on(|repository| {
        repository.file("a", "1\n").commit("first");
    });
    let line = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n";
    for number in 0..3 {
        work.write(format!("text{number}"), line.repeat(400_000));
    }
    let delivered = work.deliver();
    assert_eq!(delivered.outcome.reason, Some(Reason::PatchTooLarge));
    let has_output = |event: &service::protocol::Event| event.payload.name() == "output";
    assert!(!delivered.job.events().iter().any(has_output));
}

#[test]
fn a_chain_of_folders_has_an_end() {
    let work = Work::on(|repository| {
        repository.file("a", "1\n").commit("first");
    });
    let mut folder = work.path("d");
    for _ in 0..400 {
        fs::create_dir(&folder).unwrap();
        folder.push("d");
    }
    fs::write(folder, "x").unwrap();
    work.write("a", "2\n");
    let delivered = work.deliver();
    assert_eq!((delivered.changes().0, delivered.notices()), (1, vec!["deep_folders_left".into()]));
}

#[test]
fn what_was_not_pulled_cannot_be_delivered() {
    let work = Work::on(|repository| {
        repository.file("a", "1\n").commit("first");
    });
    let other = Site::new();
    assert_eq!(
        other.deliver(&work.url, &work.pulled).outcome.reason,
        Some(Reason::DirectoryNotFound)
    );
    let outcome = work.site.deliver("https://host.example/other", &work.pulled).outcome;
    assert_eq!(outcome.reason, Some(Reason::InternalError));
    assert!(outcome.message.contains("another repository"), "{}", outcome.message);
    let mut unknown = work.site.pull(&work.url);
    unknown.outcome.commit = Some("1".repeat(40));
    let outcome = work.site.deliver(&work.url, &unknown).outcome;
    assert!(outcome.message.contains("is not in the cached copy"), "{}", outcome.message);
}

#[test]
fn with_mode_none_the_step_is_skipped() {
    let body = "{\"repoUrl\":\"https://h/x\",\"deliver\":{\"mode\":\"none\"}}";
    let job = Job::detached();
    let run = Site::new().deliverer();
    let outcome = runtime().block_on(run.run(parse(body.as_bytes()).unwrap(), job.clone()));
    assert_eq!((outcome.state, outcome.reason), (State::Completed, None));
    let Payload::Step(step) = &job.events()[0].payload else { panic!("{:?}", job.events()) };
    assert_eq!(step.state, StepState::Skipped);
}

#[test]
fn a_stop_ends_a_delivery() {
    let work = Work::on(|repository| {
        repository.file("a", "1\n").commit("first");
    });
    let job = Job::detached_as(work.pulled.job.id());
    job.request_stop(Stop::new(Reason::CancelRequested, "cancelled"));
    let body = format!("{{\"repoUrl\":{:?},\"base\":{:?}}}", work.url, work.pulled.commit());
    let deliverer = work.site.deliverer();
    let run = deliverer.run(parse(body.as_bytes()).unwrap(), job);
    assert_eq!(runtime().block_on(run).state, State::Cancelled);
}

#[test]
fn nothing_is_left_in_the_cache() {
    let work = Work::on(|repository| {
        repository.file("a", "1\n").commit("first");
    });
    work.write("a", "2\n");
    work.deliver();
    let cache = fs::read_dir(work.site.path().join("cache")).unwrap();
    let left: Vec<_> = cache.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn a_salvage_does_not_wait_for_somebody_who_never_leaves_the_folder() {
    let work = Work::on(|repository| {
        repository.file("a.txt", "a\n").commit("first");
    });
    work.write("b.txt", "b\n");
    let somebody = runtime();
    let workspace = &work.site.settings.workspace;
    let lock = somebody.block_on(workspace.lock_job(&work.pulled.job, Step::Execute)).unwrap();
    let base = work.pulled.commit();
    let body = format!("{{\"repoUrl\":{:?},\"base\":{base:?},\"salvage\":true}}", work.url);
    let job = Job::detached_as(work.pulled.job.id());
    let run = work.site.deliverer();
    let outcome = runtime().block_on(run.run(parse(body.as_bytes()).unwrap(), job.clone()));
    let delivered = Delivered { job, outcome };
    assert!(String::from_utf8(delivered.patch()).unwrap().contains("+b\n"));
    assert!(delivered.notices().contains(&"folder_in_use".to_owned()));
    drop(lock);
}
