//! Measurements.

pub(crate) mod agent;
