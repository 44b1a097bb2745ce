//! Notices a worker that hangs or is cut off, whose connections may look open for minutes.

use std::time::Duration;

use service::client::ClientError;
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until, timeout};

use super::{Known, Runner};

/// How long a worker may say nothing before it is asked whether it lives. An agent may think for
/// longer than this: the worker answers meanwhile.
const SILENCE: Duration = Duration::from_secs(15);

/// How long a worker whose line broke may take to come back before it is asked; it tries at once,
/// then every second.
const RETURN: Duration = Duration::from_secs(3);

/// How long an answer may take; a worker has threads to spare for it.
const ANSWER: Duration = Duration::from_secs(5);

/// How often in a row a worker is asked in vain before it counts as lost.
const QUESTIONS: usize = 2;

impl Runner {
    /// Resolves when the worker does not answer any more. `heard` changes with each of its events.
    pub(super) async fn pulse_ends(
        &self,
        mut heard: watch::Receiver<()>,
        known: Known,
    ) -> ClientError {
        // One that did not answer when it was given the job has been silent already.
        let mut silence = if known == Known::Unclear { Duration::ZERO } else { SILENCE };
        loop {
            let asked_at = tokio::time::Instant::now() + std::mem::replace(&mut silence, SILENCE);
            tokio::select! {
                changed = heard.changed() => match changed {
                    Ok(()) => continue,
                    // Nobody listens to the worker any more.
                    Err(_) => std::future::pending().await,
                },
                () = sleep_until(asked_at) => {}
                () = self.line_broke.notified() => {
                    sleep(RETURN).await;
                    if self.gateway.core().registry.contact(self.worker.worker).is_some() {
                        continue;
                    }
                }
            }
            if let Some(error) = self.does_not_answer(&heard).await {
                return error;
            }
        }
    }

    async fn does_not_answer(&self, heard: &watch::Receiver<()>) -> Option<ClientError> {
        let mut last = None;
        for _ in 0..QUESTIONS {
            match timeout(ANSWER, self.endpoint.status()).await {
                Ok(Ok(_)) => return None,
                Ok(Err(error)) => last = Some(error),
                Err(_) => {
                    let url = self.endpoint.base().to_owned();
                    let cause = format!("no answer for {} s", ANSWER.as_secs());
                    last = Some(ClientError::Unreachable { url, cause });
                }
            }
            // Its events say as much; and while the store is slow, answers wait to be noticed.
            if heard.has_changed().unwrap_or(true) {
                return None;
            }
        }
        last
    }
}
