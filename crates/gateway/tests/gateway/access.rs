//! Who may see and do what.

use crate::support::{Gateway, Setup, job, list, submission, submit};
use service::client::{ClientError, Endpoint, EventStream, Patience};
use service::protocol::{ErrorCode, JobId};

const TOKENS: &str = r#"[
    { "name": "reader", "token": "reader-reader-reader", "scopes": ["read"] },
    { "name": "sender", "token": "sender-sender-sender", "scopes": ["submit"] },
    { "name": "alice", "token": "alice-alice-alice", "scopes": ["read", "submit"] },
    { "name": "bob", "token": "bob-bob-bob-bob-bob", "scopes": ["read", "submit"] },
    { "name": "ops", "token": "ops-ops-ops-ops-ops", "scopes": ["admin"] }
]"#;

async fn start() -> Gateway {
    Gateway::with(Setup { tokens: Some(TOKENS), ..Setup::default() }).await
}

fn code<T>(result: Result<T, ClientError>) -> Option<ErrorCode> {
    result.err().and_then(|error| error.code())
}

#[tokio::test]
async fn without_a_token_only_the_gateways_own_state_is_shown() {
    let gateway = start().await;
    for stranger in [gateway.endpoint(), gateway.as_caller("alice-alice-alicf")] {
        let body = job("p");
        let submitted = stranger.submit_async(submission(&body)).await;
        assert_eq!(code(submitted), Some(ErrorCode::Unauthorized));
        assert_eq!(code(stranger.job(JobId::random()).await), Some(ErrorCode::Unauthorized));
    }
    for path in ["/health", "/health/live", "/health/ready", "/status", "/metrics", "/openapi.json"]
    {
        let answer = gateway.http().get(gateway.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn a_token_does_what_its_scopes_say() {
    let gateway = start().await;
    let reader = gateway.as_caller("reader-reader-reader");
    let body = job("p");
    let submitted = reader.submit_async(submission(&body)).await;
    assert_eq!(code(submitted), Some(ErrorCode::Forbidden));
    assert_eq!(code(reader.cancel(JobId::random()).await), Some(ErrorCode::Forbidden));
    assert!(list(&reader).await.is_empty());
}

#[tokio::test]
async fn whoever_may_submit_may_follow_the_job_again() {
    let gateway = start().await;
    let sender = gateway.as_caller("sender-sender-sender");
    let id = submit(&sender, &job("p")).await.job();
    let mut again = EventStream::new(sender.clone(), id, 0, Patience::GATEWAY);
    assert_eq!(again.next_batch().await.unwrap().unwrap()[0].event, "accepted");
    assert_eq!(code(sender.job(id).await), Some(ErrorCode::Forbidden));
}

#[tokio::test]
async fn anothers_job_looks_as_if_there_were_none() {
    let gateway = start().await;
    let [alice, bob, ops]: [Endpoint; 3] =
        ["alice-alice-alice", "bob-bob-bob-bob-bob", "ops-ops-ops-ops-ops"]
            .map(|token| gateway.as_caller(token));
    let id = submit(&alice, &job("p")).await.job();
    assert_eq!(alice.job(id).await.unwrap().submitted_by.as_deref(), Some("alice"));
    for result in [bob.job(id).await, bob.cancel(id).await] {
        let error = result.unwrap_err();
        assert_eq!(error.to_string(), format!("there is no job \"{id}\""));
        assert_eq!(error.code(), Some(ErrorCode::NotFound));
    }
    assert_eq!(code(bob.patch(id).await), Some(ErrorCode::NotFound));
    let events = gateway.http().get(gateway.url(&format!("/api/jobs/{id}/events")));
    let events = events.bearer_auth("bob-bob-bob-bob-bob").send().await.unwrap();
    assert_eq!(events.status(), 404);
    assert!(list(&bob).await.is_empty());
    assert_eq!(list(&ops).await, [id]);
    assert!(ops.cancel(id).await.unwrap().state.is_terminal());
}

#[tokio::test]
async fn keys_of_one_token_are_not_those_of_another() {
    let gateway = start().await;
    let [alice, bob] = ["alice-alice-alice", "bob-bob-bob-bob-bob"].map(|t| gateway.as_caller(t));
    let concurrency = serde_json::json!({ "concurrency": { "key": "k", "onConflict": "reject" } });
    let body = crate::support::job_with("p", concurrency);
    let keyed = || service::client::Submission { idempotency_key: Some("k"), ..submission(&body) };
    let first = alice.submit_async(keyed()).await.unwrap().id;
    let second = bob.submit_async(keyed()).await.unwrap().id;
    assert_ne!(first, second);
}
