//! The kill matrix: who dies, and how, at every point of a job's life, one test for each cell.
//!
//! A cell brings one job to its point, by gates that the test closes, lets one process die there,
//! opens the gates, and then checks in [`aftermath`] what is the same for all: the promised ending and
//! number of attempts, exactly one terminal event, ids without gaps, followers that saw what is
//! stored, one run of the agent, no process, no lock and nothing in the folders that housekeeping
//! would not take, and that the next job completes.
//!
//! | file | who dies, and how |
//! |---|---|
//! | `killed` | each worker and the gateway, by `kill -9` |
//! | `terminated` | the same, by SIGTERM without any drain time, and with enough of it |
//! | `hung` | each worker, the gateway and the supervisor, by SIGSTOP, and they come back |
//! | `supervisor` | `oneshift up` itself, and it is started again at once |
//! | `edges` | while a job is accepted, while its end is told, and under an agent that resists |
//! | `full_disk` | nobody: the disk of the store or of the workspace is full |
//! | `locked_store` | nobody: somebody else has the store's file |
//! | `clock` | nobody: the clock is set, hours or a year ahead or back |
//! | `retention` | what is left of the dead goes after its time |
//!
//! These cells are elsewhere, in `tests/tests/house`:
//!
//! - `lost_workers`: the workflow and the git-pull killed while pulling, the workflow and the
//!   claude-exec killed while the agent runs, and the same with a retry;
//! - `salvage`: workflow and claude-exec hung while the agent runs, git-pull hung while delivering,
//!   gateway and workflow killed together;
//! - `resume`: the gateway killed while the agent runs, and everybody but the supervisor at once.
//!
//! The same of the gateway alone, with workers that do what a test says, is in
//! `crates/gateway/tests/gateway`: `restart`, `handover`, `process`.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod aftermath;
mod cell;
mod clock;
mod edges;
mod follower;
mod full_disk;
mod hung;
mod killed;
mod locked_store;
mod locks;
mod point;
mod retention;
mod scene;
mod supervisor;
mod terminated;
