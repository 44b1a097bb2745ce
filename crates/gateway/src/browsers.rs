//! Keeps web pages of strangers away, as all services do that ask for no token.

pub(crate) use service::browsers::{Admission, refuse_strangers_pages};
