//! `/internal`: what workers say to the gateway.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use service::ApiError;
use service::extract::malformed;
use service::protocol::worker::{Attach, Cause, Departure, Dismissal, Lease, LeaseRequest};
use service::serve::PeerAddress;

use crate::gateway::Gateway;

pub(super) async fn attach(
    State(gateway): State<Arc<Gateway>>,
    Extension(PeerAddress(peer)): Extension<PeerAddress>,
    body: Body,
) -> Result<Response, ApiError> {
    let attach: Attach = read(body).await?;
    let comments = gateway.attach(attach, peer.ip()).map(Ok::<_, Infallible>);
    let headers =
        [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(comments)).into_response())
}

pub(super) async fn lease(
    State(gateway): State<Arc<Gateway>>,
    body: Body,
) -> Result<Json<Lease>, ApiError> {
    let request: LeaseRequest = read(body).await?;
    Ok(Json(gateway.lease(request).await?))
}

pub(super) async fn depart(
    State(gateway): State<Arc<Gateway>>,
    body: Body,
) -> Result<Json<Dismissal>, ApiError> {
    let Departure { worker, cause } = read(body).await?;
    let may_go = match cause {
        Cause::ToldToStop => gateway.depart(worker).await,
        Cause::JobDone => gateway.retire(worker).await,
    };
    Ok(Json(Dismissal { may_go }))
}

pub(super) async fn read<T: DeserializeOwned>(body: Body) -> Result<T, ApiError> {
    let body = service::body::read(body).await?;
    serde_json::from_slice(&body)
        .map_err(|error| malformed(format!("the body cannot be read: {error}")))
}
