//! The cluster token: the shared secret of the inside.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use protocol::ErrorCode;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::error::ApiError;

/// The token that a request shows as `Authorization: Bearer …`.
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Compares in a time that does not depend on where the two differ.
#[must_use]
pub fn same(shown: &str, secret: &SecretString) -> bool {
    shown.as_bytes().ct_eq(secret.expose_secret().as_bytes()).into()
}

/// Middleware: lets only requests through that show the cluster token; all, if there is none.
///
/// # Errors
/// `unauthorized`.
pub async fn require_cluster_token(
    State(token): State<Option<SecretString>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if let Some(token) = token
        && !bearer(request.headers()).is_some_and(|shown| same(shown, &token))
    {
        let message =
            "this is the inside of a cluster; show ONESHIFT_CLUSTER_TOKEN as bearer token";
        return Err(ApiError::new(ErrorCode::Unauthorized, message));
    }
    Ok(next.run(request).await)
}
