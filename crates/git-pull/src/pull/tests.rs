use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use end_to_end::git_server::{Access, GitServer, PASSWORD, USER};
use service::one_shot::{Job, Shift, Stop};
use service::protocol::event::StepState;
use service::protocol::{Payload, Reason, State};

use crate::testing::{Site, request, runtime};

fn server_with_demo() -> (GitServer, String) {
    let server = GitServer::start();
    let mut commit = String::new();
    server.repository("demo", |repository| {
        repository.file("README.md", "hello\n").executable("run.sh", "#!/bin/sh\n");
        repository.symlink("link", "README.md").noise("noise", 200_000);
        commit = repository.commit("first");
    });
    (server, commit)
}

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
fn each_failure_has_its_reason_and_a_sentence() {
    let (server, _) = server_with_demo();
    let site = Site::with([("ONESHIFT_GIT_SILENCE_SECONDS", "1")]);
    for (access, reason, words) in [
        (Access::Private, Reason::LoginRefused, "wants a login"),
        (Access::Forbidden, Reason::LoginRefused, "refuses the login"),
        (Access::Missing, Reason::RepositoryNotFound, "there is no repository at"),
        (Access::Broken, Reason::CloneFailed, "HTTP status 500"),
        (Access::NotGit, Reason::CloneFailed, "does not answer as a git server"),
        (Access::StalledRefs, Reason::Stalled, "was silent for 1 s"),
        (Access::StalledPack, Reason::Stalled, "was silent for 1 s"),
        (Access::Cut, Reason::CloneFailed, "broke off in the middle"),
        (Access::RedirectLoop, Reason::CloneFailed, "redirects more than 5 times"),
    ] {
        let pulled = site.pull(&server.url(access, "demo"));
        let (found, message) = pulled.failure();
        assert!(found == reason && message.contains(words), "{access:?}: {found:?}: {message}");
        assert!(message.contains(&server.url(access, "demo")), "{access:?}: {message}");
        assert!(!message.contains("service="), "{access:?}: {message}");
    }
}

#[test]
fn what_the_request_names_and_is_not_there_is_named_in_the_answer() {
    let server = GitServer::start();
    server.repository("demo", |repository| {
        repository.file("real/file", "x").symlink("link", "real").submodule("sub", "x");
        repository.commit("first");
    });
    let site = Site::new();
    let url = server.url(Access::Public, "demo");
    let pulled = site.pull_with(&url, ",\"branch\":\"nope\"");
    let expected = format!("branch \"nope\" does not exist in {url}");
    assert_eq!(pulled.failure(), (Reason::BranchNotFound, expected.as_str()));
    for (directory, words) in [
        ("nope", "does not exist"),
        ("link", "symlink"),
        ("link/deeper", "symlink"),
        ("real/file", "is not a folder"),
        ("sub", "submodule"),
    ] {
        let pulled = site.pull_with(&url, &format!(",\"directory\":\"{directory}\""));
        let (reason, message) = pulled.failure();
        assert_eq!(reason, Reason::DirectoryNotFound);
        assert!(message.contains(words) && message.contains(directory), "{message}");
    }
    site.pull_with(&url, ",\"directory\":\"./real/\"").commit();
}

#[test]
fn a_host_that_is_not_there_is_unreachable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let pulled = Site::new().pull(&format!("http://{address}/repo"));
    assert_eq!(pulled.failure().0, Reason::HostUnreachable);
    let pulled = Site::new().pull("http://does-not-exist.invalid/repo");
    assert_eq!(pulled.failure().0, Reason::HostUnreachable);
}

#[test]
fn the_login_of_the_address_lets_in_and_is_written_nowhere() {
    let (server, commit) = server_with_demo();
    let site = Site::new();
    let pulled = site.pull(&server.url_with_password("demo"));
    assert_eq!(pulled.commit(), commit);
    let written = std::process::Command::new("grep")
        .args(["--recursive", "--files-with-matches", "-e", "correct.*horse"])
        .arg(site.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&written.stdout), "");
    let events = format!("{:?} {:?}", pulled.job.events(), pulled.outcome);
    assert!(!events.contains("horse") && !events.contains(USER), "{events}");
}

#[test]
fn the_operators_login_lets_in() {
    let (server, commit) = server_with_demo();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials");
    let password = PASSWORD.replace(' ', "%20");
    std::fs::write(&file, format!("http://{USER}:{password}@{}\n", server.host())).unwrap();
    let site = Site::with([("ONESHIFT_GIT_CREDENTIALS_FILE", file.to_str().unwrap())]);
    assert_eq!(site.pull(&server.url(Access::Private, "demo")).commit(), commit);
}

#[test]
fn what_one_caller_cached_another_without_a_login_does_not_get() {
    let (server, _) = server_with_demo();
    let site = Site::new();
    site.pull(&server.url_with_password("demo")).commit();
    let refused = site.pull(&server.url(Access::Private, "demo"));
    assert_eq!(refused.failure().0, Reason::LoginRefused);
    assert!(!refused.checkout.join("README.md").exists());
}

#[test]
fn a_redirect_is_followed_with_the_login_to_the_same_host_only() {
    let (server, commit) = server_with_demo();
    let site = Site::new();
    let url = server.url(Access::Redirect, "demo");
    let with_login = url.replacen("http://", "http://bob:secret@", 1);
    assert_eq!(site.pull(&with_login).commit(), commit);
    assert!(server.requests().iter().all(|request| request.authorization.is_some()));
    // The same server by another name is another host.
    let elsewhere = crate::testing::redirect_to(&server.url(Access::Public, "demo"));
    let with_login = elsewhere.replacen("http://", "http://bob:secret@", 1);
    let before = server.requests().len();
    assert_eq!(Site::new().pull(&with_login).commit(), commit);
    let after = server.requests();
    assert!(after[before..].iter().all(|request| request.authorization.is_none()), "{after:?}");
}

#[test]
fn a_redirect_to_a_forbidden_address_is_not_followed() {
    let elsewhere = crate::testing::redirect_to("http://169.254.169.254/latest");
    let pulled = Site::new().pull(&elsewhere);
    let (reason, message) = pulled.failure();
    assert!(reason == Reason::CloneFailed && message.contains("link-local"), "{message}");
    assert!(!pulled.outcome.retryable);
}

#[test]
fn a_repository_that_is_not_allowed_is_refused_before_the_worker_is_used() {
    let site = Site::with([("ONESHIFT_ALLOW_LOCAL_REPOS", "0")]);
    for url in ["/srv/repo", "file:///srv/repo", "http://169.254.169.254/x", "http://[fe80::1]/x"] {
        let error = site.puller().admit(&request(url, "")).unwrap_err();
        assert_eq!(error.field.as_deref(), Some("repoUrl"), "{url}");
    }
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
fn a_stop_ends_every_wait() {
    let (server, _) = server_with_demo();
    // The server's silence would be borne for an hour.
    let site = Site::with([("ONESHIFT_GIT_SILENCE_SECONDS", "3600")]);
    for access in [Access::StalledRefs, Access::StalledPack] {
        let job = Job::detached();
        let stopped = job.clone();
        let url = server.url(access, "demo");
        let (puller, seen) = (site.puller(), server.requests().len());
        let outcome = runtime().block_on(async {
            let run = tokio::spawn(async move { puller.run(request(&url, ""), job).await });
            while server.requests().len() == seen {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            stopped.request_stop(Stop::new(Reason::CancelRequested, "cancelled"));
            run.await.unwrap()
        });
        assert_eq!(
            (outcome.state, outcome.reason),
            (State::Cancelled, Some(Reason::CancelRequested))
        );
    }
}

#[test]
fn a_stop_ends_a_checkout() {
    let (server, _) = server_with_demo();
    let site = Site::new();
    let job = Job::detached();
    job.request_stop(Stop::new(Reason::WorkerStopped, "stopped"));
    let pulled = site.pull_as(&server.url(Access::Public, "demo"), "", job);
    assert_eq!(pulled.failure().0, Reason::WorkerStopped);
}

#[test]
fn settings_that_cannot_be_used_are_refused() {
    let environment =
        service::config::Environment::from_pairs([("ONESHIFT_WORKSPACE", "/dev/null/x")]);
    let fault = crate::settings::Settings::read(&environment).unwrap_err().to_string();
    assert!(fault.starts_with("ONESHIFT_WORKSPACE is wrong"), "{fault}");
}
