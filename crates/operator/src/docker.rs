//! The way to Docker's API: a connection for each request, over a socket or to a proxy.
//!
//! A proxy in front of the socket has to allow `GET /services`, `/tasks`, `/nodes` and
//! `POST /services/<id>/update`, and nothing else. Paths name no version of the API, so that the
//! engine answers in its own, from 1.41 (Docker 20.10) on.
//!
//! bollard lists and reads what is only looked at. What is changed is read and written as plain
//! JSON: bollard's own types know `HealthCheck`, but Docker says `Healthcheck`, and whoever writes
//! back what they read that way replaces all containers by ones without a health check.

use std::time::Duration;

use bollard::errors::Error as BollardError;
use bollard::{API_DEFAULT_VERSION, BollardRequest};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::handshake;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::config::DockerHost;
use crate::text::one_line;

/// A manager answers within milliseconds, and within seconds while its swarm elects a leader.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Largest answer that is read: a service has some kilobytes.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// What Docker did not do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DockerError {
    /// It cannot be talked to.
    #[error("Docker cannot be reached at {host}: {cause}")]
    Unreachable { host: String, cause: String },
    /// It does not want to, in its own words.
    #[error("Docker refuses: {0}")]
    Refused(String),
    /// It says something that is not understood.
    #[error("Docker's answer cannot be read: {0}")]
    Strange(String),
}

/// An engine's API.
#[derive(Clone, Debug)]
pub(crate) struct Docker {
    host: DockerHost,
    bollard: bollard::Docker,
}

impl Docker {
    /// Connects with the first request.
    pub(crate) fn at(host: DockerHost) -> Self {
        let transport = {
            let host = host.clone();
            move |request: BollardRequest| {
                let host = host.clone();
                async move { send(&host, request).await }
            }
        };
        let seconds = TIMEOUT.as_secs();
        let address = Some("http://docker");
        let bollard = bollard::Docker::connect_with_custom_transport(
            transport,
            address,
            seconds,
            API_DEFAULT_VERSION,
        )
        .expect("nothing is connected to here");
        Self { host, bollard }
    }

    /// Asks for something by means of bollard.
    pub(crate) async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&bollard::Docker) -> Result<T, BollardError>,
    ) -> Result<T, DockerError> {
        let answer = timeout(TIMEOUT, question(&self.bollard));
        answer.await.map_err(|_| self.silent())?.map_err(|error| self.explained(error))
    }

    /// Reads JSON as it is.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, DockerError> {
        self.exchange(Method::GET, path, Bytes::new()).await
    }

    /// Sends JSON as it is.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, DockerError> {
        self.exchange(Method::POST, path, body.to_string().into()).await
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Value, DockerError> {
        let strange = |error: &dyn std::fmt::Display| DockerError::Strange(one_line(error));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| strange(&error))?;
        let exchange = async {
            let response =
                send(&self.host, request).await.map_err(|error| self.explained(error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
            let body = body.map_err(|error| strange(&error))?.to_bytes();
            let answer: Value = serde_json::from_slice(&body).map_err(|error| strange(&error))?;
            if status.is_success() {
                return Ok(answer);
            }
            let message = answer["message"].as_str().map(str::to_owned);
            let message = message.unwrap_or_else(|| format!("HTTP status {status}"));
            Err(refused(&message))
        };
        timeout(TIMEOUT, exchange).await.unwrap_or_else(|_| Err(self.silent()))
    }

    fn silent(&self) -> DockerError {
        let cause = format!("no answer for {} s", TIMEOUT.as_secs());
        DockerError::Unreachable { host: self.host.to_string(), cause }
    }

    fn explained(&self, error: BollardError) -> DockerError {
        let unreachable = |cause: &dyn std::error::Error| {
            let (host, cause) = (self.host.to_string(), one_line(&innermost(cause)));
            DockerError::Unreachable { host, cause }
        };
        match error {
            BollardError::DockerResponseServerError { message, .. } => refused(&message),
            BollardError::RequestTimeoutError => self.silent(),
            BollardError::IOError { err } => unreachable(&err),
            BollardError::HyperResponseError { err } => unreachable(&err),
            other => DockerError::Strange(one_line(&other)),
        }
    }
}

/// Without the words that gRPC puts before a manager's own.
fn refused(message: &str) -> DockerError {
    let (_, words) = message.rsplit_once(" desc = ").unwrap_or(("", message));
    DockerError::Refused(one_line(words))
}

/// What an error says in the end, which is what the system or the parser said.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}

async fn send<B>(host: &DockerHost, request: Request<B>) -> Result<Response<Incoming>, BollardError>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    match host {
        DockerHost::Unix(path) => exchange(UnixStream::connect(path).await?, request).await,
        DockerHost::Tcp(address) => exchange(TcpStream::connect(address).await?, request).await,
    }
}

async fn exchange<B>(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<B>,
) -> Result<Response<Incoming>, BollardError>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    // It ends with the answer's body, whoever reads or drops that.
    tokio::spawn(connection);
    let (mut head, body) = request.into_parts();
    if let Some(path) = head.uri.path_and_query() {
        head.uri = Uri::from(path.clone());
    }
    head.headers.insert(HOST, hyper::header::HeaderValue::from_static("docker"));
    head.headers.insert(CONNECTION, hyper::header::HeaderValue::from_static("close"));
    Ok(sender.send_request(Request::from_parts(head, body)).await?)
}
