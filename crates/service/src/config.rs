//! The one reader of the process's environment.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use secrecy::SecretString;

/// The environment's variables, read once at start.
#[derive(Clone, Default)]
pub struct Environment {
    variables: HashMap<String, String>,
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{name} {fault}")]
pub struct ConfigError {
    name: String,
    fault: String,
}

impl ConfigError {
    /// A fault of the variable `name`, worded to follow its name: `NAME is not a number`.
    pub fn new(name: impl Into<String>, fault: impl Into<String>) -> Self {
        Self { name: name.into(), fault: fault.into() }
    }
}

impl Environment {
    /// The environment of this process; variables that are not UTF-8 are left out.
    #[must_use]
    pub fn from_process() -> Self {
        let utf8 = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self { variables: std::env::vars_os().filter_map(utf8).collect() }
    }

    /// An environment made of these pairs, for tests.
    #[must_use]
    pub fn from_pairs<const N: usize>(pairs: [(&str, &str); N]) -> Self {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self { variables: pairs.into_iter().map(owned).collect() }
    }

    /// A variable's value; one that is empty counts as not set.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        self.variables.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// Whether a switch is on: `1`, `true`, `yes` or `on`.
    ///
    /// # Errors
    /// When the value is neither that nor `0`, `false`, `no` or `off`.
    pub fn flag(&self, name: &str) -> Result<bool, ConfigError> {
        match self.text(name).as_deref() {
            Some("1" | "true" | "yes" | "on") => Ok(true),
            None | Some("0" | "false" | "no" | "off") => Ok(false),
            Some(value) => {
                Err(ConfigError::new(name, format!("is {value:?}; use 1 or 0 (or leave it out)")))
            }
        }
    }

    /// A number, or the default when the variable is not set.
    ///
    /// # Errors
    /// When the value is not a number of this type.
    pub fn number<T: FromStr>(&self, name: &str, default: T) -> Result<T, ConfigError> {
        match self.text(name) {
            None => Ok(default),
            Some(value) => value.parse().map_err(|_| {
                ConfigError::new(name, format!("is {value:?}, which is not a number"))
            }),
        }
    }

    /// A path, or the default when the variable is not set.
    #[must_use]
    pub fn path(&self, name: &str, default: &str) -> PathBuf {
        self.text(name).map_or_else(|| PathBuf::from(default), PathBuf::from)
    }

    /// A secret: the value of `NAME`, or the content of the file that `NAME_FILE` names, without
    /// the line break at its end. An empty file counts as not set, as an empty variable does: in a
    /// cluster every secret has a file, also one that nobody has filled in.
    ///
    /// # Errors
    /// When both are set, or the file cannot be read. The secret is never part of the message.
    pub fn secret(&self, name: &str) -> Result<Option<SecretString>, ConfigError> {
        let file_name = format!("{name}_FILE");
        match (self.text(name), self.text(&file_name)) {
            (Some(_), Some(_)) => {
                Err(ConfigError::new(name, format!("and {file_name} are both set; use one")))
            }
            (Some(value), None) => Ok(Some(SecretString::from(value))),
            (None, Some(path)) => read_secret(&file_name, Path::new(&path)),
            (None, None) => Ok(None),
        }
    }
}

fn read_secret(name: &str, path: &Path) -> Result<Option<SecretString>, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        ConfigError::new(name, format!("names {}, which cannot be read: {error}", path.display()))
    })?;
    let secret = text.trim_end_matches(['\r', '\n']);
    Ok((!secret.is_empty()).then(|| SecretString::from(secret)))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_secret_may_come_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "hunter2\n").unwrap();
        let environment = Environment::from_pairs([("TOKEN_FILE", path.to_str().unwrap())]);
        assert_eq!(environment.secret("TOKEN").unwrap().unwrap().expose_secret(), "hunter2");
    }

    #[test]
    fn an_empty_file_is_no_secret() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "\n").unwrap();
        let environment = Environment::from_pairs([("TOKEN_FILE", file.path().to_str().unwrap())]);
        assert!(environment.secret("TOKEN").unwrap().is_none());
    }

    #[test]
    fn a_secret_given_twice_is_refused_without_showing_it() {
        let environment = Environment::from_pairs([("TOKEN", "hunter2"), ("TOKEN_FILE", "/x")]);
        let fault = environment.secret("TOKEN").unwrap_err().to_string();
        assert_eq!(fault, "TOKEN and TOKEN_FILE are both set; use one");
    }

    #[test]
    fn an_empty_variable_counts_as_not_set() {
        let environment = Environment::from_pairs([("A", "")]);
        assert_eq!(environment.text("A"), None);
        assert_eq!(environment.number("A", 7).unwrap(), 7);
    }
}
