//! The door, which stands before the gateway is open: an update starts the new gateway while the
//! old one still has the store, and nobody who comes meanwhile is turned away.

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use service::ApiError;
use service::health;
use service::protocol::ErrorCode;
use tokio::sync::watch;
use tower::ServiceExt;

/// Opens the door, once.
pub(crate) struct Doorkeeper(watch::Sender<Option<Router>>);

impl Doorkeeper {
    /// Lets in all who wait, and all who come later.
    pub(crate) fn open(&self, inside: Router) {
        self.0.send_replace(Some(inside));
    }
}

/// A router that says at once that the process lives, and holds all other requests until the door
/// is opened.
pub(crate) fn closed() -> (Doorkeeper, Router) {
    let (opens, opened) = watch::channel(None);
    let enter = move |request| enter(opened.clone(), request);
    let door = Router::new().route("/health/live", get(health::live)).fallback(enter);
    (Doorkeeper(opens), door)
}

async fn enter(mut opened: watch::Receiver<Option<Router>>, request: Request) -> Response {
    let inside = opened.wait_for(Option::is_some).await.ok().and_then(|inside| inside.clone());
    match inside {
        Some(inside) => inside.oneshot(request).await.into_response(),
        None => ApiError::new(ErrorCode::Unavailable, "the gateway could not start; try again")
            .retry_after(1)
            .into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::StatusCode;
    use futures_util::FutureExt;

    use super::*;

    fn request(path: &str) -> Request {
        Request::builder().uri(path).body(Body::empty()).unwrap()
    }

    #[tokio::test]
    async fn requests_wait_for_the_door_but_the_process_is_live_before() {
        let (doorkeeper, door) = closed();
        let live = door.clone().oneshot(request("/health/live")).await.unwrap();
        assert_eq!(live.status(), StatusCode::OK);
        let mut waiting = Box::pin(door.clone().oneshot(request("/inside")));
        assert!((&mut waiting).now_or_never().is_none());
        doorkeeper.open(Router::new().route("/inside", get(|| async { "here" })));
        assert_eq!(waiting.await.unwrap().status(), StatusCode::OK);
        let missing = door.oneshot(request("/elsewhere")).await.unwrap();
        assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn a_door_that_never_opens_says_so() {
        let (doorkeeper, door) = closed();
        drop(doorkeeper);
        let refused = door.oneshot(request("/inside")).await.unwrap();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
