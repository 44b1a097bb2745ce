//! A worker's line to its gateway.

use std::time::Duration;

use protocol::worker::Attach;
use reqwest::{Method, Response};

use crate::endpoint::Endpoint;
use crate::error::ClientError;

/// The gateway sends a comment every 5 s on this line; three missing means that it is dead.
const SILENCE: Duration = Duration::from_secs(16);

/// An open line: as long as it is open, the gateway may hand jobs to the worker.
#[derive(Debug)]
pub struct Attachment {
    response: Response,
}

impl Endpoint {
    /// Tells the gateway that a worker is here.
    ///
    /// # Errors
    /// When the gateway cannot be reached or refuses the worker.
    pub async fn attach(&self, attach: &Attach) -> Result<Attachment, ClientError> {
        let body = serde_json::to_string(attach).expect("an attachment is plain JSON");
        let request = self
            .request(Method::POST, "/internal/workers")
            .header("content-type", "application/json")
            .body(body);
        Ok(Attachment { response: self.send(request).await? })
    }
}

impl Attachment {
    /// Waits until the line is broken, from whichever side.
    pub async fn closed(mut self) {
        while let Ok(Ok(Some(_))) = tokio::time::timeout(SILENCE, self.response.chunk()).await {}
    }
}
