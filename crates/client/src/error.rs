//! What can go wrong between a client and a service.

use protocol::ErrorCode;
use protocol::error::ErrorBody;

use crate::tls;

/// A request that did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is not one that can be called.
    #[error("{0:?} is not an address of a service; use http://host:port")]
    BadAddress(String),
    /// The service refused the connection: nothing listens there.
    #[error("cannot reach {url}: connection refused")]
    Refused {
        /// The service's address.
        url: String,
    },
    /// The service could not be reached, or the connection broke.
    #[error("cannot reach {url}: {cause}")]
    Unreachable {
        /// The service's address.
        url: String,
        /// What the network said.
        cause: String,
    },
    /// The service answered with an error.
    #[error("{}", body.error.message)]
    Rejected {
        /// The HTTP status.
        status: u16,
        /// The service's own words.
        body: ErrorBody,
        /// Its `Retry-After`, in seconds.
        retry_after_seconds: Option<u64>,
    },
    /// The service answered with something that is not Oneshift's protocol.
    #[error("{url} does not speak Oneshift's protocol: {cause}")]
    Protocol {
        /// The service's address.
        url: String,
        /// What was wrong with the answer.
        cause: String,
    },
}

impl ClientError {
    /// The stable code of an error that the service gave.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Rejected { body, .. } => Some(body.error.code),
            _ => None,
        }
    }

    /// Whether the service could not be talked to at all.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Unreachable { .. })
    }

    /// Sorts an error of the HTTP library; `url` is the service's base address.
    pub(crate) fn from_reqwest(url: &str, error: &reqwest::Error) -> Self {
        let url = url.to_owned();
        if let Some(cause) = tls::fault_of(error) {
            return Self::Unreachable { url, cause };
        }
        let mut causes = Vec::new();
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(cause) = source {
            if let Some(io) = cause.downcast_ref::<std::io::Error>()
                && io.kind() == std::io::ErrorKind::ConnectionRefused
            {
                return Self::Refused { url };
            }
            causes.push(cause.to_string());
            source = cause.source();
        }
        Self::Unreachable { url, cause: causes.pop().unwrap_or_default() }
    }
}
