//! `POST /api/workflow`: a job comes in.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use serde::Deserialize;
use service::extract::{Params, malformed};
use service::protocol::JobId;
use service::protocol::headers::{IDEMPOTENCY_KEY, JOB};
use service::protocol::request::{WorkflowRequest, parse};
use service::{ApiError, body, event_stream};

use crate::caller::Caller;
use crate::gateway::Gateway;
use crate::submit::{Submission, Submitted};
use crate::tether::Tether;
use crate::tokens::Scope;

/// Longest `Idempotency-Key`, in bytes.
const MAX_KEY_BYTES: usize = 256;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SubmitParams {
    on_disconnect: Option<OnDisconnect>,
}

/// What becomes of the job when the one who submitted it goes away.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum OnDisconnect {
    Continue,
    Cancel,
}

pub(super) async fn submit(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Params(params): Params<SubmitParams>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.require(Scope::Submit)?;
    let is_async = event_stream::prefers_async(&headers);
    let ends_with_caller = params.on_disconnect == Some(OnDisconnect::Cancel);
    if is_async && ends_with_caller {
        let message = "onDisconnect=cancel and Prefer: respond-async exclude each other";
        return Err(malformed(message));
    }
    let idempotency_key = idempotency_key(&headers)?;
    let request: WorkflowRequest = parse(&body::read(body).await?)?;
    let token = Arc::clone(&caller.name);
    let submission = Submission { token, request, idempotency_key, ends_with_caller };
    let Submitted { job, from, followed, tether } = gateway.submit(submission).await?;
    if is_async {
        return accepted(&gateway, job.id).await;
    }
    let events = gateway.follow(job, from, followed);
    Ok(event_stream::respond(job.id, kept_together(tether, events)))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=MAX_KEY_BYTES).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => Err(malformed("Idempotency-Key must be 1 to 256 printable ASCII characters")),
    }
}

async fn accepted(gateway: &Gateway, id: JobId) -> Result<Response, ApiError> {
    let record = gateway.store.job(id).await?;
    let record = record
        .ok_or_else(|| ApiError::internal(&format!("job {id} was accepted and is not there")))?;
    let headers = [
        (header::LOCATION, format!("/api/jobs/{id}")),
        (HeaderName::from_static(JOB), id.to_string()),
    ];
    Ok((StatusCode::ACCEPTED, headers, Json(record.job)).into_response())
}

/// The events; the tether is kept for as long as somebody may read them.
fn kept_together(
    tether: Option<Tether>,
    events: impl Stream<Item = Bytes> + Send + 'static,
) -> impl Stream<Item = Bytes> + Send + 'static {
    events.inspect(move |_| {
        let _kept = &tether;
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;
    use secrecy::SecretString;
    use serde_json::json;
    use service::auth::ClusterTokens;
    use service::protocol::Reason;
    use service::protocol::job::{Job, JobState};
    use tempfile::TempDir;

    use super::*;
    use crate::config::Config;
    use crate::store::{Filter, Record, Store, Writing};

    fn gateway() -> (Arc<Gateway>, Writing, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let token = SecretString::from("the inside's own secret");
        let config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            data: folder.path().to_owned(),
            accepted: ClusterTokens::of(&token),
            cluster_token: token,
            tokens: None,
            max_queued: 10,
            max_event_bytes: 100_000,
            keep_jobs: None,
            reattach: Duration::ZERO,
            store_wait: Duration::ZERO,
        };
        let live = Arc::default();
        let store = Store::open(&config.data, Duration::ZERO, 100_000, Arc::clone(&live));
        let (store, writing) = store.unwrap();
        (Gateway::new(store, live, &config).unwrap(), writing, folder)
    }

    /// The only job, as soon as it is there and meets the condition.
    async fn job(gateway: &Gateway, is_right: impl Fn(&Job) -> bool) -> Job {
        loop {
            let all = Filter { limit: 10, ..Filter::default() };
            let (mut records, _) = gateway.store.jobs(all).await.unwrap();
            assert!(records.len() <= 1);
            if let Some(Record { job, .. }) = records.pop().filter(|it| is_right(&it.job)) {
                return job;
            }
            tokio::task::yield_now().await;
        }
    }

    fn post(
        gateway: &Arc<Gateway>,
        on_disconnect: OnDisconnect,
    ) -> impl Future<Output = Result<Response, ApiError>> {
        let mut headers = HeaderMap::new();
        headers.insert(IDEMPOTENCY_KEY, "k".parse().unwrap());
        let body = json!({ "prompt": "p", "repoUrl": "https://host/org/repo" }).to_string();
        let params = Params(SubmitParams { on_disconnect: Some(on_disconnect) });
        let state = State(Arc::clone(gateway));
        submit(state, Caller::anybody(), params, headers, Body::from(body))
    }

    #[tokio::test]
    async fn a_caller_that_leaves_before_the_answer_leaves_no_job_that_was_to_end_with_it() {
        let (gateway, _writing, _folder) = gateway();
        // The job is being stored.
        assert!(post(&gateway, OnDisconnect::Cancel).now_or_never().is_none());
        let job = job(&gateway, |job| job.state.is_terminal()).await;
        assert_eq!(job.outcome.unwrap().reason, Some(Reason::CallerLost));
    }

    #[tokio::test]
    async fn a_job_that_is_known_already_ends_with_its_second_caller_if_that_wants_it() {
        let (gateway, _writing, _folder) = gateway();
        let first = post(&gateway, OnDisconnect::Continue).await.unwrap();
        assert!(post(&gateway, OnDisconnect::Cancel).now_or_never().is_none());
        job(&gateway, |job| job.state == JobState::Cancelled).await;
        drop(first);
    }

    #[tokio::test]
    async fn a_caller_that_leaves_before_the_answer_leaves_its_job_unless_it_said_otherwise() {
        let (gateway, writing, _folder) = gateway();
        assert!(post(&gateway, OnDisconnect::Continue).now_or_never().is_none());
        job(&gateway, |_| true).await;
        gateway.tasks.close();
        gateway.tasks.wait().await;
        writing.close().await;
        assert_eq!(job(&gateway, |_| true).await.state, JobState::Queued);
    }
}
