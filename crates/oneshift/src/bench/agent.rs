//! The agent that is measured with: it does next to nothing, so that what is left is ours.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;

use anyhow::Context;

/// The prompt that makes it do nothing.
pub(super) const NOTHING: &str = "nothing";

/// The prompt that makes it print so many lines of so many bytes.
pub(super) fn lines(count: u64, length: usize) -> String {
    format!("lines {count} {length}")
}

/// The prompt that makes it print what it is sent from this address, until that closes the
/// connection.
pub(super) fn held(by: SocketAddr) -> String {
    format!("held {by}")
}

/// Does what the prompt on standard input says.
pub(crate) fn act() -> anyhow::Result<ExitCode> {
    let mut prompt = String::new();
    std::io::stdin().read_to_string(&mut prompt).context("cannot read the prompt")?;
    let words: Vec<&str> = prompt.split_whitespace().collect();
    match words[..] {
        ["lines", count, length] => print(count.parse()?, length.parse()?)?,
        ["held", by] => {
            let mut from = TcpStream::connect(by).context("cannot report to the benchmark")?;
            std::io::copy(&mut from, &mut std::io::stdout())?;
        }
        _ => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn print(count: u64, length: usize) -> std::io::Result<()> {
    let mut line = vec![b'x'; length];
    line.push(b'\n');
    let mut out = std::io::BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    for _ in 0..count {
        out.write_all(&line)?;
    }
    out.flush()
}
