//! What to type next.

use client::protocol::JobId;

use crate::cli::DEFAULT_URL;

/// Commands that lead on from where somebody is.
#[derive(Clone, Debug)]
pub(crate) struct Hints {
    /// How this program is to be called to reach the same gateway.
    program: String,
}

impl Hints {
    /// For people who speak to the gateway at this address.
    pub(crate) fn for_gateway(url: &str) -> Self {
        let is_default = url == DEFAULT_URL;
        let program =
            if is_default { "oneshift".to_owned() } else { format!("oneshift --url {url}") };
        Self { program }
    }

    /// How to apply a job's patch.
    pub(crate) fn patch(&self, job: JobId) -> String {
        format!("{} patch {job} | git apply", self.program)
    }

    /// How to see a job again.
    pub(crate) fn follow(&self, job: JobId) -> String {
        format!("{} logs -f {job}", self.program)
    }
}
