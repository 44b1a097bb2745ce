//! Many, large, slow and dead: jobs, followers, outputs and connections in numbers that nobody plans
//! for. What is checked is that all are served and nothing grows without bound, not how fast.
//!
//! `ONESHIFT_LOAD=full` takes the sizes that the project promises; without it they are such that a
//! debug build on two processors is done in about two minutes.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod connections;
mod followers;
mod gateway;
mod half_open;
mod jobs;
mod network;
mod output;
mod queue;
mod scene;
mod slow;
mod stream;
mod unread;

use end_to_end::variable;
use tokio::sync::{Mutex, MutexGuard};

/// The promised size in a full run, a smaller one otherwise.
fn size(usual: usize, full: usize) -> usize {
    if variable("ONESHIFT_LOAD").is_some_and(|load| load == "full") { full } else { usual }
}

/// Waits until no other heavy test runs: together they would need more files and memory than many a
/// machine has.
async fn alone() -> MutexGuard<'static, ()> {
    static HEAVY: Mutex<()> = Mutex::const_new(());
    HEAVY.lock().await
}
