//! Jobs: submit, look up, list, cancel, fetch the patch.

use bytes::Bytes;
use protocol::headers::{ATTEMPT, CONFIRMATION, IDEMPOTENCY_KEY, JOB, LAST_EVENT_ID, REASON};
use protocol::job::{Job, JobPage};
use protocol::{JobId, Reason};
use reqwest::{Method, Response};
use serde_json::Value;

use crate::endpoint::Endpoint;
use crate::error::ClientError;
use crate::events::{EventStream, Patience};

/// A job to be posted.
#[derive(Clone, Copy, Debug)]
pub struct Submission<'a> {
    /// Where to, such as `/api/workflow`.
    pub path: &'a str,
    /// The request; see `protocol::request::JobRequest::to_wire`.
    pub body: &'a Value,
    /// The job, where the caller has named it already.
    pub job: Option<NamedJob>,
    /// The caller's own name for this submission.
    pub idempotency_key: Option<&'a str>,
}

/// A job that has an id before its worker hears of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedJob {
    /// Its id.
    pub id: JobId,
    /// Which attempt of it, from 1.
    pub attempt: u32,
    /// Whether the worker must keep the outcome until [`Endpoint::confirm`].
    pub needs_confirmation: bool,
}

/// Which jobs to list.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    /// Only in this state.
    pub state: Option<String>,
    /// Only with this label, as `key=value`.
    pub label: Option<String>,
    /// At most so many.
    pub limit: Option<u32>,
    /// From here on; see [`JobPage::next_cursor`].
    pub cursor: Option<String>,
}

impl Endpoint {
    /// Posts a job and follows it from its first event. Waits for the answer as long as `patience` says;
    /// whoever has not answered by then may have the job all the same.
    ///
    /// # Errors
    /// When the service cannot be reached or rejects the job.
    pub async fn submit(
        &self,
        submission: Submission<'_>,
        patience: Patience,
    ) -> Result<EventStream, ClientError> {
        let answer = self.send_within(patience.answer, self.submission(submission));
        let response = answer.await?;
        let job = self.job_of(&response)?;
        Ok(EventStream::new(self.clone(), job, 0, patience).with_response(response))
    }

    /// Posts a job and returns it as soon as it is accepted.
    ///
    /// # Errors
    /// When the service cannot be reached or rejects the job.
    pub async fn submit_async(&self, submission: Submission<'_>) -> Result<Job, ClientError> {
        self.json(self.submission(submission).header("prefer", "respond-async")).await
    }

    fn submission(&self, submission: Submission<'_>) -> reqwest::RequestBuilder {
        let mut request = self
            .request(Method::POST, submission.path)
            .header("content-type", "application/json")
            .body(submission.body.to_string());
        if let Some(job) = submission.job {
            request = request.header(JOB, job.id.to_string());
            request = request.header(ATTEMPT, job.attempt.to_string());
            if job.needs_confirmation {
                request = request.header(CONFIRMATION, "required");
            }
        }
        if let Some(key) = submission.idempotency_key {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        request
    }

    fn job_of(&self, response: &Response) -> Result<JobId, ClientError> {
        response
            .headers()
            .get(JOB)
            .and_then(|id| id.to_str().ok())
            .and_then(|id| id.parse().ok())
            .ok_or_else(|| self.protocol("the answer names no job"))
    }

    /// Tells a worker that the job's events, `last` being the id of the last one, are stored, so
    /// that it may forget them.
    ///
    /// # Errors
    /// When the worker cannot be reached or has no such job.
    pub async fn confirm(&self, job: JobId, last: u64) -> Result<(), ClientError> {
        let request = self
            .request(Method::GET, &format!("/api/jobs/{job}/events"))
            .header(LAST_EVENT_ID, last.to_string());
        self.send(request).await.map(drop)
    }

    /// A job as it stands.
    ///
    /// # Errors
    /// When the service cannot be reached or has no such job.
    pub async fn job(&self, id: JobId) -> Result<Job, ClientError> {
        self.json(self.request(Method::GET, &format!("/api/jobs/{id}"))).await
    }

    /// A page of jobs, newest first.
    ///
    /// # Errors
    /// When the service cannot be reached or refuses the filter.
    pub async fn jobs(&self, filter: &JobFilter) -> Result<JobPage, ClientError> {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        let limit = filter.limit.map(|limit| limit.to_string());
        for (name, value) in [
            ("state", &filter.state),
            ("label", &filter.label),
            ("limit", &limit),
            ("cursor", &filter.cursor),
        ] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        self.json(self.request(Method::GET, &format!("/api/jobs?{}", query.finish()))).await
    }

    /// Asks for a job's end; returns it as it stands, which may still be running.
    ///
    /// # Errors
    /// When the service cannot be reached or has no such job.
    pub async fn cancel(&self, id: JobId) -> Result<Job, ClientError> {
        self.json(self.request(Method::DELETE, &format!("/api/jobs/{id}"))).await
    }

    /// Asks a worker to end its job for this reason; returns it as it stands, which may still be
    /// running.
    ///
    /// # Errors
    /// When the worker cannot be reached or has no such job.
    pub async fn stop(&self, id: JobId, reason: Reason) -> Result<Job, ClientError> {
        let request = self.request(Method::DELETE, &format!("/api/jobs/{id}"));
        self.json(request.header(REASON, reason.to_string())).await
    }

    /// A job's patch, as `git apply` takes it.
    ///
    /// # Errors
    /// When the service cannot be reached, or the job has no patch.
    pub async fn patch(&self, id: JobId) -> Result<Bytes, ClientError> {
        let response =
            self.send(self.request(Method::GET, &format!("/api/jobs/{id}/patch"))).await?;
        response.bytes().await.map_err(|error| ClientError::from_reqwest(self.base(), &error))
    }
}
