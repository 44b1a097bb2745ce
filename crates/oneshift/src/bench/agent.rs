//! The agent that is measured with: it does next to nothing, so that what is left is ours.

use std::io::Write;
use std::process::ExitCode;

use crate::cli::BenchAgent;

/// Does what the arguments say.
pub(crate) fn act(agent: BenchAgent) -> anyhow::Result<ExitCode> {
    match agent {
        BenchAgent::Noop => {}
        BenchAgent::Lines { count, length } => {
            let mut line = vec![b'x'; length];
            line.push(b'\n');
            let mut out = std::io::BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
            for _ in 0..count {
                out.write_all(&line)?;
            }
            out.flush()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
