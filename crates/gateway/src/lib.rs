//! Front door: accepts, remembers and matches jobs.
//!
//! `scheduler` and `registry` decide, and do nothing else; `store` remembers; `gateway` and the
//! modules around it do what was decided; `routes` speak HTTP.

mod absences;
mod alarm;
mod attachments;
mod caller;
mod chunk;
mod cluster;
mod config;
mod connections;
mod departures;
mod door;
mod follow;
mod gateway;
mod job_ref;
mod leases;
mod live;
mod parking;
mod rates;
mod recovery;
mod registry;
mod retention;
mod routes;
mod runner;
mod scheduler;
mod serve;
mod store;
mod submit;
mod tether;
mod tokens;
mod turns;
mod waits;

pub use config::{Config, DEFAULT_PORT};
pub use routes::document as openapi_document;
pub use serve::{StartError, serve};
pub use store::OpenError;
pub use tokens::{Quotas, Scope, Tokens};
