//! How many jobs may wait and run.

use std::collections::HashMap;
use std::sync::Arc;

use service::protocol::JobId;

use super::Scheduler;
use super::ready::Account;
use crate::tokens::Quotas;

/// How many jobs may wait.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Of everybody together.
    pub(crate) max_queued: usize,
    /// Of these tokens.
    pub(crate) by_token: HashMap<Arc<str>, usize>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_queued: usize::MAX, by_token: HashMap::new() }
    }
}

/// Why a job is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A job with the same concurrency key exists already.
    Conflict {
        /// The job that exists.
        with: JobId,
    },
    /// So many jobs wait, whosever they are.
    QueueFull { max: usize },
    /// So many jobs of its token wait.
    QuotaExceeded { max: usize },
}

impl Scheduler {
    /// A scheduler without jobs.
    pub(crate) fn new(
        max_queued: usize,
        quotas: impl IntoIterator<Item = (Arc<str>, Quotas)>,
    ) -> Self {
        let mut scheduler = Self::default();
        scheduler.limits.max_queued = max_queued;
        let count = |number: std::num::NonZeroU32| number.get() as usize;
        for (token, quotas) in quotas {
            if let Some(max) = quotas.queued_jobs {
                scheduler.limits.by_token.insert(Arc::clone(&token), count(max));
            }
            if let Some(max) = quotas.running_jobs {
                scheduler.ready.limit(token, count(max));
            }
        }
        scheduler
    }

    /// Whether one more job may wait on this account.
    pub(super) fn check_limits(&self, account: &Account) -> Result<(), Refusal> {
        let max = self.limits.max_queued;
        if self.jobs.len() - self.ready.running() >= max {
            return Err(Refusal::QueueFull { max });
        }
        match self.limits.by_token.get(account.token()) {
            Some(&max) if self.ready.waiting_of(account) >= max => {
                Err(Refusal::QuotaExceeded { max })
            }
            _ => Ok(()),
        }
    }
}
