//! Nothing that an agent starts survives it.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod common;

use std::path::Path;

use common::{BINARY, Scene, eventually, is_alive};
use end_to_end::sse::{Events, assert_complete};
use end_to_end::{Launch, Process};
use rustix::process::Signal;
use serde_json::json;
use service::one_shot::Job;
use service::protocol::{JobId, State};
use service::workspace::Workspace;

/// The ids in a file, one a line, when there are as many.
async fn ids(file: &Path, count: usize) -> Vec<String> {
    eventually(|| {
        let text = std::fs::read_to_string(file).ok()?;
        let ids: Vec<String> = text.lines().map(str::to_owned).collect();
        (ids.len() == count && text.ends_with('\n')).then_some(ids)
    })
    .await
}

#[tokio::test]
async fn children_of_every_kind_are_gone_when_the_agent_has_ended() {
    let script = "
        sleep 1000 & echo $! >> ids
        (sh -c 'echo $$ >> ids; exec sleep 1000' &)
        setsid sh -c 'echo $$ >> ids; exec sleep 1000' &
        (setsid sh -c '(sh -c \"echo \\$\\$ >> ids; exec sleep 1000\" &)' &)
        sh -c 'trap \"\" HUP INT TERM; echo $$ >> ids; while true; do sleep 1; done' &
        while [ \"$(wc -l < ids)\" -lt 5 ]; do sleep 0.01; done
        echo done";
    let scene = Scene::script(script);
    let outcome = scene.run(json!({"prompt": "x"})).await;
    assert_eq!(outcome.state, State::Completed, "{outcome:?}");
    let ids = ids(&scene.checkout().join("ids"), 5).await;
    let alive: Vec<_> = ids.iter().filter(|id| is_alive(id)).collect();
    assert!(alive.is_empty(), "{alive:?} of {ids:?}");
    assert_eq!(scene.notices(), ["processes_killed"]);
}

#[tokio::test]
async fn a_later_attempt_waits_until_the_earlier_agent_is_gone() {
    let script = "[ -e busy ] && echo overlap; touch busy; echo begun; while [ ! -e go ]; do \
                  sleep 0.01; done; rm busy";
    let scene = Scene::script(script);
    let request = json!({"prompt": "x", "check": "test ! -e busy"});
    let later = Job::detached_as(scene.job.id());
    let second = async {
        scene.line("begun").await;
        scene.run_as(&later, request.clone()).await
    };
    let let_go = async {
        let told = || format!("{:?}", later.events()).contains("waits_for_earlier_attempt");
        eventually(|| told().then_some(())).await;
        std::fs::write(scene.checkout().join("go"), "").unwrap();
    };
    let (first, second, ()) = tokio::join!(scene.run(request.clone()), second, let_go);
    assert_eq!((first.state, second.state), (State::Completed, State::Completed), "{second:?}");
    let told = format!("{:?}", later.events());
    assert!(told.contains("begun"), "{told}");
    assert!(!told.contains("overlap"), "{told}");
}

#[tokio::test]
async fn a_storm_of_forks_is_calmed() {
    // Each process starts another and ends, so that none is there for long.
    let script = "
        storm() { sh -c 'while [ ! -e calm ]; do (sleep 0.001 &) ; done' & }
        for i in 1 2 3 4 5 6 7 8; do storm; done
        hop='echo $$ > hop; [ -e calm ] || (sh -c \"$HOP\" &)'
        HOP=\"$hop\" setsid sh -c \"$hop\" &
        while [ ! -s hop ]; do sleep 0.01; done
        exit 0";
    let scene = Scene::script(script);
    let outcome = scene.run(json!({"prompt": "x"})).await;
    assert_eq!(outcome.state, State::Completed, "{outcome:?}");
    let folder = std::fs::canonicalize(scene.checkout()).unwrap();
    let alive = processes_in(&folder);
    // Whatever the assertion says, nothing is left to run on.
    std::fs::write(folder.join("calm"), "").unwrap();
    assert!(alive.is_empty(), "{alive:?}");
}

/// The processes that work in a folder.
fn processes_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter(|entry| std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == folder))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|id| is_alive(id))
        .collect()
}

#[tokio::test]
async fn signals_to_the_guard_reach_the_agent() {
    let script = "trap 'echo interrupted' INT; trap 'echo terminated; exit 5' TERM
                  kill -INT $PPID; kill -TERM $PPID; while true; do sleep 0.01; done";
    let scene = Scene::script(script);
    let outcome = scene.run(json!({"prompt": "x"})).await;
    assert_eq!(outcome.exit_code, Some(5), "{outcome:?}");
    assert_eq!(scene.stdout().last().map(String::as_str), Some("terminated"));
}

#[tokio::test]
async fn ignored_signals_are_not_inherited() {
    let command = json!(["sh", "-c", "grep SigIgn /proc/self/status"]).to_string();
    let shell = format!("trap '' HUP INT TERM USR1; exec {BINARY}");
    let folder = tempfile::tempdir().unwrap();
    let worker = Launch::program(Path::new("/bin/sh")).args(["-c", shell.as_str()]);
    let worker = start(worker, &command, folder.path());
    let frames = Events::of(post(&worker).await).await.rest().await;
    let output = frames.iter().find(|frame| frame.event == "output").unwrap().json();
    let mask = output["text"].as_str().and_then(|text| text.strip_prefix("SigIgn:\t")).unwrap();
    // 32 and 33 are the C library's own, which its posix_spawn leaves ignored.
    let ignored = u64::from_str_radix(mask, 16).unwrap() & !(0b11 << 31);
    assert_eq!(ignored, 0, "{output}");
}

fn start(launch: Launch, command: &str, workspace: &Path) -> Process {
    launch
        .env("ONESHIFT_LISTEN", "127.0.0.1:0")
        .env("ONESHIFT_WORKSPACE", workspace)
        .env("ONESHIFT_AGENT", "command")
        .env("ONESHIFT_AGENT_COMMAND", command)
        .start()
}

fn worker(script: &str, workspace: &Path) -> Process {
    let command = json!(["sh", "-c", script]).to_string();
    start(Launch::program(Path::new(BINARY)), &command, workspace)
}

async fn post(worker: &Process) -> reqwest::Response {
    let url = worker.url("/api/execute").await;
    let body = json!({"prompt": "x"}).to_string();
    end_to_end::http::client().post(url).body(body).send().await.unwrap()
}

/// Starts processes that leave their group, session and parents, and writes down their ids.
fn scattering(ids: &Path) -> String {
    let ids = ids.display();
    format!(
        "setsid sh -c 'echo $$ >> {ids}; exec sleep 1000' &
         (setsid sh -c '(sh -c \"echo \\$\\$ >> {ids}; exec sleep 1000\" &)' &)
         echo $$ >> {ids}
         while [ \"$(wc -l < {ids})\" -lt 3 ]; do sleep 0.01; done
         "
    )
}

#[tokio::test]
async fn a_worker_that_is_killed_takes_all_with_it() {
    // Even if the agent has stopped its guard before.
    for act in ["", "kill -STOP $PPID;"] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ids");
        let script = format!("{} {act} touch ready; sleep 1000", scattering(&file));
        let mut worker = worker(&script, folder.path());
        let first = Events::of(post(&worker).await).await.next().await.unwrap();
        let job: JobId = first.json()["jobId"].as_str().unwrap().parse().unwrap();
        let ready = folder.path().join("jobs").join(job.to_string()).join("repo/ready");
        eventually(|| ready.exists().then_some(())).await;
        let ids = ids(&file, 3).await;
        worker.signal(Signal::KILL);
        worker.exit().await;
        // Nobody else may work in the folder until all are gone.
        let workspace = Workspace::open(folder.path()).unwrap();
        eventually(|| workspace.try_lock_job(job).unwrap()).await;
        let alive: Vec<_> = ids.iter().filter(|id| is_alive(id)).collect();
        assert!(alive.is_empty(), "{act}: {alive:?} of {ids:?}");
    }
}

#[tokio::test]
async fn an_agent_that_kills_its_guard_is_swept_up_by_the_worker() {
    for signal in ["KILL", "STOP"] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ids");
        let script = format!("{} kill -{signal} $PPID; sleep 1000", scattering(&file));
        let mut worker = worker(&script, folder.path());
        let mut events = Events::of(post(&worker).await).await;
        let mut frames = vec![events.next().await.unwrap()];
        let ids = ids(&file, 3).await;
        if signal == "STOP" {
            let job = frames[0].json()["jobId"].as_str().unwrap().to_owned();
            let url = worker.url(&format!("/api/jobs/{job}")).await;
            let answer = end_to_end::http::client().delete(url).send().await.unwrap();
            assert!(answer.status().is_success(), "{}", answer.status());
        }
        frames.extend(events.rest().await);
        let end = assert_complete(&frames);
        assert_ne!(end["type"], "completed", "{end}");
        let alive: Vec<_> = ids.iter().filter(|id| is_alive(id)).collect();
        assert!(alive.is_empty(), "{signal}: {alive:?} of {ids:?}: {end}");
        assert_eq!(worker.exit().await.code(), Some(0));
    }
}
