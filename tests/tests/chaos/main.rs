//! Kills a random process of the house every 200 ms, the gateway too, while jobs are submitted and
//! followed, and then checks every promise. `ONESHIFT_CHAOS_SECONDS` says for how long;
//! `ONESHIFT_CHAOS_SEED` repeats the choices of an earlier run.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod door;
mod killer;
mod random;
mod submitted;
mod verdict;

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use door::Door;
use end_to_end::git_server::{Access, GitServer};
use end_to_end::{Setup, Stack, variable};
use killer::Killer;
use random::Random;
use serde_json::json;
use submitted::submit_all;
use verdict::Verdict;

/// The least number of jobs; a long run submits [`JOBS_PER_SECOND`].
const JOBS: u32 = 300;
const JOBS_PER_SECOND: u32 = 3;

/// Says it even when the test runner hides what tests print.
fn say(line: &str) {
    // If it cannot be written, nobody reads.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

fn number<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = variable(name)?.into_string().unwrap();
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text:?}")))
}

/// The agent leaves its process id in the job's file, and a process that wants to outlive it.
async fn house(runs: &Path) -> Stack {
    let script = format!(
        "echo $$ >> '{}'/$(basename $(dirname \"$PWD\"))
         setsid sleep 1000 > /dev/null 2>&1 < /dev/null &
         cat > NEW.md; for i in 1 2 3; do echo line $i; done; sleep $(head -n 1 NEW.md); echo did",
        runs.display()
    );
    let command = json!(["sh", "-c", script]).to_string();
    let setup = Setup::new().env("ONESHIFT_LOG", "warn").env("ONESHIFT_AGENT_COMMAND", command);
    setup.sizes(5, 3, 3).start().await
}

#[tokio::test]
async fn whatever_is_killed_no_accepted_job_is_lost_or_doubled() {
    let Some(seconds) = number::<u32>("ONESHIFT_CHAOS_SECONDS") else {
        return say("chaos: not run; set ONESHIFT_CHAOS_SECONDS");
    };
    let seed = number("ONESHIFT_CHAOS_SEED").unwrap_or_else(Random::seed);
    let jobs = JOBS.max(seconds.saturating_mul(JOBS_PER_SECOND));
    say(&format!("chaos: ONESHIFT_CHAOS_SEED={seed}, {jobs} jobs in {seconds} s"));

    let server = GitServer::start();
    server.repository("demo", |repository| {
        repository.file("a.txt", "a\n").commit("first");
    });
    let runs = tempfile::tempdir().unwrap();
    let stack = house(runs.path()).await;
    let (door, url) = (Door { url: stack.url("") }, server.url(Access::Public, "demo"));
    let mut killer = Killer::new(seed);
    let time = Duration::from_secs(seconds.into());
    let all = tokio::select! {
        () = killer.rampage(&stack) => unreachable!("it never ends by itself"),
        all = submit_all(&door, &url, !seed, (jobs, time)) => all,
    };
    let mut verdict = Verdict::on(&door, &stack, all, runs.path()).await;
    let last = stack.children();
    killer.seen.extend(last.into_iter().map(|child| (child.id, child.name)));
    stack.stop().await;
    verdict.leftovers.extend(killer.survivors().iter().map(|process| format!("{process:?}")));
    report(seed, jobs, &killer, &verdict);
    assert!(verdict.broken_promises().is_empty(), "{:#?}", verdict.broken_promises());
}

fn report(seed: u64, jobs: u32, killer: &Killer, verdict: &Verdict) {
    let total: u32 = killer.kills.values().sum();
    let Verdict { endings, retries, resumed, .. } = verdict;
    let [lost, doubled, gaps, left] =
        [&verdict.lost, &verdict.doubled, &verdict.gaps, &verdict.leftovers].map(Vec::len);
    say(&format!("chaos: seed {seed}: {jobs} jobs {endings:?}, {total} kills {:?}", killer.kills));
    say(&format!(
        "chaos: {retries} retries, {resumed} resumed streams; \
         lost {lost}, doubled {doubled}, gaps {gaps}, leftovers {left}"
    ));
}
