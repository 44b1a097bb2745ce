//! Serves a router over HTTP/1.1 until it is told to stop, then lets open answers end.

mod guarded;
mod seats;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tower_http::catch_panic::CatchPanicLayer;

use crate::error::ApiError;
pub use guarded::guarded;
use seats::{Seat, Seats};

/// A request's head arrives in one packet or two; who takes longer is broken or hostile.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// What is held for a client that does not take it yet, here and once more in the kernel, beside the
/// event that it is being sent. It is also the largest head of a request.
const BUFFER_BYTES: u16 = 32 * 1024;

/// What a service bears.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at the same time. When there are more, the client that has kept the service
    /// waiting for the longest is sent away; while all are being answered, further ones wait.
    pub connections: usize,
    /// How long a client may be gone, or take nothing of what it is sent, before it is given up.
    pub unread: Duration,
    /// How long open answers may go on after the stop.
    pub linger: Duration,
}

/// The address that a request came from, as an extension of the request.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddress(pub SocketAddr);

/// Serves `router` on `listener` until `stop` resolves, then until all answers have ended or the
/// linger time is over.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    let router = router.layer(CatchPanicLayer::custom(panicked));
    let graceful = GracefulShutdown::new();
    let seats = Arc::new(Seats::new(limits.connections));
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = async {
            let (stream, peer) = accept(&listener).await;
            (stream, peer, seats.take().await)
        };
        let (stream, peer, seat) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut stop => break,
        };
        set_up(&stream, limits.unread);
        let connection = connection(stream, peer, router.clone(), Arc::clone(&seat));
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            tokio::select! {
                // An error here is a peer that went away or sent no HTTP: its own affair.
                _ = connection => {}
                () = seat.is_wanted() => {}
            }
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(limits.linger, graceful.shutdown()).await;
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                // Mostly a lack of file descriptors, which others must give back first.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Failures leave a connection as it is, which is good enough.
fn set_up(stream: &TcpStream, unread: Duration) {
    // Events are small and must not wait for each other.
    let _ = stream.set_nodelay(true);
    let socket = socket2::SockRef::from(stream);
    // Something is sent at least every few seconds, so this ends every stream that nobody takes.
    let _ = socket.set_tcp_user_timeout(Some(unread));
    // Else the kernel keeps megabytes for each of them, and has too little for all others in the end.
    let _ = socket.set_tcp_notsent_lowat(BUFFER_BYTES.into());
}

fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    seat: Arc<Seat>,
) -> hyper::server::conn::http1::Connection<
    TokioIo<TcpStream>,
    impl hyper::service::Service<
        Request<Incoming>,
        Response = Response,
        Error = std::convert::Infallible,
        Future: Send,
    >,
> {
    let service = tower::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(PeerAddress(peer));
        answer(request, router.clone(), Arc::clone(&seat))
    });
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER_BYTES.into())
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
}

/// Answers a request. The client keeps the service waiting up to the end of the request's body, and
/// again from the end of the answer's body.
async fn answer(
    request: Request<Incoming>,
    router: Router,
    seat: Arc<Seat>,
) -> Result<Response, std::convert::Infallible> {
    let is_whole = request.body().is_end_stream();
    let being_sent = seat.await_body();
    let request = request.map(|body| match is_whole {
        true => Body::new(body),
        false => guarded(Body::new(body), being_sent),
    });
    let response = tower::ServiceExt::oneshot(router, request).await?;
    Ok(response.map(|body| guarded(body, seat.being_answered())))
}

fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let cause = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words");
    ApiError::internal(&cause).into_response()
}
