//! What a process takes away from itself at its start.

use rustix::process::{DumpableBehavior, Pid, Signal};

use crate::config::{ConfigError, Environment};

/// Keeps other processes of the same user from reading this one's memory and environment, and this
/// one and its children from gaining privileges.
///
/// Swarm's `stack deploy` ignores `security_opt`, so no-new-privileges is set here. A process does
/// this before anything else: until then an agent of the same user may read its environment.
///
/// # Errors
/// When the system refuses.
pub fn harden() -> std::io::Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// The process that keeps this one running, and without which there is no gateway to report to.
#[derive(Clone, Copy, Debug)]
pub struct Supervisor(Pid);

impl Supervisor {
    /// Ties this process to the supervisor whose id is in `ONESHIFT_SUPERVISOR`, if that is set:
    /// when the supervisor dies, by whatever means, this process gets a SIGTERM.
    ///
    /// # Errors
    /// When the supervisor is dead already, or the variable is not a process id.
    pub fn follow(environment: &Environment) -> Result<Option<Self>, ConfigError> {
        const NAME: &str = "ONESHIFT_SUPERVISOR";
        let fault = |what: &str| ConfigError::new(NAME, what);
        let id = environment.number(NAME, 0_i32)?;
        if id < 0 {
            return Err(fault("is not a process id"));
        }
        let Some(supervisor) = Pid::from_raw(id).map(Self) else { return Ok(None) };
        rustix::process::set_parent_process_death_signal(Some(Signal::TERM))
            .map_err(|_| fault("cannot be followed: the system refuses a parent-death signal"))?;
        if supervisor.is_gone() {
            return Err(fault("is not the parent of this process, or has died"));
        }
        Ok(Some(supervisor))
    }

    /// Whether it has died. A SIGTERM that comes then is its death, and not its wish.
    #[must_use]
    pub fn is_gone(self) -> bool {
        rustix::process::getppid() != Some(self.0)
    }
}
