//! Violence: a random process of the house is killed, stopped or asked to end every 200 ms, the
//! gateway and `oneshift up` too, while jobs are submitted, followed and cancelled; then every
//! promise is checked. And a soak: the same for longer, less wildly, while memory and open files are
//! watched. Without further ado both are short; docs/reliability.md says how to make them longer.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod agent;
mod chaos;
mod crowd;
mod door;
mod fit;
mod house;
mod killer;
mod leftovers;
mod orphans;
mod plan;
mod random;
mod samples;
mod soak;
mod story;
mod verdict;

use std::io::Write;

use end_to_end::variable;
use tokio::sync::Mutex;

/// Held by the test that runs: beside another one, what it measures would be the other's as well.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Says it even when the test runner hides what tests print.
fn say(line: &str) {
    // If it cannot be written, nobody reads.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// A number from the environment.
fn number<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = variable(name)?.into_string().unwrap();
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text:?}")))
}
