//! Who asks, and what they may do.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use service::protocol::{ErrorCode, JobId};
use service::{ApiError, auth};

use crate::gateway::Gateway;
use crate::store::Record;
use crate::tokens::Scope;

/// Who sent a request.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The token's name; empty when nobody needs a token.
    pub(crate) name: Arc<str>,
    scopes: Vec<Scope>,
}

impl Caller {
    /// Who asks when nobody needs a token.
    pub(crate) fn anybody() -> Self {
        Self { name: "".into(), scopes: vec![Scope::Admin] }
    }

    /// Lets only those pass who have the scope.
    pub(crate) fn require(&self, scope: Scope) -> Result<(), ApiError> {
        self.require_any(&[scope])
    }

    /// Lets only those pass who have one of the scopes.
    pub(crate) fn require_any(&self, scopes: &[Scope]) -> Result<(), ApiError> {
        if self.is_admin() || scopes.iter().any(|scope| self.scopes.contains(scope)) {
            return Ok(());
        }
        let message = format!("the token {:?} does not have the scope for this", self.name);
        Err(ApiError::new(ErrorCode::Forbidden, message))
    }

    /// Whether all jobs are this caller's business.
    pub(crate) fn is_admin(&self) -> bool {
        self.scopes.contains(&Scope::Admin)
    }

    /// A job of this caller's business; another's job looks as if there were none.
    pub(crate) async fn job(&self, gateway: &Gateway, id: &str) -> Result<Record, ApiError> {
        let missing = || ApiError::not_found(format!("there is no job {:?}", shortened(id)));
        let id: JobId = id.parse().map_err(|_| missing())?;
        let record = gateway.store.job(id).await?;
        record.filter(|record| self.is_admin() || *record.token == *self.name).ok_or_else(missing)
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

impl FromRequestParts<Arc<Gateway>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        gateway: &Arc<Gateway>,
    ) -> Result<Self, ApiError> {
        let Some(tokens) = &gateway.tokens else {
            return Ok(Self::anybody());
        };
        let unauthorized = |message| ApiError::new(ErrorCode::Unauthorized, message);
        let shown = auth::bearer(&parts.headers).ok_or_else(|| {
            unauthorized("a token is needed here; send it as Authorization: Bearer <token>")
        })?;
        let (name, scopes) =
            tokens.find(shown).ok_or_else(|| unauthorized("this token is not known here"))?;
        Ok(Self { name, scopes: scopes.to_vec() })
    }
}
