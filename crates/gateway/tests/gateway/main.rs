//! The gateway over real sockets, with real workers.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod access;
mod agents;
mod bad_input;
mod cancel;
mod cluster;
mod departures;
mod handover;
mod jobs;
mod openapi;
mod parking;
mod process;
mod quotas;
mod restart;
mod salvage;
mod streams;
mod support;
mod worker;
mod workers;
