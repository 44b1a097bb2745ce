//! What callers get wrong, at every front door: the field is named, and nothing is used up.

use end_to_end::git_server::{Access, GitServer};
use end_to_end::sse::Events;
use end_to_end::{Ended, Launch, Process, Setup, http};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A door, and a request that it takes.
struct Door {
    url: String,
    good: Value,
}

/// A stand-alone worker in a workspace of its own.
fn worker(name: &str, folder: &TempDir) -> Process {
    Launch::of(name)
        .env("ONESHIFT_LISTEN", "127.0.0.1:0")
        .env("ONESHIFT_WORKSPACE", folder.path())
        .env("ONESHIFT_AGENT", "command")
        .env("ONESHIFT_AGENT_COMMAND", json!(["sh"]).to_string())
        .env("GIT_PULL_URL", "http://127.0.0.1:1")
        .env("CLAUDE_EXEC_URL", "http://127.0.0.1:1")
        .start()
}

async fn refusal(door: &Door, body: impl Into<reqwest::Body>) -> (u16, Value) {
    let answer = http::client().post(&door.url).body(body).send().await.unwrap();
    let status = answer.status().as_u16();
    if status == 200 {
        return (status, json!("it was accepted"));
    }
    let text = answer.text().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: {text}"));
    (status, body["error"].clone())
}

/// Every field that `good` could have, with a value of a wrong type or a wrong value.
fn wrong_values() -> Vec<(&'static str, Value)> {
    let wrong = [
        ("prompt", json!(["", " ", 1, null, ["x"], {"a": 1}, "nul\u{0}byte"])),
        (
            "repoUrl",
            json!([
                "",
                1,
                null,
                [],
                "--upload-pack=touch /tmp/x",
                "https://host/x\n",
                "http://h/\u{0}",
                "ext::sh -c x",
                "ssh://git@host/x",
                "git@host:x",
                "relative/path",
                "https://",
                "http://host/x?y",
                "file://host/x"
            ]),
        ),
        ("branch", json!(["-x", "--upload-pack=x", "a b", "a..b", "", 1, ["x"], "a\u{0}", "x\n"])),
        ("directory", json!(["..", "a/../../b", "/etc", "", 1, {}, "a\u{0}b", "../x", ".git"])),
        ("agent", json!(["", 1, ["sh"], "\u{0}"])),
        ("model", json!(["-x", "--settings=x", "", 7, "a\nb"])),
        ("check", json!(["", 1, ["true"], "x\u{0}"])),
        ("limits", json!([1, "x", []])),
        ("limits.timeoutSeconds", json!([0, -1, "x", 1.5, 10_000_000, null])),
        ("limits.idleSeconds", json!([0, -1, "x", null])),
        ("limits.maxTurns", json!([0, -1, "x", 5_000_000_000_u64])),
        ("limits.maxCostUsd", json!([0, -1, "x"])),
        ("limits.maxTokens", json!([1])),
        ("deliver", json!(["patch", 1])),
        ("deliver.mode", json!(["mail", 1, null, "branch", "pullRequest"])),
        ("deliver.to", json!(["x"])),
        ("deliver.branch", json!(["x", "-x", 1])),
        ("resume", json!(["x", 1, "0192f0c1-7c5e-7b3a-9d57-2f1f5c0e8a11"])),
        ("checkRounds", json!([1, -1, "x"])),
        ("concurrency", json!(["x", 1])),
        ("concurrency.onConflict", json!(["explode", 1])),
        ("priority", json!([101, -101, "high", 1.5])),
        ("labels", json!([1, ["x"], {"": "x"}, {"a": "b\n"}])),
        ("labels.a", json!([1])),
        ("retries", json!([11, -1, "x"])),
        ("trustRepository", json!(["yes", 1])),
        ("base", json!(["main", 1, "-x"])),
        ("surprise", json!([1])),
    ];
    let each = |(field, values): (&'static str, Value)| {
        values.as_array().unwrap().iter().map(move |value| (field, value.clone())).collect()
    };
    let all: Vec<Vec<_>> = wrong.into_iter().map(each).collect();
    all.concat()
}

fn with(good: &Value, field: &str, value: Value) -> Value {
    let mut body = good.clone();
    match field.split_once('.') {
        Some(("concurrency", inner)) => body["concurrency"] = json!({"key": "k", inner: value}),
        Some((outer, inner)) => body[outer] = json!({inner: value}),
        None => body[field] = value,
    }
    body
}

/// A door that does not know an outer field says so of that one.
fn is_named(named: &str, field: &str) -> bool {
    named == field || field.split_once('.').is_some_and(|(outer, _)| named == outer)
}

/// Knocks with everything that is wrong; `optional` fields may also be null.
async fn refuses_all_that_is_wrong(door: &Door) {
    let mut faults = Vec::new();
    for (field, value) in wrong_values() {
        let optional = !["prompt", "repoUrl"].contains(&field) && !field.contains("Seconds");
        if value.is_null() && optional && field != "deliver.mode" {
            continue;
        }
        let body = with(&door.good, field, value).to_string();
        let (status, error) = refusal(door, body.clone()).await;
        let named = error["field"].as_str().unwrap_or_default();
        let is_told = error["message"].as_str().is_some_and(|message| message.contains(named));
        if status != 422 || !is_named(named, field) || !is_told {
            faults.push(format!("{body}: {status}: {error}"));
        }
    }
    assert!(faults.is_empty(), "{}: {faults:#?}", door.url);
    for field in door.good.as_object().unwrap().keys() {
        let mut body = door.good.clone();
        body.as_object_mut().unwrap().remove(field);
        let (status, error) = refusal(door, body.to_string()).await;
        assert_eq!((status, &error["code"]), (422, &json!("missing_field")), "{error}");
        assert_eq!(error["field"], *field);
    }
    for body in [&b""[..], b"{", b"nonsense", b"\xff\xfe", b"{\"prompt\":\"\xff\"}", b"{}{}", b"\0"]
    {
        let (status, error) = refusal(door, body.to_vec()).await;
        let words = String::from_utf8_lossy(body);
        assert!((400..=422).contains(&status), "{}: {words}: {status}: {error}", door.url);
    }
    let mut large = door.good.clone();
    large["prompt"] = json!("x".repeat(2 * 1024 * 1024));
    let (status, error) = refusal(door, large.to_string()).await;
    assert_eq!((status, &error["code"]), (413, &json!("body_too_large")), "{}: {error}", door.url);
    let (status, error) = refusal(door, "[".repeat(100_000)).await;
    assert!((400..=422).contains(&status), "{}: {status}: {error}", door.url);
    let login = with(&door.good, "repoUrl", json!("ftp://me:hunter2hunter2@host/x")).to_string();
    let (status, error) = refusal(door, login).await;
    assert_eq!(status, 422);
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[tokio::test]
async fn the_gateway_refuses_all_that_is_wrong_and_then_does_a_good_job() {
    let (stack, server) = (Setup::new().start().await, GitServer::start());
    server.repository("demo", |repository| {
        repository.file("a.txt", "a\n").commit("first");
    });
    let good = json!({"prompt": "echo b > b.txt", "repoUrl": server.url(Access::Public, "demo")});
    let door = Door { url: stack.url("/api/workflow"), good };
    refuses_all_that_is_wrong(&door).await;
    // The workers have said which agents they have.
    let stranger = with(&door.good, "agent", json!("nobody")).to_string();
    let (status, error) = refusal(&door, stranger).await;
    assert_eq!((status, &error["field"]), (422, &json!("agent")), "{error}");
    assert!(error["message"].as_str().unwrap().contains("nobody"), "{error}");
    assert_eq!(stack.get("/api/jobs").await["jobs"], json!([]), "nothing was accepted");
    assert_eq!(stack.run(&door.good).await.ending(), "completed");
}

#[tokio::test]
async fn a_worker_refuses_all_that_is_wrong_and_then_does_a_good_job() {
    let (folder, server) = (tempfile::tempdir().unwrap(), GitServer::start());
    server.repository("demo", |repository| {
        repository.file("a.txt", "a\n").commit("first");
    });
    let url = server.url(Access::Public, "demo");
    for (name, path, good, ending) in [
        ("git-pull", "/api/pull", json!({"repoUrl": url}), "completed"),
        ("git-pull", "/api/deliver", json!({"repoUrl": url}), "failed directory_not_found"),
        ("claude-exec", "/api/execute", json!({"prompt": "true"}), "completed"),
    ] {
        let mut worker = worker(name, &folder);
        let door = Door { url: worker.url(path).await, good };
        refuses_all_that_is_wrong(&door).await;
        let status = http::client().get(worker.url("/status").await).send().await.unwrap();
        assert_eq!(status.text().await.unwrap(), r#"{"status":"idle"}"#, "{name}");
        let post = http::client().post(&door.url).body(door.good.to_string()).send().await.unwrap();
        let ended = Ended::of(Events::of(post).await.rest().await);
        assert_eq!(ended.ending(), ending, "{}", ended.outcome);
        assert!(worker.exit().await.success(), "{name}");
    }
}

#[tokio::test]
async fn a_workflow_refuses_all_that_is_wrong_and_stays_idle() {
    let folder = tempfile::tempdir().unwrap();
    let worker = worker("workflow", &folder);
    let good = json!({"prompt": "x", "repoUrl": "https://host/x"});
    let door = Door { url: worker.url("/api/workflow").await, good };
    refuses_all_that_is_wrong(&door).await;
    let status = http::client().get(worker.url("/status").await).send().await.unwrap();
    assert_eq!(status.text().await.unwrap(), r#"{"status":"idle"}"#);
}

#[tokio::test]
async fn a_worker_says_what_is_wrong_with_a_position_and_goes_on_with_its_job() {
    let folder = tempfile::tempdir().unwrap();
    let mut worker = worker("claude-exec", &folder);
    let post = http::client().post(worker.url("/api/execute").await);
    let prompt = "echo ready; while [ ! -e go ]; do sleep 0.05; done; echo done";
    let post = post.body(json!({"prompt": prompt}).to_string()).send().await.unwrap();
    let mut events = Events::of(post).await;
    let ready = events.until(|frame| frame.data.contains("\"ready\"")).await.json();
    let job = ready["jobId"].as_str().unwrap();
    let url = worker.url("/api/jobs").await;
    let get = |path: &str| http::client().get(format!("{url}/{path}"));
    let events_with = |header: &[u8]| get(&format!("{job}/events")).header("last-event-id", header);
    let long = "x".repeat(5000);
    for (request, status, code, words) in [
        (
            events_with(b"999"),
            400,
            "malformed",
            "Last-Event-ID is 999, but the job's last event is",
        ),
        (events_with(b"-1"), 400, "malformed", "Last-Event-ID is \"-1\"; it must be"),
        (events_with(b""), 400, "malformed", "Last-Event-ID is \"\"; it must be"),
        (events_with(b"\xff"), 400, "malformed", "Last-Event-ID is"),
        (events_with(b"1").header("last-event-id", "1"), 400, "malformed", "more than once"),
        (get(&format!("{job}/events?after=x")), 400, "malformed", "after is \"x\"; it must be"),
        (get(&format!("{job}/events?after=1&after=1")), 400, "malformed", "duplicate field"),
        (get(&format!("{job}/events?before=1")), 400, "malformed", "unknown field `before`"),
        (get("%ff/events"), 400, "malformed", "the path is not UTF-8"),
        (get(&format!("{long}/events")), 404, "not_found", "this worker has no job \"xxx"),
        (get("nonsense"), 404, "not_found", "this worker has no job \"nonsense\""),
    ] {
        let answer = request.send().await.unwrap();
        let told = (answer.status().as_u16(), answer.text().await.unwrap());
        let body: Value = serde_json::from_str(&told.1).unwrap_or_else(|_| panic!("{told:?}"));
        assert_eq!((told.0, &body["error"]["code"]), (status, &json!(code)), "{told:?}");
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains(words) && message.len() < 200, "{words}: {message}");
    }
    let go = folder.path().join("jobs").join(job).join("repo/go");
    std::fs::write(go, "").unwrap();
    let last = events.rest().await.pop().unwrap();
    assert_eq!(last.event, "completed", "{last:?}");
    assert!(worker.exit().await.success());
}
