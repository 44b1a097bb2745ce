//! Parts of requests, with refusals in our own words.

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use protocol::ErrorCode;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// The name in the path, a job's id or a service's, as the caller wrote it.
#[derive(Clone, Debug)]
pub struct NameInPath(pub String);

/// The query; its type says whether an unknown parameter is an error.
#[derive(Clone, Copy, Debug)]
pub struct Params<T>(pub T);

/// 400: what the caller sent cannot be read.
pub fn malformed(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::Malformed, message)
}

impl<S: Send + Sync> FromRequestParts<S> for NameInPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(id)| Self(id)).map_err(|_| malformed("the path is not UTF-8"))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = Query::<T>::try_from_uri(&parts.uri);
        query.map(|Query(params)| Self(params)).map_err(|rejection| {
            let cause = rejection.body_text();
            let (_, cause) = cause.rsplit_once("query string: ").unwrap_or(("", &cause));
            malformed(format!("the query cannot be read: {cause}"))
        })
    }
}
