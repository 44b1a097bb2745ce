//! Ids of jobs, workers, workspaces and orders.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A text that should be an id and is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}: a UUID such as 0192f0c1-7c5e-7b3a-9d57-2f1f5c0e8a11 is expected")]
pub struct InvalidId {
    text: String,
    what: &'static str,
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schema(value_type = String, format = "uuid")]
        pub struct $name(Uuid);

        impl $name {
            /// A new id, unique and sortable by the time it was made (UUID version 7, RFC 9562).
            #[must_use]
            pub fn random() -> Self {
                Self(Uuid::now_v7())
            }

            /// The id's 16 bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                // Only the hyphenated form: the id becomes a folder's name, so it has one spelling.
                match Uuid::try_parse(text) {
                    Ok(id) if id.hyphenated().to_string() == text => Ok(Self(id)),
                    _ => Err(InvalidId { text: text.chars().take(80).collect(), what: $what }),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

uuid_id!(
    /// Names one job for as long as anybody remembers it, at every hop.
    JobId,
    "a job id"
);

uuid_id!(
    /// Names one worker process, from its start to its exit.
    WorkerId,
    "a worker id"
);

uuid_id!(
    /// Names one shared workspace: workers that report the same id see the same files.
    WorkspaceId,
    "a workspace id"
);

uuid_id!(
    /// Names one order to the operator, from the request for it to its result.
    OrderId,
    "an order id"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text() {
        let id = JobId::random();
        assert_eq!(id.to_string().parse::<JobId>(), Ok(id));
    }

    #[test]
    fn only_the_hyphenated_lowercase_form_is_an_id() {
        for text in [
            "",
            "..",
            "0192F0C1-7C5E-7B3A-9D57-2F1F5C0E8A11",
            "0192f0c17c5e7b3a9d572f1f5c0e8a11",
            "{0192f0c1-7c5e-7b3a-9d57-2f1f5c0e8a11}",
        ] {
            assert!(text.parse::<JobId>().is_err(), "{text}");
        }
    }
}
