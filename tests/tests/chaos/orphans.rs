//! What the house's processes leave behind: whatever loses its parent is given to the test itself,
//! so nothing that was ever started can be overlooked, however short its life was.

use std::time::Duration;

use end_to_end::kernel;
use rustix::process::{Pid, WaitOptions, getpid, set_child_subreaper, waitpid};
use tokio::time::{Instant, sleep};

/// A worker whose gateway is gone for good ends within its reader's time and that of its salvage.
const PATIENCE: Duration = Duration::from_secs(45);

/// From here on, orphans come to this process.
pub(crate) fn adopt() {
    set_child_subreaper(Some(getpid())).expect("any process may adopt orphans");
}

/// Buries the orphans that have ended.
pub(crate) fn bury() {
    for orphan in kernel::zombies_of(std::process::id()).iter().filter(|it| is_orphan(it)) {
        let pid = i32::try_from(orphan.id).ok().and_then(Pid::from_raw);
        // An error means that it is buried already.
        let _ = pid.map(|pid| waitpid(Some(pid), WaitOptions::NOHANG));
    }
}

/// The orphans that run.
pub(crate) fn alive() -> Vec<kernel::Seen> {
    bury();
    let mut children = kernel::children_of(std::process::id());
    children.retain(is_orphan);
    children
}

/// Waits until there are none of these processes; returns those that stay.
pub(crate) async fn that_stay(look: impl Fn() -> Vec<kernel::Seen>) -> Vec<kernel::Seen> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let seen = look();
        if seen.is_empty() || Instant::now() > give_up {
            return seen;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Not a child of our own: `oneshift up`, or the git of the test's server, whose names the kernel
/// cuts off.
fn is_orphan(child: &kernel::Seen) -> bool {
    !["oneshift", "git", "git-http-backen"].contains(&child.name.as_str())
}
