//! The real Claude Code CLI with a subscription whose session is used up, and what the house makes of
//! it.

use end_to_end::git_server::Access;
use end_to_end::model::{Script, Turn};
use end_to_end::sse::{Events, Frame};
use end_to_end::{Ended, GitServer, Model, Setup};
use serde_json::{Value, json};

/// How long the session is used up: enough for a job of another agent to run through meanwhile.
const SECONDS: u32 = 20;

const WORDS: &str = "claude's credential is rate limited until ";

/// What a job says of its rate limit while it waits, if it does.
fn limit(frame: &Frame) -> Option<String> {
    let data = frame.json();
    let reason = data["reason"].as_str().filter(|_| frame.event == "queued")?;
    reason.strip_prefix(WORDS).map(str::to_owned)
}

async fn until_limited(events: &mut Events) -> (Vec<Frame>, String) {
    let mut frames = Vec::new();
    loop {
        frames.push(events.next().await.unwrap());
        if let Some(limit) = limit(frames.last().unwrap()) {
            return (frames, limit);
        }
    }
}

async fn end(mut frames: Vec<Frame>, events: Events) -> Ended {
    frames.extend(events.rest().await);
    Ended::of(frames)
}

/// A time to the second: such texts are ordered as the times are.
fn second_of(time: &str) -> String {
    time[..19].to_owned()
}

/// When each attempt started.
fn starts(ended: &Ended) -> Vec<String> {
    let at = |event: Value| second_of(event["at"].as_str().unwrap());
    ended.events("started").into_iter().map(at).collect()
}

fn pulls(ended: &Ended) -> usize {
    let is_pull = |event: &Value| event["step"] == "pull" && event["state"] == "started";
    ended.events("step").iter().filter(|event| is_pull(event)).count()
}

#[tokio::test]
async fn a_session_that_is_used_up_holds_up_its_agents_jobs_and_no_others() {
    let model = Model::start_with([
        Script::new([Turn::session_used_up(SECONDS)]).when_prompt_contains("first").once(),
        Script::writes("first.txt", "x\n").when_prompt_contains("first"),
        Script::writes("second.txt", "x\n").when_prompt_contains("second"),
    ]);
    let Some(setup) = Setup::with_subscription(&model) else { return };
    let stack = setup.sizes(2, 2, 2).start().await;
    let server = GitServer::start();
    server.repository("demo", |repository| {
        repository.file("a.txt", "a\n").commit("first");
    });
    let job = |more: Value| {
        let mut request = json!({"repoUrl": server.url(Access::Public, "demo")});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    let mut first = stack.submit(&job(json!({"prompt": "the first", "retries": 1}))).await;
    let (first_frames, limit) = until_limited(&mut first).await;
    let (until, retry) = limit.split_once("; ").unwrap();
    assert!(retry.starts_with("retry 1 of 1 follows then: the model's API refused"), "{retry}");
    let mut second = stack.submit(&job(json!({"prompt": "the second"}))).await;
    let (second_frames, limit) = until_limited(&mut second).await;
    assert_eq!(limit, until);

    let words = format!("{WORDS}{until}");
    let id = second_frames[0].json()["jobId"].as_str().unwrap().to_owned();
    let view = stack.get(&format!("/api/jobs/{id}")).await;
    assert_eq!((&view["queued"]["reason"], &view["attempt"]), (&json!(words), &json!(0)));
    let folder = tempfile::tempdir().unwrap();
    for command in [&["show", id.as_str()][..], &["jobs"]] {
        let output = stack.cli(folder.path(), command, "").await;
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(&words), "{command:?}: {text}");
    }
    let metrics = stack.text("/metrics").await;
    assert!(metrics.contains("oneshift_parked_jobs{agent=\"claude\"} 2\n"), "{metrics}");

    let command = json!({"prompt": "echo x > other.txt", "agent": "command"});
    let other = stack.run(&job(command)).await;
    assert_eq!(other.ending(), "completed", "{}", other.outcome);
    assert!(other.frames.iter().all(|frame| self::limit(frame).is_none()));

    let first = end(first_frames, first).await;
    let second = end(second_frames, second).await;
    for (ended, attempts) in [(&first, 2), (&second, 1)] {
        assert_eq!(ended.ending(), "completed", "{}", ended.outcome);
        assert_eq!((starts(ended).len(), pulls(ended)), (attempts, attempts));
    }
    let [before, again] = &starts(&first)[..] else { panic!("two attempts") };
    let until = second_of(until);
    assert!(*before < until && *again >= until, "{before} {until} {again}");
    assert!(starts(&second)[0] >= *again, "they run in their order");
    // The transcript of the attempt that failed is kept.
    for home in ["home-1", "home"] {
        let projects = stack.job_folder(&first.job).join(home).join(".claude/projects");
        let project = projects.read_dir().unwrap().next().unwrap().unwrap().path();
        let transcript = project.read_dir().unwrap().next().unwrap().unwrap().path();
        let text = std::fs::read_to_string(transcript).unwrap();
        assert!(text.contains("the first"), "{home}: {text}");
    }
}

#[tokio::test]
async fn without_retries_a_used_up_session_fails_the_job_and_says_when_it_is_over() {
    let model = Model::start(Script::endless([
        Turn::write("early.txt", "saved\n"),
        Turn::session_used_up(3600),
    ]));
    let Some(setup) = Setup::with_subscription(&model) else { return };
    let stack = setup.start().await;
    let server = GitServer::start();
    server.repository("demo", |repository| {
        repository.file("a.txt", "a\n").commit("first");
    });
    let request = json!({"prompt": "Do it", "repoUrl": server.url(Access::Public, "demo")});
    let ended = stack.run(&request).await;
    assert_eq!(ended.ending(), "failed rate_limited", "{}", ended.outcome);
    assert_eq!(ended.outcome["retryable"], true);
    let retry_at = ended.outcome["retryAt"].as_str().unwrap();
    assert!(stack.patch(&ended.job).await.contains("+saved"), "what was done is saved");
    let folder = tempfile::tempdir().unwrap();
    let output = stack.cli(folder.path(), &["show", &ended.job], "").await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(&format!("the quota is there again at {retry_at}")), "{text}");
}

#[tokio::test]
async fn an_overloaded_api_is_tried_again_after_the_usual_pause_and_parks_nobody() {
    let model = Model::start(Script::endless([Turn::overloaded()]));
    let Some(setup) = Setup::with_claude(&model) else { return };
    // The CLI itself tries for three minutes otherwise.
    let setup = setup
        .env("CLAUDE_CODE_MAX_RETRIES", "1")
        .env("ONESHIFT_AGENT_ENV", "CLAUDE_CODE_MAX_RETRIES");
    let stack = setup.start().await;
    let server = GitServer::start();
    server.repository("demo", |repository| {
        repository.file("a.txt", "a\n").commit("first");
    });
    let url = server.url(Access::Public, "demo");
    let ended = stack.run(&json!({"prompt": "Do it", "repoUrl": url, "retries": 1})).await;
    assert_eq!(ended.ending(), "failed rate_limited", "{}", ended.outcome);
    assert_eq!(ended.outcome["retryAt"], Value::Null);
    let attempts: Vec<Value> =
        ended.events("started").into_iter().map(|event| event["attempt"].clone()).collect();
    assert_eq!(attempts, [1, 2]);
    let reasons = ended.events("queued").into_iter().map(|event| event["reason"].clone());
    let is_retry = |reason: &Value| {
        let reason = reason.as_str().unwrap();
        reason.starts_with("retry 1 of 1 in 1 s: the model's API is overloaded")
    };
    assert!(reasons.into_iter().any(|reason| is_retry(&reason)), "{:#?}", ended.frames);
}
