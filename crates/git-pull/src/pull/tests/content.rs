//! What a pull leaves in the job's folder.

use std::os::unix::ffi::OsStrExt;

use end_to_end::git_server::{Access, GitServer};
use service::one_shot::Job;
use service::protocol::event::StepState;
use service::protocol::{JobId, Payload, Reason, State};

use super::server_with_demo;
use crate::testing::{Site, notices, soon};

#[test]
fn a_public_repository_is_checked_out_clean() {
    let (server, commit) = server_with_demo();
    let pulled = Site::new().pull(&server.url(Access::Public, "demo"));
    assert_eq!(pulled.commit(), commit);
    assert_eq!(pulled.outcome.branch.as_deref(), Some("main"));
    assert!(pulled.outcome.durations.pull_ms.is_some());
}

#[test]
fn the_checkout_is_what_git_would_have_made() {
    let (server, commit) = server_with_demo();
    let site = Site::new();
    let url = server.url(Access::Public, "demo");
    let pulled = site.pull(&url);
    assert_eq!(
        pulled.git(["status", "--porcelain=v2", "--branch"]).lines().collect::<Vec<_>>(),
        [
            &format!("# branch.oid {commit}"),
            "# branch.head main",
            "# branch.upstream origin/main",
            "# branch.ab +0 -0"
        ]
    );
    assert_eq!(pulled.git(["log", "--format=%H", "origin/main"]), commit);
    assert_eq!(pulled.git(["remote", "get-url", "origin"]), url);
    assert_eq!(pulled.git(["rev-parse", "origin/HEAD"]), commit);
    assert_eq!(pulled.read("link"), "hello\n");
    pulled.git(["fsck", "--strict"]);
    pulled.git(["fetch", "origin"]);
}

#[test]
fn events_tell_the_step_from_start_to_end() {
    let (server, commit) = server_with_demo();
    let site = Site::new();
    let pulled = site.pull(&server.url(Access::Public, "demo"));
    let events = pulled.job.events();
    let steps: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.payload {
            Payload::Step(step) => Some((step.state, step.commit.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(steps, [(StepState::Started, None), (StepState::Completed, Some(commit))]);
    let phases: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.payload {
            Payload::Progress { phase, current, total, .. } if current == total => {
                Some(phase.as_str())
            }
            _ => None,
        })
        .collect();
    assert!(phases.contains(&"receiving") && phases.contains(&"checkout"), "{phases:?}");
}

#[test]
fn a_second_pull_asks_for_the_refs_only() {
    let (server, commit) = server_with_demo();
    let site = Site::new();
    let url = server.url(Access::Public, "demo");
    site.pull(&url);
    let posts = server.upload_packs();
    assert_eq!(site.pull(&url).commit(), commit);
    assert_eq!(server.upload_packs(), posts);
}

#[test]
fn what_is_new_is_fetched_and_no_more() {
    let server = GitServer::start();
    let mut repository = server.repository("demo", |repository| {
        repository.noise("noise", 500_000).commit("first");
    });
    let site = Site::new();
    let url = server.url(Access::Public, "demo");
    site.pull(&url);
    let commit = repository.file("new", "new\n").commit("second");
    let pulled = site.pull(&url);
    assert_eq!((pulled.commit(), pulled.read("new").as_str()), (commit.as_str(), "new\n"));
    assert_eq!(pulled.git(["rev-list", "--count", "HEAD"]), "2");
    let received = pulled.job.events().into_iter().filter_map(|event| match event.payload {
        Payload::Progress { bytes, .. } => Some(bytes),
        _ => None,
    });
    let received = received.max().unwrap();
    assert!(received > 0 && received < 100_000, "{received}");
}

#[test]
fn a_rewritten_branch_is_followed_and_a_removed_one_forgotten() {
    let server = GitServer::start();
    let mut repository = server.repository("demo", |repository| {
        repository.file("a", "1").commit("first");
        repository.on("gone").file("b", "1").commit("gone");
        repository.on("main").file("a", "2").commit("second");
    });
    let site = Site::new();
    let url = server.url(Access::Public, "demo");
    let before = site.pull(&url);
    repository.git(["update-ref", "refs/heads/main", "main~1"]);
    repository.git(["branch", "-D", "gone"]);
    let commit = repository.file("a", "3").commit("rewritten");
    let pulled = site.pull(&url);
    assert_eq!(pulled.commit(), commit);
    assert_eq!(
        pulled.git(["branch", "-r", "--format=%(refname)"]),
        "refs/remotes/origin/HEAD\nrefs/remotes/origin/main"
    );
    // The objects of an earlier job stay for as long as it may need them.
    before.git(["fsck"]);
    before.git(["log", "origin/gone"]);
}

#[test]
fn tags_and_other_branches_can_be_asked_for() {
    let server = GitServer::start();
    let mut commits = Vec::new();
    server.repository("demo", |repository| {
        repository.default_branch("trunk");
        commits.push(repository.file("a", "1").commit("first"));
        repository.tag("light").annotated_tag("v1");
        commits.push(repository.on("feature/x").file("a", "2").commit("second"));
    });
    let site = Site::new();
    let url = server.url(Access::Public, "demo");
    for (branch, commit, head) in [
        ("", &commits[0], "refs/heads/trunk"),
        (",\"branch\":\"feature/x\"", &commits[1], "refs/heads/feature/x"),
        (",\"branch\":\"v1\"", &commits[0], "HEAD"),
        (",\"branch\":\"light\"", &commits[0], "HEAD"),
    ] {
        let pulled = site.pull_with(&url, branch);
        assert_eq!(pulled.commit(), commit, "{branch}");
        assert_eq!(pulled.git(["rev-parse", "--symbolic-full-name", "HEAD"]), head);
        assert_eq!(pulled.git(["status", "--porcelain"]), "");
        assert_eq!(&pulled.git(["rev-parse", "v1^{commit}"]), &commits[0]);
    }
}

#[test]
fn an_empty_repository_is_an_empty_checkout() {
    let server = GitServer::start();
    server.repository("empty", |_| {});
    let site = Site::new();
    let urls = [
        server.url(Access::Public, "empty"),
        format!("file://{}", server.repository("bare", |_| {}).path().display()),
    ];
    for url in urls {
        let pulled = site.pull(&url);
        assert_eq!((pulled.outcome.state, &pulled.outcome.commit), (State::Completed, &None));
        assert_eq!(
            pulled.git(["status", "--porcelain=v2", "--branch"]),
            "# branch.oid (initial)\n# branch.head main"
        );
    }
}

#[test]
fn submodules_and_lfs_pointers_are_left_with_a_notice() {
    let server = GitServer::start();
    server.repository("demo", |repository| {
        repository.submodule("deps/lib", "https://example.invalid/x").lfs_pointer("big.bin");
        repository.commit("first");
    });
    let site = Site::new();
    let pulled = site.pull(&server.url(Access::Public, "demo"));
    pulled.commit();
    let notices = pulled.notices();
    assert_eq!(notices.len(), 2, "{notices:?}");
    assert_eq!(notices[0].0, "submodules_left");
    assert!(notices[0].1.contains("deps/lib"), "{notices:?}");
    assert_eq!(notices[1].0, "lfs_pointers_left");
    assert!(notices[1].1.contains("big.bin"), "{notices:?}");
    assert!(pulled.checkout.join("deps/lib").is_dir());
}

#[test]
fn names_that_are_not_utf8_are_checked_out() {
    let server = GitServer::start();
    server.repository("demo", |repository| {
        repository.file(b"d\xfcr/n\xe4me", "x").commit("first");
    });
    let site = Site::new();
    let pulled = site.pull(&server.url(Access::Public, "demo"));
    pulled.commit();
    let name = std::ffi::OsStr::from_bytes(b"d\xfcr/n\xe4me");
    assert_eq!(std::fs::read(pulled.checkout.join(name)).unwrap(), b"x");
    assert_eq!(pulled.git(["status", "--porcelain"]), "");
}

#[test]
fn attributes_and_hooks_of_the_repository_are_not_obeyed() {
    let server = GitServer::start();
    server.repository("demo", |repository| {
        repository.file(".gitattributes", "* text eol=crlf ident filter=evil\n");
        repository.file("a.txt", "$Id$\nline\n").commit("first");
    });
    let site = Site::new();
    let pulled = site.pull(&server.url(Access::Public, "demo"));
    pulled.commit();
    assert_eq!(pulled.read("a.txt"), "$Id$\nline\n");
}

#[test]
fn a_local_repository_is_pulled_by_path_and_by_address() {
    let server = GitServer::start();
    let mut repository = server.repository("demo", |repository| {
        repository.file("a", "1").commit("first");
        repository.annotated_tag("v1");
    });
    let site = Site::new();
    let path = repository.path().to_str().unwrap().to_owned();
    let first = site.pull(&path);
    assert_eq!(first.commit(), repository.commit_id("main"));
    first.git(["fsck", "--strict"]);
    first.git(["rev-parse", "v1^{tag}"]);
    let commit = repository.file("b", "2").commit("second");
    let second = site.pull(&format!("file://{path}"));
    assert_eq!(second.commit(), commit);
    assert_eq!(second.git(["rev-list", "--count", "HEAD"]), "2");
    second.git(["fsck", "--strict"]);
    let missing = site.pull(&format!("{path}/nope"));
    assert_eq!(missing.failure().0, Reason::RepositoryNotFound);
}

#[test]
fn a_local_repository_may_be_packed_loose_or_borrowed() {
    let server = GitServer::start();
    let mut repository = server.repository("demo", |repository| {
        repository.file("a", "1").commit("first");
        repository.git(["repack", "-ad"]);
    });
    let folder = tempfile::tempdir().unwrap();
    let path = repository.path().to_str().unwrap().to_owned();
    end_to_end::git::run(folder.path(), ["clone", "--quiet", "--shared", &path, "borrower"]);
    repository.file("b", "2").commit("second");
    let loose = folder.path().join("loose");
    end_to_end::git::run(folder.path(), ["init", "--quiet", "--initial-branch=main", "loose"]);
    std::fs::write(loose.join("a"), "1").unwrap();
    end_to_end::git::run(&loose, ["add", "a"]);
    end_to_end::git::run(&loose, ["commit", "--quiet", "--message=first"]);
    for (path, commits) in [(folder.path().join("borrower"), "1"), (path.into(), "2"), (loose, "1")]
    {
        let site = Site::new();
        let pulled = site.pull(path.to_str().unwrap());
        pulled.commit();
        assert_eq!(pulled.git(["rev-list", "--count", "HEAD"]), commits);
        pulled.git(["fsck", "--strict"]);
    }
}

#[test]
fn a_shallow_local_repository_is_checked_out_with_the_history_it_has() {
    let server = GitServer::start();
    let repository = server.repository("demo", |repository| {
        repository.file("a", "1").commit("first");
        repository.file("a", "2").commit("second");
    });
    let folder = tempfile::tempdir().unwrap();
    let from = format!("file://{}", repository.path().display());
    end_to_end::git::run(folder.path(), ["clone", "--quiet", "--depth=1", &from, "shallow"]);
    let site = Site::new();
    let pulled = site.pull(folder.path().join("shallow").to_str().unwrap());
    assert_eq!(pulled.commit(), repository.commit_id("main"));
    assert_eq!(pulled.git(["rev-list", "--count", "HEAD"]), "1");
    assert_eq!(pulled.git(["status", "--porcelain"]), "");
}

#[test]
fn a_damaged_mirror_is_made_anew() {
    let (server, commit) = server_with_demo();
    let site = Site::new();
    let url = server.url(Access::Public, "demo");
    site.pull(&url).commit();
    let mirror = std::fs::read_dir(site.path().join("cache"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "git"))
        .unwrap();
    let damages: [&dyn Fn(); 5] = [
        &|| std::fs::remove_dir_all(mirror.join("objects")).unwrap(),
        &|| {
            for pack in std::fs::read_dir(mirror.join("objects/pack")).unwrap() {
                let path = pack.unwrap().path();
                std::fs::remove_file(&path).unwrap();
                std::fs::write(path, "garbage").unwrap();
            }
        },
        &|| {
            let packs = std::fs::read_dir(mirror.join("objects/pack")).unwrap();
            let pack = packs
                .map(|pack| pack.unwrap().path())
                .find(|path| path.extension().is_some_and(|extension| extension == "pack"));
            let bytes = std::fs::read(pack.as_ref().unwrap()).unwrap();
            std::fs::remove_file(pack.as_ref().unwrap()).unwrap();
            std::fs::write(pack.unwrap(), &bytes[..bytes.len() / 2]).unwrap();
        },
        &|| {
            std::fs::remove_dir_all(&mirror).unwrap();
            std::fs::write(&mirror, "garbage").unwrap();
        },
        &|| std::fs::write(mirror.join("packed-refs"), b"\xff\0garbage\n^x\n").unwrap(),
    ];
    for (number, damage) in damages.iter().enumerate() {
        damage();
        let pulled = site.pull(&url);
        assert_eq!(pulled.outcome.commit.as_ref(), Some(&commit), "{number}: {:?}", pulled.outcome);
        pulled.git(["fsck"]);
    }
    let left = std::fs::read_dir(site.path().join("cache")).unwrap().count();
    assert_eq!(left, 2, "the mirror and its lock");
}

#[test]
fn an_earlier_attempts_files_are_gone() {
    let (server, _) = server_with_demo();
    let site = Site::new();
    let url = server.url(Access::Public, "demo");
    let first = site.pull(&url);
    std::fs::write(first.checkout.join("left-over"), "x").unwrap();
    std::fs::write(first.checkout.join(".git/hooks"), "x").unwrap();
    let second = site.pull_as(&url, "", first.job.clone());
    second.commit();
    assert!(!second.checkout.join("left-over").exists());
    assert!(!second.checkout.join(".git/hooks").exists());
}

#[test]
fn many_jobs_of_one_new_repository_share_one_fetch() {
    let (server, commit) = server_with_demo();
    let site = Site::new();
    let url = server.url(Access::Public, "demo");
    std::thread::scope(|scope| {
        let pulls: Vec<_> = (0..6).map(|_| scope.spawn(|| site.pull(&url))).collect();
        for pull in pulls {
            let pulled = pull.join().unwrap();
            assert_eq!(pulled.commit(), commit);
            assert_eq!(pulled.git(["status", "--porcelain"]), "");
        }
    });
    assert_eq!(server.upload_packs(), 1);
}

#[test]
fn a_pull_leaves_the_checkout_alone_while_an_earlier_attempt_works_in_it() {
    let (server, _) = server_with_demo();
    let (site, url) = (Site::new(), server.url(Access::Public, "demo"));
    let first = site.pull(&url);
    first.commit();
    let (id, mark) = (first.job.id(), first.checkout.join("of-the-first-attempt"));
    std::fs::write(&mark, "").unwrap();
    let mut lock = None;
    soon(|| {
        lock = site.settings.workspace.try_lock_job(id).unwrap();
        lock.is_some()
    });
    let job = Job::detached_as(id);
    let second = std::thread::scope(|scope| {
        let second = scope.spawn(|| site.pull_as(&url, "", job.clone()));
        while notices(&job).is_empty() {
            std::thread::yield_now();
        }
        assert!(mark.exists() && !second.is_finished());
        drop(lock);
        second.join().unwrap()
    });
    second.commit();
    assert!(!mark.exists());
    assert_eq!(second.notices()[0].0, "waits_for_earlier_attempt");
}

#[test]
fn a_pull_of_an_attempt_that_was_given_up_leaves_the_next_ones_checkout_alone() {
    let (server, _) = server_with_demo();
    let (site, url) = (Site::new(), server.url(Access::Public, "demo"));
    let id = JobId::random();
    let [first, second] = [1, 2].map(|attempt| Job::detached_in(id, attempt));
    let current = site.pull_as(&url, "", second);
    let mark = current.checkout.join("of-the-second-attempt");
    std::fs::write(&mark, "").unwrap();
    let late = site.pull_as(&url, "", first);
    assert_eq!(late.outcome.reason, Some(Reason::Superseded));
    assert!(mark.exists());
}

#[test]
fn a_checkout_that_is_too_large_is_refused_and_leaves_nothing() {
    let server = GitServer::start();
    server.repository("demo", |repository| {
        repository.noise("a", 60_000).noise("b", 60_000).commit("first");
    });
    let url = server.url(Access::Public, "demo");
    Site::with([("ONESHIFT_MAX_CHECKOUT_BYTES", "120000")]).pull(&url).commit();
    let pulled = Site::with([("ONESHIFT_MAX_CHECKOUT_BYTES", "119999")]).pull(&url);
    let message = "the repository cannot be checked out: its files have more than 119999 bytes";
    assert_eq!(pulled.failure(), (Reason::CloneFailed, message));
    assert!(!pulled.outcome.retryable && !pulled.checkout.exists());
}

#[test]
fn a_symlink_s_target_that_is_no_path_is_refused() {
    let server = GitServer::start();
    server.repository("demo", |repository| {
        repository.symlink("link", &"x".repeat(5000)).commit("first");
    });
    let pulled = Site::new().pull(&server.url(Access::Public, "demo"));
    let message =
        "the repository cannot be checked out: \"link\" has 5000 bytes, and 4095 are possible";
    assert_eq!(pulled.failure(), (Reason::CloneFailed, message));
}
