//! A service that can be called.

use std::sync::Arc;
use std::time::Duration;

use protocol::ErrorCode;
use protocol::error::{ErrorBody, ErrorDetail};
use reqwest::{Method, RequestBuilder, Response};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::error::ClientError;
use crate::tls::NO_AUTHORITIES;

/// A service answers a connection attempt at once or not at all; 5 s leave room for one lost packet.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A service's answer that is not a stream is small and quick; longer means that it hangs.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Largest error body that is read; an error of ours has a few hundred bytes.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// The address of a service, with the token to show there. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Endpoint {
    base: Arc<str>,
    token: Option<SecretString>,
    http: reqwest::Client,
}

impl Endpoint {
    /// An endpoint at `base`, such as `http://127.0.0.1:5000`.
    ///
    /// # Errors
    /// [`ClientError::BadAddress`] when it is not an http(s) address with a host;
    /// [`ClientError::Unreachable`] when it is an https address and this machine trusts nobody.
    pub fn new(base: &str, token: Option<SecretString>) -> Result<Self, ClientError> {
        let bad = || ClientError::BadAddress(base.to_owned());
        let url = Url::parse(base).map_err(|_| bad())?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(bad());
        }
        let is_secure = url.scheme() == "https";
        let http = http_client(is_secure).map_err(|_| {
            if !is_secure {
                return bad();
            }
            let (url, cause) = (base.to_owned(), NO_AUTHORITIES.to_owned());
            ClientError::Unreachable { url, cause }
        })?;
        Ok(Self { base: base.trim_end_matches('/').into(), token, http })
    }

    /// An endpoint at another address that shares this one's token and connections.
    #[must_use]
    pub fn at(&self, base: &str) -> Self {
        Self { base: base.trim_end_matches('/').into(), ..self.clone() }
    }

    /// The service's base address.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Asks whether the service serves at all.
    ///
    /// # Errors
    /// When it does not.
    pub async fn live(&self) -> Result<(), ClientError> {
        self.send(self.request(Method::GET, "/health/live")).await.map(drop)
    }

    /// What the service says of itself; a gateway counts its workers by kind and state.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn health(&self) -> Result<serde_json::Value, ClientError> {
        self.json(self.request(Method::GET, "/health")).await
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        }
    }

    /// Sends a request and returns its answer's head if that is a success.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        self.send_within(ANSWER_TIMEOUT, request).await
    }

    /// The same for an answer that must come within some time.
    pub(crate) async fn send_within(
        &self,
        limit: Duration,
        request: RequestBuilder,
    ) -> Result<Response, ClientError> {
        let answer = tokio::time::timeout(limit, request.send());
        let response = answer
            .await
            .map_err(|_| self.unreachable(&format!("no answer for {} s", limit.as_secs())))?
            .map_err(|error| ClientError::from_reqwest(&self.base, &error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.rejection(response).await)
    }

    /// Sends a request and reads its JSON answer.
    pub(crate) async fn json<T: serde::de::DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, ClientError> {
        let response = self.send(request).await?;
        let body = tokio::time::timeout(ANSWER_TIMEOUT, response.bytes())
            .await
            .map_err(|_| self.unreachable("the answer does not end"))?
            .map_err(|error| ClientError::from_reqwest(&self.base, &error))?;
        serde_json::from_slice(&body).map_err(|error| self.protocol(&error.to_string()))
    }

    pub(crate) fn unreachable(&self, cause: &str) -> ClientError {
        ClientError::Unreachable { url: self.base.to_string(), cause: cause.to_owned() }
    }

    pub(crate) fn protocol(&self, cause: &str) -> ClientError {
        ClientError::Protocol { url: self.base.to_string(), cause: cause.to_owned() }
    }

    async fn rejection(&self, mut response: Response) -> ClientError {
        let status = response.status().as_u16();
        let retry_after =
            response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let retry_after_seconds = retry_after.and_then(|text| text.parse().ok());
        let mut body = Vec::new();
        while let Ok(Ok(Some(chunk))) = tokio::time::timeout(ANSWER_TIMEOUT, response.chunk()).await
        {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ERROR_BYTES {
                break;
            }
        }
        let body = serde_json::from_slice(&body).unwrap_or_else(|_| ErrorBody {
            error: ErrorDetail {
                code: ErrorCode::Other,
                message: format!("{} answered with HTTP status {status}", self.base),
                field: None,
            },
        });
        ClientError::Rejected { status, body, retry_after_seconds }
    }
}

/// Without TLS the system's certificates are not even read, which saves a worker's start several
/// milliseconds and its memory some megabytes. Nor is a proxy used: plain HTTP is for this machine
/// and the inside of a cluster, where a proxy leads nowhere and would be shown the token.
fn http_client(tls: bool) -> reqwest::Result<reqwest::Client> {
    // Fails only when a provider is installed already, which is just as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none());
    if tls { builder.build() } else { builder.tls_certs_only([]).no_proxy().build() }
}
