//! Names of the HTTP headers that Oneshift adds to HTTP's own.

/// The id of the job that a request belongs to; set on every hop inside the cluster.
pub const JOB: &str = "oneshift-job";

/// The attempt of that job, from 1; a worker reports it back so that a late answer of an earlier
/// attempt can be told from the current one.
pub const ATTEMPT: &str = "oneshift-attempt";

/// Set to `required` by a caller that stores the job's outcome: the worker keeps the outcome until
/// the caller asks for the events after the last one, which says that it has them all for good.
pub const CONFIRMATION: &str = "oneshift-confirmation";

/// Why a `DELETE` inside the cluster asks a worker to end its job: a reason, as in outcomes. Without
/// it somebody cancelled the job.
pub const REASON: &str = "oneshift-reason";

/// The caller's own name for a submission; the same key with the same body returns the same job.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The id of the last event that a reader has seen.
pub const LAST_EVENT_ID: &str = "last-event-id";
