//! The guard between the worker and an agent: nothing that the agent started survives it.
//!
//! The worker runs `claude-exec reap -- <program>`: a small process without a runtime that adopts
//! every orphan below it (child subreaper), and kills all of them when the program has ended, when
//! the worker says so, or when the worker is gone. The worker is noticed to be gone by the end of
//! the control socket that only it holds, so even a `kill -9` of the worker is seen. (A deadly
//! parent-death signal would be wrong: it comes when the *thread* that started the guard ends.)
//!
//! The guard also holds the lock of the job's folder: another attempt must wait for all of this.
//!
//! The worker is a subreaper as well, and sweeps up itself if the agent kills its guard. What is
//! not covered is an agent of the same user that kills guard and worker in the same instant; in a
//! container its processes end with the container.

mod control;
mod custody;
mod descendants;
mod shim;

pub(crate) use control::{Order, Report};
pub(crate) use custody::hand_over;
pub(crate) use descendants::kill_all_below;
pub use shim::reap;

/// The first argument that makes the binary a guard.
pub const SUBCOMMAND: &str = "reap";

/// The guard's option that names the file which becomes the program's standard input.
pub(crate) const INPUT_OPTION: &str = "--input";

/// Makes this process the one that orphans below it are given to.
///
/// # Errors
/// When the system refuses.
pub fn adopt_orphans() -> std::io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}
