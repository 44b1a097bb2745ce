//! How many connections there may be, and how many of them callers may keep busy: their followers
//! must never be so many that no worker can attach.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use rustix::process::{Resource, getrlimit};
use service::ApiError;
use service::protocol::ErrorCode;
use service::serve::guarded;
use tokio::sync::Semaphore;

/// Each follower is a connection; a few thousand more than the most that are promised.
const MOST: usize = 20_000;

/// Files that are no connections to us: the store's, and one or two for each running job.
const OTHER_FILES: usize = 1_024;

/// Connections that callers leave to the workers, and to those who ask how the gateway is.
const RESERVED: usize = 1_024;

/// When to come back; how long others stay cannot be known.
const PAUSE_SECONDS: u32 = 5;

/// How many connections there may be, as the limit of open files allows.
pub(crate) fn most() -> usize {
    let files = getrlimit(Resource::Nofile).current.and_then(|files| usize::try_from(files).ok());
    files.map_or(MOST, |files| without(files, OTHER_FILES).min(MOST))
}

/// At least half is left of too few.
fn without(all: usize, some: usize) -> usize {
    all.saturating_sub(some).max(all / 2)
}

/// Places for the requests of callers, each taken up to the end of its answer.
#[derive(Clone, Debug)]
pub(crate) struct Callers(Arc<Semaphore>);

impl Callers {
    /// Those of so many connections that callers may use.
    pub(crate) fn of(connections: usize) -> Self {
        Self(Arc::new(Semaphore::new(without(connections, RESERVED))))
    }
}

/// Middleware: refuses callers while too many are being answered.
///
/// # Errors
/// `unavailable`.
pub(crate) async fn limit_callers(
    State(Callers(places)): State<Callers>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let place = places.try_acquire_owned().map_err(|_| {
        let message = "too many streams and requests are open here; come back later";
        ApiError::new(ErrorCode::Unavailable, message).retry_after(PAUSE_SECONDS)
    })?;
    Ok(next.run(request).await.map(|body| guarded(body, place)))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::StatusCode;
    use axum::routing::get;
    use axum::{Router, middleware};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn callers_are_refused_only_while_all_their_places_are_taken() {
        let callers = Callers::of(4);
        let limit = middleware::from_fn_with_state(callers, limit_callers);
        let endless = || async {
            Body::from_stream(futures_util::stream::pending::<Result<bytes::Bytes, axum::Error>>())
        };
        let router = Router::new().route("/", get(endless)).layer(limit);
        let ask = || router.clone().oneshot(Request::new(Body::empty()));
        let first = ask().await.unwrap();
        let second = ask().await.unwrap();
        assert_eq!([first.status(), second.status()], [StatusCode::OK; 2]);
        let refused = ask().await.unwrap();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.headers()["retry-after"], "5");
        drop(first);
        assert_eq!(ask().await.unwrap().status(), StatusCode::OK);
    }

    #[test]
    fn of_few_files_half_are_connections_and_of_these_half_are_callers() {
        assert_eq!(without(1_024, OTHER_FILES), 512);
        assert_eq!(without(20_000, OTHER_FILES), 18_976);
    }
}
