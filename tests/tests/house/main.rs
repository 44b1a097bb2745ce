//! End to end: the real binaries, as `oneshift up` starts them or by hand, with a real git server,
//! and the real Claude Code CLI before a scripted model.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod bad_input;
mod cancel;
mod command_line;
mod concurrency;
mod draining;
mod git_access;
mod hostile_repository;
mod lost_workers;
mod rate_limits;
mod readme;
mod real_agent;
mod resume;
mod salvage;
mod secrets;
mod stand_alone;
