//! What `deploy-swarm.sh` says and does, above all when something is missing, refused or changes in
//! between. Docker is a script of the tests', in the folder `fake`, since a real engine does not
//! fail when it is told to; that the script works with a real one is tested in `tests/swarm`.
//!
//! | file | what of the script |
//! |---|---|
//! | `arguments` | what its caller may say |
//! | `settings` | how `.env` is read, and what is exported of it |
//! | `engine` | machines without a swarm, addresses, dry runs |
//! | `room` | whether an update fits |
//! | `images` | what is built, pushed and named |
//! | `secrets` | their versions, and what becomes of old ones |
//! | `cluster_token` | a change of the cluster's token |
//! | `rollback` | deployments that fail, and the way back |
//! | `removal` | `down` |
//! | `files` | the files that Docker gets, and the commands of docs/swarm.md |

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod arguments;
mod cluster_token;
mod engine;
mod files;
mod images;
mod machine;
mod removal;
mod rollback;
mod room;
mod secrets;
mod settings;
