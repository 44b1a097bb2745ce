//! What children write to their standard error, line by line with their name.

use console::Style;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

use super::service::Service;
use crate::view::text::printable;

/// Longest line that is kept whole, in bytes.
const MAX_LINE: u64 = 64 * 1024;

/// Prints a child's lines until it closes its end.
pub(super) async fn pass_on(service: Service, from: impl AsyncRead + Unpin) {
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                for part in printable(&String::from_utf8_lossy(&line)).lines() {
                    print(service, part);
                }
            }
        }
    }
}

/// Prints a line about a service.
pub(super) fn print(service: Service, line: &str) {
    let name = Style::new().dim().for_stderr().apply_to(format!("{service:<11} |"));
    // A terminal that is gone must not take the supervisor with it.
    let _ = std::io::Write::write_all(
        &mut std::io::stderr().lock(),
        format!("{name} {line}\n").as_bytes(),
    );
}
