//! The cluster token: the shared secret of the inside.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use protocol::ErrorCode;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::config::{ConfigError, Environment};
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

/// The cluster tokens that a service accepts: its own, which it also shows to others, and
/// `ONESHIFT_CLUSTER_TOKEN_ALSO`, so that a cluster can go over from one to the other. Everybody is
/// let in if there is none.
#[derive(Clone, Debug, Default)]
pub struct ClusterTokens(Vec<SecretString>);

impl ClusterTokens {
    /// Its own token and the other one that the environment names.
    ///
    /// # Errors
    /// When the other one cannot be read, or is there without an own one.
    pub fn read(
        environment: &Environment,
        own: Option<&SecretString>,
    ) -> Result<Self, ConfigError> {
        const ALSO: &str = "ONESHIFT_CLUSTER_TOKEN_ALSO";
        let also = environment.secret(ALSO)?;
        if also.is_some() && own.is_none() {
            let fault = "is set, but ONESHIFT_CLUSTER_TOKEN, which it comes beside, is not";
            return Err(ConfigError::new(ALSO, fault));
        }
        Ok(Self(own.cloned().into_iter().chain(also).collect()))
    }

    /// A cluster that has this one token.
    #[must_use]
    pub fn of(own: &SecretString) -> Self {
        Self(vec![own.clone()])
    }

    fn accept(&self, headers: &HeaderMap) -> bool {
        let Some(shown) = bearer(headers) else { return self.0.is_empty() };
        self.0.is_empty() || self.0.iter().any(|token| same(shown, token))
    }
}

/// Middleware: lets only requests through that show a cluster token; all, if there is none.
///
/// # Errors
/// `unauthorized`.
pub async fn require_cluster_token(
    State(tokens): State<ClusterTokens>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if !tokens.accept(request.headers()) {
        let message =
            "this is the inside of a cluster; show ONESHIFT_CLUSTER_TOKEN as bearer token";
        return Err(ApiError::new(ErrorCode::Unauthorized, message));
    }
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(tokens: &ClusterTokens, shown: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, format!("Bearer {shown}").parse().unwrap());
        tokens.accept(&headers)
    }

    #[test]
    fn the_own_and_the_other_token_are_accepted_and_no_third() {
        let environment = Environment::from_pairs([("ONESHIFT_CLUSTER_TOKEN_ALSO", "new")]);
        let own = SecretString::from("old");
        let tokens = ClusterTokens::read(&environment, Some(&own)).unwrap();
        assert!(accepts(&tokens, "old") && accepts(&tokens, "new"));
        assert!(!accepts(&tokens, "third") && !accepts(&tokens, ""));
        assert!(!tokens.accept(&HeaderMap::new()));
    }

    #[test]
    fn without_a_token_everybody_is_let_in() {
        let tokens = ClusterTokens::read(&Environment::default(), None).unwrap();
        assert!(tokens.accept(&HeaderMap::new()) && accepts(&tokens, "any"));
    }

    #[test]
    fn another_token_alone_is_refused() {
        let environment = Environment::from_pairs([("ONESHIFT_CLUSTER_TOKEN_ALSO", "new")]);
        assert!(ClusterTokens::read(&environment, None).is_err());
    }
}
