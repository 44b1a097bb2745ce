//! Waiting for what a test cannot be told of.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long a test waits before it gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Looks again and again until there is something to see.
///
/// # Panics
/// When there is nothing for a minute; `what` says what was waited for.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "in a minute it never came true that {what}");
        sleep(LOOK).await;
    }
}
