//! The command line and a gateway behind TLS.

use std::path::Path;

use end_to_end::tls::{Authority, SecureServer};
use end_to_end::{Launch, Process};

fn jobs(trusted: &Path, server: &SecureServer) -> Process {
    let arguments = ["--url", &server.url(), "jobs"];
    Launch::of("oneshift").env("SSL_CERT_FILE", trusted).args(arguments).start()
}

#[tokio::test]
async fn a_gateway_with_a_trusted_certificate_is_talked_to() {
    let server = SecureServer::answering("{\"jobs\":[]}");
    let mut jobs = jobs(server.ca_file(), &server);
    jobs.line("no jobs").await;
    assert!(jobs.exit().await.success());
}

#[tokio::test]
async fn a_gateway_that_cannot_be_trusted_is_unreachable_and_the_reason_is_said() {
    let server = SecureServer::answering("{\"jobs\":[]}");
    let stranger = Authority::new();
    for (trusted, words) in [
        (stranger.file(), "its certificate is from an authority that this machine does not trust"),
        (Path::new("/does/not/exist"), "no list of trusted certificate authorities"),
    ] {
        let mut jobs = jobs(trusted, &server);
        let line = jobs.line(words).await;
        assert!(line.contains(&server.url()), "{line}");
        assert_eq!(jobs.exit().await.code(), Some(3));
    }
}
