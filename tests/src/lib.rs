//! The outside world as tests need it: a real git server, a scripted model, and the means to start
//! the real binaries.
//!
//! The fixtures know none of our own crates, so every crate can use them as a dev-dependency, and
//! what they check of the wire formats is an opinion of their own.

mod binaries;
mod claude_cli;
pub mod clock;
mod environment;
pub mod git;
pub mod git_server;
pub mod http;
pub mod kernel;
mod loopback;
pub mod model;
pub mod process;
mod small_disk;
pub mod sse;
pub mod stack;
pub mod tls;
mod wait;

pub use binaries::binaries;
pub use claude_cli::{VERSION as CLAUDE_VERSION, claude_cli, claude_command};
pub use environment::{skipped, tool, variable};
pub use git_server::GitServer;
pub use model::Model;
pub use process::{Launch, Process};
pub use small_disk::SmallDisk;
pub use stack::{Ended, Setup, Stack, free_port};
pub use wait::eventually;
