//! What a worker does with its one job.

use protocol::request::JobRequest;
use protocol::{Outcome, RequestError};
use utoipa::ToSchema;

use super::job::Job;

/// One kind of job that a worker can do.
pub trait Shift: Send + Sync + 'static {
    /// The body of the job's POST.
    type Request: JobRequest + ToSchema;

    /// The last part of the path, such as `pull` for `POST /api/pull`.
    const ROUTE: &'static str;

    /// Looks at a well-formed request before the worker is used up for it.
    ///
    /// # Errors
    /// The field that this worker cannot serve, and why.
    fn admit(&self, _request: &Self::Request) -> Result<(), RequestError> {
        Ok(())
    }

    /// Does the job. It should end soon after [`Job::stopped`] resolves, with what it has by then;
    /// after a few seconds it is ended without that.
    fn run(&self, request: Self::Request, job: Job) -> impl Future<Output = Outcome> + Send;
}
