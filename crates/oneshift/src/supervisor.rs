//! Keeps the services of one machine running: the supervisor behind `up`, `demo` and `bench`.

mod backoff;
mod binaries;
mod environment;
mod log_lines;
mod seat;
mod service;
mod sizing;
mod stack;
mod token;

pub(crate) use binaries::Binaries;
pub(crate) use environment::Surroundings;
pub(crate) use seat::{Launch, Occupant};
pub(crate) use service::Service;
pub(crate) use sizing::{Machine, Sizes};
pub(crate) use stack::{Stack, free_port};
pub(crate) use token::random_token;
