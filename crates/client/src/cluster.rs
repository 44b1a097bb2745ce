//! The cluster: the operator's report of it, and what may be asked of the operator.

use protocol::cluster::{Cluster, ClusterAnswer, ClusterReport, ScaleRequest, ServiceChange};
use reqwest::Method;
use serde::Serialize;

use crate::endpoint::Endpoint;
use crate::error::ClientError;

impl Endpoint {
    /// Tells the gateway what the cluster is like. The answer comes as soon as there is an order or
    /// a longer queue, and after about 2 s at the latest.
    ///
    /// # Errors
    /// When the gateway cannot be reached or refuses the report.
    pub async fn report_cluster(
        &self,
        report: &ClusterReport,
    ) -> Result<ClusterAnswer, ClientError> {
        self.json(self.posted("/internal/cluster", report)).await
    }

    /// The cluster as its operator last saw it.
    ///
    /// # Errors
    /// When the gateway cannot be reached, or no operator is attached to it.
    pub async fn cluster(&self) -> Result<Cluster, ClientError> {
        self.json(self.request(Method::GET, "/api/cluster")).await
    }

    /// Asks for another number of replicas of a service.
    ///
    /// # Errors
    /// When the gateway cannot be reached, or the service cannot be scaled so.
    pub async fn scale(&self, service: &str, replicas: u32) -> Result<ServiceChange, ClientError> {
        let service: String = url::form_urlencoded::byte_serialize(service.as_bytes()).collect();
        let path = format!("/api/cluster/services/{service}/scale");
        self.json(self.posted(&path, &ScaleRequest { replicas })).await
    }

    fn posted(&self, path: &str, body: &impl Serialize) -> reqwest::RequestBuilder {
        let body = serde_json::to_string(body).expect("what the protocol says is plain JSON");
        self.request(Method::POST, path).header("content-type", "application/json").body(body)
    }
}
