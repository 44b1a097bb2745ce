//! Jobs for agents that no attached worker has.

use serde_json::{Value, json};
use service::client::{Attachment, ClientError};
use service::protocol::worker::Attach;
use service::protocol::{ErrorCode, WorkerId, WorkerKind};

use crate::support::{Gateway, job_with, submission};

/// The gateway sees a claude-exec with these agents and no other, as long as the line is kept.
async fn claude_exec(gateway: &Gateway, agents: &[&str]) -> Attachment {
    let line = attached(gateway, agents).await;
    gateway.workers("claude-exec", "idle", 1).await;
    line
}

async fn attached(gateway: &Gateway, agents: &[&str]) -> Attachment {
    let attach = Attach {
        id: WorkerId::random(),
        kind: WorkerKind::ClaudeExec,
        port: 3000,
        workspace: None,
        node: "node-1".to_owned(),
        version: "1".to_owned(),
        agents: agents.iter().map(|name| (*name).to_owned()).collect(),
        job: None,
        is_leaving: false,
        succeeds: None,
    };
    gateway.inside().attach(&attach).await.unwrap()
}

/// The field and the sentence with which a job is refused, if it is.
async fn refusal(gateway: &Gateway, more: Value) -> Option<(String, String)> {
    let body = job_with("hello", more);
    match gateway.endpoint().submit_async(submission(&body)).await {
        Ok(_) => None,
        Err(ClientError::Rejected { status: 422, body, .. }) => {
            assert_eq!(body.error.code, ErrorCode::NotSupported);
            Some((body.error.field.unwrap(), body.error.message))
        }
        Err(error) => panic!("{error}"),
    }
}

fn field(refusal: Option<(String, String)>) -> Option<String> {
    refusal.map(|(field, _)| field)
}

#[tokio::test]
async fn an_agent_that_no_attached_worker_has_is_refused_before_any_pull() {
    let gateway = Gateway::start().await;
    let codex = || json!({"agent": "codex"});
    assert_eq!(refusal(&gateway, codex()).await, None, "nobody knows yet who will come");
    let line = claude_exec(&gateway, &["claude", "command"]).await;
    let message = "agent \"codex\" is not known to any attached worker; known: claude, command";
    let refused = Some(("agent".to_owned(), message.to_owned()));
    assert_eq!(refusal(&gateway, codex()).await, refused);
    for known in [json!({"agent": "claude"}), json!({"agent": "command"}), json!({})] {
        assert_eq!(refusal(&gateway, known).await, None);
    }
    drop(line);
    gateway.workers("claude-exec", "idle", 0).await;
    // One of an earlier version does not say.
    let _line = claude_exec(&gateway, &[]).await;
    assert_eq!(refusal(&gateway, codex()).await, None);
}

#[tokio::test]
async fn an_agent_whose_only_worker_is_between_two_lives_is_still_known() {
    let gateway = Gateway::start().await;
    let _stays = attached(&gateway, &["claude"]).await;
    let goes = attached(&gateway, &["command"]).await;
    gateway.workers("claude-exec", "idle", 2).await;
    drop(goes);
    gateway.workers("claude-exec", "idle", 1).await;
    assert_eq!(refusal(&gateway, json!({"agent": "command"})).await, None);
    let refused = refusal(&gateway, json!({"agent": "codex"})).await;
    assert_eq!(field(refused).as_deref(), Some("agent"));
}

#[tokio::test]
async fn a_limit_that_the_agent_cannot_keep_is_refused_before_any_pull() {
    let gateway = Gateway::start().await;
    let cost = |agent: &str| json!({"agent": agent, "limits": {"maxCostUsd": 1.0}});
    let turns = || json!({"limits": {"maxTurns": 3}});
    let line = claude_exec(&gateway, &["claude", "command"]).await;
    assert_eq!(refusal(&gateway, cost("claude")).await, None);
    assert_eq!(refusal(&gateway, turns()).await, None);
    let refused = refusal(&gateway, cost("command")).await;
    assert_eq!(field(refused).as_deref(), Some("limits.maxCostUsd"));
    drop(line);
    gateway.workers("claude-exec", "idle", 0).await;
    // Now it is the default.
    let _line = claude_exec(&gateway, &["command", "claude"]).await;
    assert_eq!(field(refusal(&gateway, turns()).await).as_deref(), Some("limits.maxTurns"));
    assert_eq!(refusal(&gateway, cost("claude")).await, None);
}
