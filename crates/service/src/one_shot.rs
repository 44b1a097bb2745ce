//! The one-job server that all workers are: it accepts exactly one job, keeps its event log, serves
//! it resumably, cancels, drains, and ends once its reader has the terminal event.
//!
//! A worker implements [`Shift`] for each kind of job and hands them to [`OneShot`].

mod attach;
mod chatter;
mod config;
mod job;
mod log;
mod openapi;
mod routes;
mod run;
mod shift;
mod slot;
mod spill;

pub(crate) use config::listen;
pub use config::{OneShotConfig, listen_address};
pub use job::{Job, Stop};
pub use run::{Exit, OneShot};
pub use shift::Shift;
