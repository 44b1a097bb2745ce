//! The kill matrix.

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
mod scene;
mod supervisor;
mod terminated;
