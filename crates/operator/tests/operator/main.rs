//! The operator as a process, between a Docker and a gateway that do what a test says.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod docker;
mod gateway;
mod orders;
mod outages;
mod process;
mod scaling;
mod seeing;
