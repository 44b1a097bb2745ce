//! An HTTP client for tests.

use std::sync::OnceLock;

/// A client for loopback: no proxy, no cookies, no redirects, no timeout.
///
/// # Panics
/// When TLS cannot be set up, though no test needs it.
#[must_use]
pub fn client() -> reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    let build = || {
        // Fails if it is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            // A connection must not outlive the runtime of the test that opened it.
            .pool_max_idle_per_host(0)
            .build()
            .expect("a client without settings is sound")
    };
    CLIENT.get_or_init(build).clone()
}
