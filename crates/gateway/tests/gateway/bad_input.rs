//! What callers get wrong, and what they are told.

use crate::support::{CLUSTER_TOKEN, Gateway, event, job, job_with, read_all};
use crate::worker::Worker;
use serde_json::{Value, json};
use service::protocol::JobId;
use service::protocol::job::JobState;

struct Refusal {
    status: u16,
    code: String,
    field: Option<String>,
    message: String,
}

async fn refusal(request: reqwest::RequestBuilder) -> Refusal {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let text = |name: &str| body["error"][name].as_str().map(str::to_owned);
    Refusal {
        status,
        code: text("code").unwrap(),
        field: text("field"),
        message: text("message").unwrap(),
    }
}

#[tokio::test]
async fn a_bad_job_is_refused_with_the_field_that_is_wrong() {
    let gateway = Gateway::start().await;
    let cases = [
        (json!({ "repoUrl": "https://h/r" }), "missing_field", "prompt"),
        (job_with("p", json!({ "repoURL": "x" })), "unknown_field", "repoURL"),
        (job_with("p", json!({ "prompt": 1 })), "invalid_field", "prompt"),
        (job_with("p", json!({ "limits": { "maxTurns": 0 } })), "invalid_field", "limits.maxTurns"),
        (job_with("p", json!({ "repoUrl": "https://h/\n" })), "invalid_field", "repoUrl"),
        (job_with("p", json!({ "branch": "-x" })), "invalid_field", "branch"),
        (job_with("p", json!({ "directory": "../x" })), "invalid_field", "directory"),
        (
            job_with("p", json!({ "deliver": { "mode": "branch" } })),
            "not_supported",
            "deliver.mode",
        ),
        (job_with("p", json!({ "retries": 99 })), "invalid_field", "retries"),
        (job("p\0"), "invalid_field", "prompt"),
    ];
    for (body, code, field) in cases {
        let request = gateway.http().post(gateway.url("/api/workflow")).body(body.to_string());
        let refusal = refusal(request).await;
        assert_eq!((refusal.status, refusal.code.as_str()), (422, code), "{body}");
        assert_eq!(refusal.field.as_deref(), Some(field), "{body}");
        assert!(!refusal.message.contains("s3cret"));
    }
    assert!(crate::support::list(&gateway.endpoint()).await.is_empty());
}

#[tokio::test]
async fn what_is_not_a_job_at_all_is_malformed() {
    let gateway = Gateway::start().await;
    for body in [&b""[..], b"{", b"[]", b"\"x\"", b"{\"prompt\":\"\xff\"}", b"{} {}"] {
        let request = gateway.http().post(gateway.url("/api/workflow")).body(body.to_vec());
        let refusal = refusal(request).await;
        assert!([400, 422].contains(&refusal.status), "{}", refusal.message);
    }
    let large = vec![b' '; 2 * 1024 * 1024];
    let request = gateway.http().post(gateway.url("/api/workflow")).body(large);
    assert_eq!(refusal(request).await.status, 413);
}

#[tokio::test]
async fn bad_queries_and_headers_name_what_is_wrong() {
    let gateway = Gateway::start().await;
    let http = gateway.http();
    let get = |path: &str| http.get(gateway.url(path));
    let post = |path: &str| http.post(gateway.url(path)).body(job("p").to_string());
    let cases = [
        (get("/api/jobs?limit=0"), "limit"),
        (get("/api/jobs?limit=201"), "limit"),
        (get("/api/jobs?limit=x"), "limit"),
        (get("/api/jobs?cursor=x"), "cursor"),
        (get("/api/jobs?cursor=-1"), "cursor"),
        (get("/api/jobs?label=x"), "label"),
        (get("/api/jobs?state=sleeping"), "sleeping"),
        (get("/api/jobs?repo=--upload-pack=x"), "repoUrl"),
        (get("/api/jobs?lable=a=b"), "lable"),
        (post("/api/workflow?onDisconnect=explode"), "explode"),
        (post("/api/workflow?ondisconnect=cancel"), "ondisconnect"),
        (post("/api/workflow?onDisconnect=cancel").header("prefer", "respond-async"), "Prefer"),
        (post("/api/workflow").header("idempotency-key", ""), "Idempotency-Key"),
        (post("/api/workflow").header("idempotency-key", "x".repeat(300)), "Idempotency-Key"),
    ];
    for (request, word) in cases {
        let refusal = refusal(request).await;
        assert_eq!((refusal.status, refusal.code.as_str()), (400, "malformed"), "{word}");
        assert!(refusal.message.contains(word), "{word}: {}", refusal.message);
    }
    assert!(crate::support::list(&gateway.endpoint()).await.is_empty());
}

#[tokio::test]
async fn a_position_that_is_not_one_is_refused() {
    let gateway = Gateway::start().await;
    let id = gateway.submit(job("p")).await.job();
    gateway.until(id, JobState::Queued).await;
    let http = gateway.http();
    let url = gateway.url(&format!("/api/jobs/{id}/events"));
    let long = "9".repeat(5000);
    for (position, sentence) in [
        ("99", "is 99, but the job's last event is "),
        ("18446744073709551615", "is 18446744073709551615, but the job's last event is "),
        ("18446744073709551616", "is 18446744073709551616, but the job's last event is "),
        (&long, "9999, but the job's last event is "),
        ("-1", "is \"-1\"; it must be the id of an event, a number from 0"),
        ("+1", "is \"+1\"; it must be"),
        ("x", "is \"x\"; it must be"),
        ("0x1", "is \"0x1\"; it must be"),
        ("1e0", "is \"1e0\"; it must be"),
        ("1.5", "is \"1.5\"; it must be"),
        ("1,2", "is \"1,2\"; it must be"),
        ("1 2", "is \"1 2\"; it must be"),
        ("\u{661}", "it must be"),
        ("", "is \"\"; it must be"),
    ] {
        let query: String = position.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for (name, request) in [
            ("Last-Event-ID", http.get(&url).header("last-event-id", position)),
            ("after", http.get(format!("{url}?after={query}"))),
        ] {
            let refusal = refusal(request).await;
            let message = refusal.message;
            assert_eq!((refusal.status, refusal.code.as_str()), (400, "malformed"), "{message}");
            let is_clear = message.starts_with(name) && message.contains(sentence);
            assert!(is_clear && message.len() < 200, "{position:?}: {message}");
        }
    }
}

#[tokio::test]
async fn of_two_positions_the_header_counts_and_both_must_be_good() {
    let gateway = Gateway::start().await;
    let _worker = Worker::workflow(&gateway).await;
    let frames = read_all(gateway.submit(job("hello")).await).await;
    let http = gateway.http();
    let url = gateway.url(&format!("/api/jobs/{}/events", event(&frames[0]).job_id));
    let get = |after: &str, header: &str| {
        http.get(format!("{url}?after={after}")).header("last-event-id", header)
    };
    let text = get("3", "1").send().await.unwrap().text().await.unwrap();
    assert!(text.contains("id: 2\n") && !text.contains("id: 1\n"), "{text}");
    let text = get("1", "3").send().await.unwrap().text().await.unwrap();
    assert!(text.contains("id: 4\n") && !text.contains("id: 3\n"), "{text}");
    for (request, word) in [
        (get("x", "1"), "after is \"x\""),
        (get("1", "x"), "Last-Event-ID is \"x\""),
        (get("1", "1").header("last-event-id", "1"), "Last-Event-ID is given more than once"),
        (http.get(format!("{url}?after=1&after=1")), "duplicate field `after`"),
        (http.get(format!("{url}?before=1")), "unknown field `before`"),
        (http.get(&url).header("last-event-id", &b"\xff"[..]), "Last-Event-ID is"),
    ] {
        let refusal = refusal(request).await;
        assert_eq!((refusal.status, refusal.code.as_str()), (400, "malformed"), "{word}");
        assert!(refusal.message.contains(word), "{word}: {}", refusal.message);
    }
}

#[tokio::test]
async fn an_unknown_job_is_not_found_whatever_is_asked_of_it() {
    let gateway = Gateway::start().await;
    let http = gateway.http();
    let unknown = JobId::random().to_string();
    let long = "x".repeat(5000);
    for id in [unknown.as_str(), "x", "..%2f..", "%ff", "%00", &long] {
        for path in ["", "/events", "/events?after=1", "/patch"] {
            let refusal = refusal(http.get(gateway.url(&format!("/api/jobs/{id}{path}")))).await;
            let (status, code, words) = match id {
                "%ff" => (400, "malformed", "the path is not UTF-8"),
                _ => (404, "not_found", "there is no job "),
            };
            assert_eq!((refusal.status, refusal.code.as_str()), (status, code), "{id}{path}");
            let message = refusal.message;
            assert!(message.starts_with(words) && message.len() < 200, "{id}{path}: {message}");
        }
    }
    let refusal = refusal(http.delete(gateway.url(&format!("/api/jobs/{unknown}")))).await;
    assert_eq!((refusal.status, refusal.code.as_str()), (404, "not_found"));
}

#[tokio::test]
async fn unknown_routes_and_methods_are_told_apart() {
    let gateway = Gateway::start().await;
    let http = gateway.http();
    let missing = refusal(http.get(gateway.url("/api/nothing"))).await;
    assert_eq!((missing.status, missing.code.as_str()), (404, "not_found"));
    let wrong = refusal(http.put(gateway.url("/api/jobs"))).await;
    assert_eq!((wrong.status, wrong.code.as_str()), (405, "method_not_allowed"));
}

#[tokio::test]
async fn the_inside_refuses_strangers_and_nonsense() {
    let gateway = Gateway::start().await;
    let http = gateway.http();
    for path in ["/internal/workers", "/internal/leases"] {
        let stranger = refusal(http.post(gateway.url(path)).body("{}")).await;
        assert_eq!(stranger.status, 401, "{path}");
        let wrong = http.post(gateway.url(path)).bearer_auth("wrong").body("{}");
        assert_eq!(refusal(wrong).await.status, 401, "{path}");
        let nonsense = http.post(gateway.url(path)).bearer_auth(CLUSTER_TOKEN).body("{}");
        assert_eq!(refusal(nonsense).await.status, 400, "{path}");
    }
}
