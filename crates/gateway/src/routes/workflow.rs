//! `POST /api/workflow`: a job comes in.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::Stream;
use serde::Deserialize;
use service::extract::{Params, malformed};
use service::protocol::headers::{IDEMPOTENCY_KEY, JOB};
use service::protocol::request::{WorkflowRequest, parse};
use service::protocol::{JobId, Reason};
use service::{ApiError, body, event_stream};

use crate::caller::Caller;
use crate::follow::From;
use crate::gateway::Gateway;
use crate::job_ref::JobRef;
use crate::store::Record;
use crate::submit::{Submission, Submitted};
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
    let cancels = params.on_disconnect == Some(OnDisconnect::Cancel);
    if is_async && cancels {
        let message = "onDisconnect=cancel and Prefer: respond-async exclude each other";
        return Err(malformed(message));
    }
    let idempotency_key = idempotency_key(&headers)?;
    let request: WorkflowRequest = parse(&body::read(body).await?)?;
    let submission = Submission { token: Arc::clone(&caller.name), request, idempotency_key };
    let (job, from, followed) = match gateway.submit(submission).await? {
        Submitted::New(job, _) if is_async => return accepted(record(&gateway, job.id).await?),
        Submitted::Known(id) if is_async => return accepted(record(&gateway, id).await?),
        Submitted::New(job, followed) => (job, From::Start, followed),
        Submitted::Known(id) => {
            let followed = gateway.live.subscribe(id);
            let row = record(&gateway, id).await?.row;
            (JobRef { id, row }, From::After(0), followed)
        }
    };
    let events = gateway.follow(job, from, followed);
    if cancels {
        return Ok(event_stream::respond(job.id, cancel_if_dropped(gateway, job, events)));
    }
    Ok(event_stream::respond(job.id, events))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=MAX_KEY_BYTES).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => Err(malformed("Idempotency-Key must be 1 to 256 printable ASCII characters")),
    }
}

async fn record(gateway: &Gateway, id: JobId) -> Result<Record, ApiError> {
    let record = gateway.store.job(id).await?;
    record.ok_or_else(|| ApiError::internal(&format!("job {id} was accepted and is not there")))
}

fn accepted(record: Record) -> Result<Response, ApiError> {
    let id = record.job.id;
    let headers = [
        (header::LOCATION, format!("/api/jobs/{id}")),
        (HeaderName::from_static(JOB), id.to_string()),
    ];
    Ok((StatusCode::ACCEPTED, headers, Json(record.job)).into_response())
}

/// Cancels the job when its stream is dropped before its end.
fn cancel_if_dropped(
    gateway: Arc<Gateway>,
    job: JobRef,
    events: impl Stream<Item = Bytes> + Send + 'static,
) -> impl Stream<Item = Bytes> + Send + 'static {
    struct Guard {
        gateway: Arc<Gateway>,
        job: JobRef,
    }
    impl Drop for Guard {
        fn drop(&mut self) {
            // A gateway that stops ends its streams itself; and a job that has ended stays as it is.
            if !self.gateway.stop.is_cancelled() {
                let (gateway, job) = (Arc::clone(&self.gateway), self.job);
                self.gateway.tasks.spawn(async move {
                    let _ = gateway.cancel(job, Reason::CallerLost).await;
                });
            }
        }
    }
    let guard = Guard { gateway, job };
    async_stream::stream! {
        let _guard = guard;
        let mut events = std::pin::pin!(events);
        while let Some(bytes) = futures_util::StreamExt::next(&mut events).await {
            yield bytes;
        }
    }
}
