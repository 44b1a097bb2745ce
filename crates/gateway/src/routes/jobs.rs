//! `/api/jobs`: look, follow, fetch, cancel.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::Stream;
use serde::Deserialize;
use service::extract::{NameInPath, Params, malformed};
use service::protocol::job::{Cancellation, JobPage, JobState, Wish};
use service::protocol::{Reason, RepoUrl};
use service::{ApiError, event_stream};

use crate::caller::Caller;
use crate::follow::From;
use crate::gateway::Gateway;
use crate::job_ref::JobRef;
use crate::store::{Filter, Record};
use crate::tokens::Scope;

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    state: Option<JobState>,
    label: Option<String>,
    repo: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsParams {
    after: Option<String>,
}

pub(super) async fn list(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Json<JobPage>, ApiError> {
    caller.require(Scope::Read)?;
    let token = (!caller.is_admin()).then(|| caller.name.to_string());
    let (records, has_more) = gateway.store.jobs(filter(params, token)?).await?;
    let last = records.last().map(|record| record.row.to_string());
    let jobs = records.into_iter().map(|record| gateway.with_wait(record.job)).collect();
    Ok(Json(JobPage { jobs, next_cursor: last.filter(|_| has_more) }))
}

fn filter(params: ListParams, token: Option<String>) -> Result<Filter, ApiError> {
    let limit = params.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(malformed(format!("limit is {limit}; it must be between 1 and {MAX_LIMIT}")));
    }
    let label = params.label.map(|label| match label.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(malformed("label must be of the form key=value")),
    });
    let before = params.cursor.map(|cursor| {
        let row = cursor.parse::<i64>().ok().filter(|row| *row > 0);
        row.ok_or_else(|| malformed("cursor is not one that a list of jobs has given"))
    });
    // In the form in which jobs show it.
    let repo = params.repo.map(|repo| RepoUrl::parse(&repo).map_err(malformed));
    Ok(Filter {
        token,
        state: params.state,
        label: label.transpose()?,
        repo: repo.transpose()?.map(|repo| repo.to_string()),
        before: before.transpose()?,
        limit,
    })
}

pub(super) async fn show(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    NameInPath(id): NameInPath,
) -> Result<Response, ApiError> {
    caller.require(Scope::Read)?;
    let job = caller.job(&gateway, &id).await?.job;
    Ok(Json(gateway.with_wait(job)).into_response())
}

pub(super) async fn events(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    NameInPath(id): NameInPath,
    Params(params): Params<EventsParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    // Whoever may submit follows the job, also after a broken connection.
    caller.require_any(&[Scope::Read, Scope::Submit])?;
    let Record { row, job, .. } = caller.job(&gateway, &id).await?;
    let position = event_stream::position(&headers, params.after.as_deref(), job.last_event)?;
    if job.state.is_terminal() && position == job.last_event {
        // What makes a browser's EventSource stop coming back (HTML standard, section 9.2.3).
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let followed = gateway.live.subscribe(job.id);
    let events = gateway.follow(JobRef { id: job.id, row }, From::After(position), followed);
    Ok(event_stream::respond(job.id, events))
}

pub(super) async fn patch(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    NameInPath(id): NameInPath,
) -> Result<Response, ApiError> {
    caller.require(Scope::Read)?;
    let Record { row, job, .. } = caller.job(&gateway, &id).await?;
    let outcome = job.outcome.ok_or_else(|| {
        ApiError::not_found(format!("job {} has not ended, so there is no patch yet", job.id))
    })?;
    if outcome.patch.is_none() {
        return Err(ApiError::not_found(format!("job {} has no patch", job.id)));
    }
    let headers = [
        (header::CONTENT_TYPE, "text/x-patch".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}.patch\"", job.id)),
    ];
    Ok((headers, Body::from_stream(pieces(gateway, row))).into_response())
}

fn pieces(
    gateway: Arc<Gateway>,
    row: i64,
) -> impl Stream<Item = Result<Bytes, BrokenOff>> + Send + 'static {
    async_stream::stream! {
        let mut taken = 0;
        loop {
            let pieces = match gateway.store.patch(row, taken).await {
                Ok(pieces) if pieces.is_empty() => return,
                Ok(pieces) => pieces,
                Err(error) => {
                    tracing::error!(%error, "cannot read a patch");
                    // Breaks the answer off, so that nobody takes half a patch for a whole one.
                    yield Err(BrokenOff);
                    return;
                }
            };
            for piece in pieces {
                taken += 1;
                yield Ok(piece.into());
            }
        }
    }
}

/// The answer has begun and cannot be completed.
#[derive(Debug, thiserror::Error)]
#[error("the answer cannot be completed")]
struct BrokenOff;

pub(super) async fn cancel(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    NameInPath(id): NameInPath,
) -> Result<Response, ApiError> {
    caller.require(Scope::Submit)?;
    let Record { row, job, .. } = caller.job(&gateway, &id).await?;
    if job.state.is_terminal() {
        return Ok(Json(Cancellation::new(job, Wish::Late)).into_response());
    }
    let earlier = gateway.core().scheduler.cancel_reason(job.id);
    let wish = if earlier.is_some() { Wish::Repeated } else { Wish::First };
    gateway.cancel(JobRef { id: job.id, row }, Reason::CancelRequested).await?;
    let job = caller.job(&gateway, &id).await?.job;
    let status = if job.state.is_terminal() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(Cancellation::new(job, wish))).into_response())
}
