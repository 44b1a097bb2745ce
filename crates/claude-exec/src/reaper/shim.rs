//! The guard process itself.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process_group, wait};
use signal_hook::consts::signal as signals;

use super::control::{Order, Report};
use super::descendants::Sweep;
use super::{INPUT_OPTION, adopt_orphans, custody};
use crate::confinement::Walls;

/// How long processes may resist SIGKILL, as those do that hang in a system call. The worker's
/// stop must be over within 5 s, and has spent 3 s when it comes to this.
const KILL_PATIENCE: Duration = Duration::from_secs(1);

/// Longest wait for something to happen; only a backstop, for every change wakes the guard.
const WAKE_UP: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Signals whose "ignore" would be inherited by the program: a handler in the guard becomes the
/// default again when the program is started.
const RESET: [i32; 10] = [
    signals::SIGHUP,
    signals::SIGINT,
    signals::SIGQUIT,
    signals::SIGTERM,
    signals::SIGUSR1,
    signals::SIGUSR2,
    signals::SIGALRM,
    signals::SIGTSTP,
    signals::SIGTTIN,
    signals::SIGTTOU,
];

/// Runs `[--input FILE] [WALLS…] -- PROGRAM [ARGUMENT…]` and kills what is left of it afterwards.
///
/// Standard input is the control socket. The exit code is the program's, 128 + n if signal n ended
/// it, 127 if it could not be started.
pub fn reap(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let (code, report) = match prepare(arguments).and_then(Guard::start) {
        Ok(guard) => guard.watch(),
        Err(error) => (127, Report::not_started(&error)),
    };
    // The worker may be gone; then nobody needs the report.
    let _ = control().and_then(|mut socket| socket.write_all(report.to_line().as_bytes()));
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

/// The control socket, which the worker made this process's standard input.
fn control() -> io::Result<UnixStream> {
    Ok(UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?))
}

/// The program, and what is to be around it.
fn prepare(mut arguments: impl Iterator<Item = OsString>) -> io::Result<(Command, Walls)> {
    let usage = || io::Error::from(rustix::io::Errno::INVAL);
    let (mut input, mut walls) = (Stdio::null(), Walls::default());
    let mut next = || arguments.next().ok_or_else(usage);
    let program = loop {
        let (option, value) = (next()?, next()?);
        if option == "--" {
            break value;
        } else if option == INPUT_OPTION {
            input = File::open(value)?.into();
        } else if !walls.take_option(&option, || PathBuf::from(value)) {
            return Err(usage());
        }
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(input).process_group(0);
    Ok((command, walls))
}

#[derive(Debug)]
struct Guard {
    program: Pid,
    control: UnixStream,
    /// Of the job's folder; free when this process has ended.
    _lock: Option<OwnedFd>,
    /// Readable when a signal has come.
    woken: UnixStream,
    interrupt: Arc<AtomicBool>,
    terminate: Arc<AtomicBool>,
    exit_code: Option<i32>,
}

impl Guard {
    fn start((mut command, walls): (Command, Walls)) -> io::Result<Self> {
        // Fails only if this process leads a group already, which it then shares with nobody.
        let _ = rustix::process::setsid();
        adopt_orphans()?;
        // The agent may have stopped this process when the worker dies; then it must go on to see
        // that. To a process that is not stopped the signal means nothing.
        rustix::process::set_parent_process_death_signal(Some(Signal::CONT))?;
        rustix::thread::set_no_new_privs(true)?;
        let control = control()?;
        let lock = custody::take_over(&control)?;
        control.set_nonblocking(true)?;
        let (woken, wake) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        let (interrupt, terminate) = (Arc::default(), Arc::default());
        for signal in RESET {
            signal_hook::flag::register(signal, Arc::default())?;
        }
        signal_hook::flag::register(signals::SIGINT, Arc::clone(&interrupt))?;
        signal_hook::flag::register(signals::SIGTERM, Arc::clone(&terminate))?;
        for signal in [signals::SIGINT, signals::SIGTERM, signals::SIGCHLD] {
            signal_hook::low_level::pipe::register(signal, wake.try_clone()?)?;
        }
        // The guard goes behind them as well: it needs no more than to look at /proc.
        walls.close()?;
        let program = Pid::from_child(&command.spawn()?);
        let exit_code = None;
        Ok(Self { program, control, _lock: lock, woken, interrupt, terminate, exit_code })
    }

    /// Watches until the program has ended, or is to be killed; then kills what is left.
    fn watch(mut self) -> (i32, Report) {
        let must_kill = loop {
            self.collect_dead();
            if self.exit_code.is_some() {
                break false;
            }
            self.forward_signals();
            if self.follow_orders() {
                break true;
            }
            self.wait();
        };
        let killed = self.kill_all();
        let leftovers = if must_kill { 0 } else { killed };
        let exit_code = self.exit_code.unwrap_or(128 + Signal::KILL.as_raw());
        (exit_code, Report::Ended { exit_code, leftovers })
    }

    /// Waits for a signal, an order, or the worker's end.
    fn wait(&mut self) {
        let mut events =
            [PollFd::new(&self.control, PollFlags::IN), PollFd::new(&self.woken, PollFlags::IN)];
        // Interrupted or not: whatever has come is looked at now.
        let _ = poll(&mut events, Some(&WAKE_UP));
        let mut bytes = [0; 64];
        while self.woken.read(&mut bytes).is_ok_and(|read| read > 0) {}
    }

    fn forward_signals(&self) {
        if self.interrupt.swap(false, Ordering::Relaxed) {
            self.signal_program(Signal::INT);
        }
        if self.terminate.swap(false, Ordering::Relaxed) {
            self.signal_program(Signal::TERM);
        }
    }

    /// Does what the worker says; true if everything must be killed, also when it is gone.
    fn follow_orders(&mut self) -> bool {
        let mut byte = [0];
        loop {
            match self.control.read(&mut byte) {
                Ok(0) => return true,
                Ok(_) => match Order::from_byte(byte[0]) {
                    Some(Order::Interrupt) => self.signal_program(Signal::INT),
                    Some(Order::Terminate) => self.signal_program(Signal::TERM),
                    Some(Order::Kill) => return true,
                    None => {}
                },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
            }
        }
    }

    fn signal_program(&self, signal: Signal) {
        // An error means that the group is empty.
        let _ = kill_process_group(self.program, signal);
    }

    /// Collects the dead, own and adopted; true if there are no children any more, and so, as
    /// orphans become children at once, nothing at all below this process.
    fn collect_dead(&mut self) -> bool {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((id, status))) if id == self.program => {
                    self.exit_code = Some(exit_code(status));
                }
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }

    fn kill_all(&mut self) -> u32 {
        let give_up = Instant::now() + KILL_PATIENCE;
        let mut sweep = Sweep::new(rustix::process::getpid());
        while !self.collect_dead() && Instant::now() < give_up {
            let before = sweep.killed();
            sweep.kill_round();
            if sweep.killed() == before {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        sweep.killed()
    }
}

fn exit_code(status: WaitStatus) -> i32 {
    let signal = || status.terminating_signal().map(|signal| 128 + signal);
    status.exit_status().or_else(signal).unwrap_or(127)
}
