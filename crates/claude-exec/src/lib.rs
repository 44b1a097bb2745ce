//! One-job worker that runs a coding agent in a checkout, then the check, and judges how it ended.
//!
//! `execute` is the shift; `agent` turns one CLI into events and a verdict; `process` runs any
//! program under the guard of `reaper`, so that nothing it starts survives; `judge` weighs the
//! evidence.

mod agent;
mod config;
mod confinement;
mod directory;
mod environment;
mod evidence;
mod execute;
mod homes;
mod judge;
mod lines;
mod output;
mod process;
pub mod reaper;
mod redact;

pub use config::Config;
pub use confinement::can_confine;
pub use execute::Execute;
