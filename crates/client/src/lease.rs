//! Leasing an idle worker from the gateway, and leaving it.

use protocol::WorkerId;
use protocol::worker::{Cause, Departure, Dismissal, Lease, LeaseRequest, Status};
use reqwest::Method;

use crate::endpoint::Endpoint;
use crate::error::ClientError;

impl Endpoint {
    /// One try to lease a worker: waits until one is idle, for about 20 s at most.
    ///
    /// # Errors
    /// [`ClientError::Rejected`] with status 503 when none became idle in that time: ask again.
    pub async fn lease(&self, request: &LeaseRequest) -> Result<Lease, ClientError> {
        let body = serde_json::to_string(request).expect("a lease request is plain JSON");
        let request = self
            .request(Method::POST, "/internal/leases")
            .header("content-type", "application/json")
            .body(body);
        self.json(request).await
    }

    /// Says why a worker is about to go, and asks whether it may; waits until it may, for about 20 s at
    /// most if it was told to stop, for about 1 s if it has done its job. One that was told to stop and
    /// still has a job never may, which it hears at once.
    ///
    /// # Errors
    /// When the gateway cannot be reached, or knows no such question.
    pub async fn depart(&self, worker: WorkerId, cause: Cause) -> Result<bool, ClientError> {
        let departure = Departure { worker, cause };
        let body = serde_json::to_string(&departure).expect("an id is plain JSON");
        let request = self
            .request(Method::POST, "/internal/departures")
            .header("content-type", "application/json")
            .body(body);
        self.json(request).await.map(|dismissal: Dismissal| dismissal.may_go)
    }

    /// Whether a worker has its job.
    ///
    /// # Errors
    /// When the worker cannot be reached.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.json(self.request(Method::GET, "/status")).await
    }
}
