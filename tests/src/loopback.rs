//! HTTP servers on 127.0.0.1 that run beside a test.

use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::serve::Listener;
use futures_util::Stream;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

/// A server on a free port, until it is dropped.
///
/// It has threads of its own: a test may block, or use a runtime with a single thread.
#[derive(Debug)]
pub(crate) struct Loopback {
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Loopback {
    /// Serves `router` from now on.
    pub(crate) fn serve(router: Router) -> Self {
        Self::serve_by(router, |listener| listener)
    }

    /// Serves `router` from now on, on the connections that come of what `dress` makes of the
    /// socket's.
    pub(crate) fn serve_by<L: Listener<Addr = SocketAddr>>(
        router: Router,
        dress: impl FnOnce(TcpListener) -> L + Send + 'static,
    ) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime starts where threads do");
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("loopback has ports");
        listener.set_nonblocking(true).expect("a socket can be non-blocking");
        let address = listener.local_addr().expect("a bound socket has an address");
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("the runtime takes the socket");
            axum::serve(dress(listener), router).await
        });
        Self { address, runtime: Some(runtime) }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // In the background, since a test that ends inside a runtime must not wait.
            runtime.shutdown_background();
        }
    }
}

/// A body sent piece by piece; an error closes the connection in the middle of it.
pub(crate) fn streamed(pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Body {
    Body::from_stream(pieces)
}
