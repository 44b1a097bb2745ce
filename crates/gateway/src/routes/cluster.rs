//! `/api/cluster` for people, `/internal/cluster` for the operator.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use service::ApiError;
use service::extract::NameInPath;
use service::protocol::cluster::{Action, Cluster, ClusterAnswer, ClusterReport, ScaleRequest};
use service::protocol::request;

use super::inside::read;
use crate::caller::Caller;
use crate::gateway::Gateway;
use crate::tokens::Scope;

pub(super) async fn report(
    State(gateway): State<Arc<Gateway>>,
    body: Body,
) -> Result<Json<ClusterAnswer>, ApiError> {
    let report: ClusterReport = read(body).await?;
    Ok(Json(gateway.report_cluster(report).await))
}

pub(super) async fn show(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
) -> Result<Json<Cluster>, ApiError> {
    caller.require(Scope::Read)?;
    gateway.cluster().map(Json)
}

pub(super) async fn scale(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    NameInPath(name): NameInPath,
    body: Body,
) -> Result<Response, ApiError> {
    caller.require(Scope::Admin)?;
    let ScaleRequest { replicas } = request::read(&service::body::read(body).await?)?;
    change(&gateway, &name, Action::Scale { replicas }).await
}

pub(super) async fn update(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    NameInPath(name): NameInPath,
) -> Result<Response, ApiError> {
    caller.require(Scope::Admin)?;
    change(&gateway, &name, Action::Update).await
}

pub(super) async fn rollback(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    NameInPath(name): NameInPath,
) -> Result<Response, ApiError> {
    caller.require(Scope::Admin)?;
    change(&gateway, &name, Action::Rollback).await
}

async fn change(gateway: &Gateway, name: &str, action: Action) -> Result<Response, ApiError> {
    let change = gateway.change_service(name, action).await?;
    let status = if change.done { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(change)).into_response())
}
