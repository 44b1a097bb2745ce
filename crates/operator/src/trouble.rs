//! Says once that something does not work, and once that it works again.

use std::fmt::Display;

use crate::text::one_line;

/// What does not work at this moment.
#[derive(Debug, Default)]
pub(crate) struct Trouble(Option<String>);

impl Trouble {
    /// Whether there is any.
    pub(crate) fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Logs what has changed: another trouble, or its end, in these words.
    pub(crate) fn note(&mut self, error: Option<&impl Display>, over: &str) {
        let error = error.map(|error| one_line(error));
        if error == self.0 {
            return;
        }
        match &error {
            Some(error) => tracing::warn!("{error}; trying again"),
            None => tracing::info!("{over} again"),
        }
        self.0 = error;
    }
}
