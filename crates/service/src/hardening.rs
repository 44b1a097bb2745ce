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

/// Ties this process to the supervisor whose id is in `ONESHIFT_SUPERVISOR`, if that is set: when
/// the supervisor dies, by whatever means, this process gets a SIGTERM.
///
/// # Errors
/// When the supervisor is dead already, or the variable is not a process id.
pub fn follow_supervisor(environment: &Environment) -> Result<(), ConfigError> {
    const NAME: &str = "ONESHIFT_SUPERVISOR";
    let supervisor = environment.number(NAME, 0_i32)?;
    if supervisor == 0 {
        return Ok(());
    }
    let fault = |what: &str| ConfigError::new(NAME, what);
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(|_| fault("cannot be followed: the system refuses a parent-death signal"))?;
    if rustix::process::getppid().map(Pid::as_raw_pid) != Some(supervisor) {
        return Err(fault("is not the parent of this process, or has died"));
    }
    Ok(())
}
