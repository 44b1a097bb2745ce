//! What every Oneshift service repeats: configuration, telemetry, errors, streams, graceful
//! serving; and [`one_shot`], the one-job server that all workers are.

pub mod auth;
pub mod body;
pub mod browsers;
pub mod config;
pub mod error;
pub mod event_stream;
pub mod extract;
pub mod hardening;
pub mod health;
pub mod one_shot;
pub mod serve;
pub mod signals;
mod succession;
pub mod telemetry;
pub mod workspace;

mod worker_main;

pub use client;
pub use config::{ConfigError, Environment};
pub use error::ApiError;
pub use protocol;
pub use worker_main::worker_main;
