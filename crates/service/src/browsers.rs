//! Keeps web pages of strangers away from a service that asks for no token.
//!
//! A browser lets any page post to `http://127.0.0.1:5000`, and a page whose name its owner points
//! at 127.0.0.1 may even read the answers (DNS rebinding). Without tokens that would be enough to run
//! an agent, so requests must come from the service's own pages or from no page at all, and on a
//! loopback address they must be meant for this machine.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Uri, header};
use axum::middleware::Next;
use axum::response::Response;
use protocol::ErrorCode;

use crate::error::ApiError;

/// Who may use a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Whoever shows a token; a stranger's page has none.
    ByToken,
    /// Everybody who can reach the address, but no stranger's page.
    Open {
        /// Whether that is a loopback address.
        is_loopback: bool,
    },
}

impl Admission {
    /// The rule for a service that listens here.
    #[must_use]
    pub fn of(has_tokens: bool, listen: SocketAddr) -> Self {
        if has_tokens {
            Self::ByToken
        } else {
            Self::Open { is_loopback: listen.ip().is_loopback() }
        }
    }

    fn check(self, headers: &HeaderMap) -> Result<(), ApiError> {
        let Self::Open { is_loopback } = self else { return Ok(()) };
        let host = text(headers, header::HOST).unwrap_or_default();
        if is_loopback && !is_this_machine(host) {
            let message = format!(
                "this service asks for no token, so it answers only requests to localhost, not to {:?}",
                shortened(host)
            );
            return Err(ApiError::new(ErrorCode::Forbidden, message));
        }
        match text(headers, header::ORIGIN) {
            Some(origin) if !is_origin_of(origin, host) => {
                let message = format!(
                    "this service asks for no token, so it answers no web page of {:?}",
                    shortened(origin)
                );
                Err(ApiError::new(ErrorCode::Forbidden, message))
            }
            _ => Ok(()),
        }
    }
}

/// Middleware: refuses what a stranger's web page sends.
///
/// # Errors
/// `forbidden`.
pub async fn refuse_strangers_pages(
    State(admission): State<Admission>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    admission.check(request.headers())?;
    Ok(next.run(request).await)
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    // What is not text is nobody's name.
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

fn is_origin_of(origin: &str, host: &str) -> bool {
    let uri = origin.parse::<Uri>().ok();
    uri.as_ref().and_then(Uri::authority).is_some_and(|authority| authority.as_str() == host)
}

/// Whether a `Host` header names this machine in a way that no DNS server has a say in.
fn is_this_machine(host: &str) -> bool {
    let name = host.parse::<axum::http::uri::Authority>();
    let Ok(name) = name.as_ref().map(axum::http::uri::Authority::host) else { return false };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    match address {
        Ok(address) => address.is_loopback(),
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(admission: Admission, host: &str, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        admission.check(&headers).is_ok()
    }

    #[test]
    fn a_page_of_a_stranger_is_refused_and_curl_is_not() {
        let open = Admission::Open { is_loopback: true };
        for host in ["localhost:5000", "127.0.0.1:5000", "[::1]:5000", "LOCALHOST"] {
            assert!(check(open, host, None), "{host}");
            assert!(check(open, host, Some(&format!("http://{host}"))), "{host}");
        }
        for origin in ["https://evil.example", "null", "http://localhost:8080", "http://127.0.0.1"]
        {
            assert!(!check(open, "localhost:5000", Some(origin)), "{origin}");
        }
    }

    #[test]
    fn a_name_that_somebody_pointed_here_is_refused() {
        let open = Admission::Open { is_loopback: true };
        for host in ["evil.example:5000", "localhost.evil.example", "10.0.0.1:5000", "", "?"] {
            assert!(!check(open, host, None), "{host}");
        }
        let other_machines = Admission::Open { is_loopback: false };
        assert!(check(other_machines, "gateway:5000", None));
        assert!(!check(other_machines, "gateway:5000", Some("https://evil.example")));
    }

    #[test]
    fn with_tokens_a_page_may_come_from_anywhere() {
        assert!(check(Admission::ByToken, "x", Some("https://dashboard.example")));
    }
}
