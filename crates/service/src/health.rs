//! `GET /health/live`, the same for every service, and the question for it.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use axum::Json;
use serde_json::{Value, json};

/// Whoever does not answer its own machine in this time is not well.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Answers as soon as the process serves at all.
pub async fn live() -> Json<Value> {
    Json(json!({ "status": "live" }))
}

/// Asks the service that listens on `address` of this machine whether it is live: what the `health`
/// command of each program does, so that images need no other program for it.
///
/// # Errors
/// When it cannot be reached, does not answer in 3 s, or gives another answer than 200.
pub fn probe(address: SocketAddr) -> std::io::Result<()> {
    let address = SocketAddr::new(own(address.ip()), address.port());
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let host = address.to_string();
    // At once: one who reads only a part may have answered before the rest is sent.
    let request = format!("GET /health/live HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(1024).read_to_string(&mut answer)?;
    match answer.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => {
            let status = answer.lines().next().unwrap_or("nothing");
            Err(std::io::Error::other(format!("{address} answers {status:?}")))
        }
    }
}

/// An address to connect to for one to listen on.
fn own(listen: IpAddr) -> IpAddr {
    match listen {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn serve_once(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 256];
            let count = stream.read(&mut request).unwrap();
            assert!(request[..count].starts_with(b"GET /health/live HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).unwrap();
        });
        address
    }

    #[test]
    fn only_the_answer_200_counts_as_live() {
        let mut address = serve_once("HTTP/1.1 200 OK\r\n\r\n{}");
        address.set_ip(Ipv4Addr::UNSPECIFIED.into());
        probe(address).unwrap();
        let failure = probe(serve_once("HTTP/1.1 503 Busy\r\n\r\n")).unwrap_err();
        assert!(failure.to_string().ends_with(r#"answers "HTTP/1.1 503 Busy""#), "{failure}");
    }

    #[test]
    fn who_does_not_listen_is_not_live() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert!(probe(address).is_err());
    }
}
