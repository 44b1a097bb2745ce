//! The HTTP routes of a worker.

use std::pin::Pin;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use client::NamedJob;
use protocol::headers::{ATTEMPT, CONFIRMATION, JOB, REASON};
use protocol::job::{Cancellation, Wish};
use protocol::worker::{Busyness, Status};
use protocol::{ErrorCode, Outcome, Reason, WorkerKind, request};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::config::OneShotConfig;
use super::job::{Job, Stop};
use super::openapi;
use super::shift::Shift;
use super::slot::{Slot, Taken};
use crate::browsers::Admission;
use crate::error::{ApiError, no_such_method, no_such_route};
use crate::extract::{NameInPath, Params};
use crate::{auth, body, browsers, event_stream, health};

/// The work of a job that has been checked, ready to be started.
pub(super) type Work = Box<dyn FnOnce(Job) -> Pin<Box<dyn Future<Output = Outcome> + Send>> + Send>;

/// A shift whose request type is hidden.
pub(super) type Prepare = Arc<dyn Fn(&[u8]) -> Result<Work, ApiError> + Send + Sync>;

/// What the handlers share.
#[derive(Clone)]
pub(super) struct Worker {
    pub(super) slot: Arc<Slot>,
    pub(super) kind: WorkerKind,
    pub(super) start: mpsc::Sender<(Job, Work)>,
    pub(super) openapi: Arc<[openapi::Route]>,
}

/// Hides a shift's request type.
pub(super) fn prepare<S: Shift>(shift: Arc<S>) -> Prepare {
    Arc::new(move |body| {
        let request = request::parse::<S::Request>(body)?;
        shift.admit(&request)?;
        let shift = Arc::clone(&shift);
        Ok(Box::new(move |job| Box::pin(async move { shift.run(request, job).await })))
    })
}

/// The routes of a worker that does `shifts`.
pub(super) fn router(
    worker: Worker,
    shifts: Vec<(&'static str, Prepare)>,
    config: &OneShotConfig,
) -> Router {
    let mut api = Router::new()
        .route("/api/jobs/{id}", get(show).delete(cancel))
        .route("/api/jobs/{id}/events", get(events));
    for (route, prepare) in shifts {
        let handler = move |State(worker): State<Worker>, request: Request| async move {
            accept(&worker, &prepare, request).await
        };
        api = api.route(&format!("/api/{route}"), post(handler));
    }
    let tokens = config.accepted.clone();
    let admission = Admission::of(config.cluster_token.is_some(), config.listen);
    api.route_layer(from_fn_with_state(tokens, auth::require_cluster_token))
        .route_layer(from_fn_with_state(admission, browsers::refuse_strangers_pages))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(ready))
        .route("/health", get(describe))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(describe_api))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .with_state(worker)
}

/// Takes the job, or says why not; a request that is refused does not use the worker up.
async fn accept(
    worker: &Worker,
    prepare: &Prepare,
    request: Request,
) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let named = named_job(&head.headers)?;
    // Only another service names the job.
    let body = match named {
        Some(_) => body::read_passed_on(body).await?,
        None => body::read(body).await?,
    };
    let work = prepare(&body)?;
    let job = match worker.slot.take(named) {
        Taken::New(job) => {
            let started = worker.start.try_send((job.clone(), work));
            started.map_err(|_| ApiError::internal(&"the worker no longer starts jobs"))?;
            job
        }
        Taken::Same(job) => job,
        Taken::Busy => {
            let message = "this worker has its one job already; ask another, or again later";
            return Err(ApiError::new(ErrorCode::Busy, message).retry_after(1));
        }
        Taken::Closed => return Err(stopping()),
    };
    if event_stream::prefers_async(&head.headers) {
        let location = format!("/api/jobs/{}", job.id());
        let headers = [
            (header::LOCATION, location),
            (header::HeaderName::from_static(JOB), job.id().to_string()),
        ];
        return Ok((StatusCode::ACCEPTED, headers, Json(job.view())).into_response());
    }
    Ok(follow(worker, &job, 0))
}

fn stopping() -> ApiError {
    ApiError::new(ErrorCode::Unavailable, "this worker is stopping").retry_after(1)
}

/// The job and attempt that a service inside the cluster names.
fn named_job(headers: &HeaderMap) -> Result<Option<NamedJob>, ApiError> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let malformed = |message: String| ApiError::new(ErrorCode::Malformed, message);
    let Some(id) = text(JOB) else { return Ok(None) };
    let id = id.parse().map_err(|error| malformed(format!("Oneshift-Job: {error}")))?;
    let attempt = text(ATTEMPT).unwrap_or("1");
    match attempt.parse() {
        Ok(attempt @ 1..) => {
            let needs_confirmation = text(CONFIRMATION) == Some("required");
            Ok(Some(NamedJob { id, attempt, needs_confirmation }))
        }
        _ => Err(malformed("Oneshift-Attempt must be a number from 1".to_owned())),
    }
}

/// The job's stream; the worker exits once somebody has read it to the end, unless that has to be
/// confirmed.
fn follow(worker: &Worker, job: &Job, position: u64) -> Response {
    let reader = worker.slot.reader();
    let frames = Box::pin(Arc::clone(&job.shared.log).follow(position));
    let lines = Box::pin(event_stream::lines(frames));
    event_stream::answer(job.id(), reader.watch(lines, !job.shared.needs_confirmation))
}

fn find(worker: &Worker, id: &str) -> Result<Job, ApiError> {
    let job = worker.slot.job().filter(|job| job.id().to_string() == id);
    job.ok_or_else(|| {
        let shown: String = id.chars().take(80).collect();
        ApiError::not_found(format!("this worker has no job {shown:?}"))
    })
}

async fn show(
    State(worker): State<Worker>,
    NameInPath(id): NameInPath,
) -> Result<Response, ApiError> {
    Ok(Json(find(&worker, &id)?.view()).into_response())
}

/// Asks the job to end; harmless when it has been asked before, or has ended.
async fn cancel(
    State(worker): State<Worker>,
    NameInPath(id): NameInPath,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let job = find(&worker, &id)?;
    if job.shared.outcome.get().is_some() {
        return Ok(Json(Cancellation::new(job.view(), Wish::Late)).into_response());
    }
    let wish = if job.stop().is_some() { Wish::Repeated } else { Wish::First };
    let reason = headers
        .get(REASON)
        .map_or(Reason::CancelRequested, |code| Reason::of_code(code.to_str().unwrap_or_default()));
    job.request_stop(Stop::asked(reason));
    Ok((StatusCode::ACCEPTED, Json(Cancellation::new(job.view(), wish))).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsParams {
    after: Option<String>,
}

async fn events(
    State(worker): State<Worker>,
    NameInPath(id): NameInPath,
    Params(params): Params<EventsParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let job = find(&worker, &id)?;
    let head = job.shared.log.head();
    let position = event_stream::position(&headers, params.after.as_deref(), head.last)?;
    if head.has_ended && position == head.last {
        // Who asks for what comes after the end has everything.
        worker.slot.set_delivered();
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Ok(follow(&worker, &job, position))
}

async fn ready(State(worker): State<Worker>) -> Response {
    let status = if is_busy(&worker) { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, Json(busyness(&worker))).into_response()
}

async fn status(State(worker): State<Worker>) -> Json<Status> {
    Json(busyness(&worker))
}

async fn describe(State(worker): State<Worker>) -> Json<Value> {
    Json(json!({
        "status": busyness(&worker).status,
        "kind": worker.kind,
        "version": env!("CARGO_PKG_VERSION"),
        "job": worker.slot.job().map(|job| job.id()),
    }))
}

async fn metrics(State(worker): State<Worker>) -> String {
    format!(
        "# HELP oneshift_worker_busy Whether the worker has its one job.\n\
         # TYPE oneshift_worker_busy gauge\n\
         oneshift_worker_busy{{kind=\"{}\"}} {}\n",
        worker.kind,
        u8::from(is_busy(&worker))
    )
}

async fn describe_api(State(worker): State<Worker>) -> Json<Value> {
    Json(openapi::document(worker.kind, &worker.openapi))
}

fn is_busy(worker: &Worker) -> bool {
    worker.slot.job().is_some()
}

fn busyness(worker: &Worker) -> Status {
    Status { status: if is_busy(worker) { Busyness::Busy } else { Busyness::Idle } }
}
