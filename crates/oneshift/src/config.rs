//! The one reader of the environment in the command line.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context;
use secrecy::SecretString;

use crate::failure::Usage;

/// The environment, read once at start.
#[derive(Clone, Default)]
pub(crate) struct Config {
    variables: BTreeMap<OsString, OsString>,
}

impl Config {
    /// The environment of this process.
    pub(crate) fn from_process() -> Self {
        Self { variables: std::env::vars_os().collect() }
    }

    /// An environment made of these pairs, for tests.
    #[cfg(test)]
    pub(crate) fn from_pairs<const N: usize>(pairs: [(&str, &str); N]) -> Self {
        Self { variables: pairs.map(|(name, value)| (name.into(), value.into())).into() }
    }

    /// The same environment without what is set for Oneshift in it.
    pub(crate) fn without_settings(&self) -> Self {
        let is_setting = |name: &OsString| name.as_encoded_bytes().starts_with(b"ONESHIFT_");
        let mut variables = self.variables.clone();
        variables.retain(|name, _| !is_setting(name));
        Self { variables }
    }

    /// The same environment with one more variable.
    pub(crate) fn with(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// A variable's value; one that is empty or not UTF-8 counts as not set.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.variables.get(Path::new(name).as_os_str())?.to_str().filter(|value| !value.is_empty())
    }

    /// All variables, for the children to inherit.
    pub(crate) fn variables(&self) -> &BTreeMap<OsString, OsString> {
        &self.variables
    }

    /// The caller's token: `ONESHIFT_TOKEN`, or the content of the file that `ONESHIFT_TOKEN_FILE`
    /// names.
    pub(crate) fn token(&self) -> anyhow::Result<Option<SecretString>> {
        match (self.text("ONESHIFT_TOKEN"), self.text("ONESHIFT_TOKEN_FILE")) {
            (Some(_), Some(_)) => {
                Err(Usage::error("ONESHIFT_TOKEN and ONESHIFT_TOKEN_FILE are both set; use one"))
            }
            (Some(token), None) => Ok(Some(SecretString::from(token))),
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path).with_context(|| {
                    format!("ONESHIFT_TOKEN_FILE names {path}, which cannot be read")
                })?;
                Ok(Some(SecretString::from(text.trim_end_matches(['\r', '\n']))))
            }
            (None, None) => Ok(None),
        }
    }

    /// Whether colours are unwanted: <https://no-color.org>, or a terminal that has none.
    pub(crate) fn is_colorless(&self) -> bool {
        self.text("NO_COLOR").is_some() || self.text("TERM") == Some("dumb")
    }

    /// The folder for what this user's programs keep, by the XDG base directory specification.
    pub(crate) fn data_folder(&self) -> anyhow::Result<PathBuf> {
        let own = self.text("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let home = self.text("HOME").map(|home| Path::new(home).join(".local/share"));
        own.or(home)
            .map(|folder| folder.join("oneshift"))
            .ok_or_else(|| Usage::error("HOME is not set; say where to keep data with --data"))
    }

    /// A program by its name: where the PATH has it.
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        let folders = std::env::split_paths(self.variables.get(Path::new("PATH").as_os_str())?);
        folders.map(|folder| folder.join(name)).find(|path| is_program(path))
    }

    /// Whether there is a credential that the `claude` agent could use.
    pub(crate) fn has_model_credential(&self) -> bool {
        ["ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"]
            .iter()
            .any(|name| self.text(name).is_some() || self.text(&format!("{name}_FILE")).is_some())
    }
}

/// Whether this is a file that may be executed.
pub(crate) fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_for_oneshift_can_be_left_out_and_set_anew() {
        let config = Config::from_pairs([("ONESHIFT_TOKENS_FILE", "/t"), ("PATH", "/bin")]);
        let config = config.without_settings().with("ONESHIFT_LOG", "info");
        assert_eq!(config.text("ONESHIFT_TOKENS_FILE"), None);
        assert_eq!(
            (config.text("PATH"), config.text("ONESHIFT_LOG")),
            (Some("/bin"), Some("info"))
        );
    }

    #[test]
    fn data_goes_where_xdg_says_or_below_home() {
        let folder = |config: Config| config.data_folder().ok();
        let both = Config::from_pairs([("XDG_DATA_HOME", "/x"), ("HOME", "/h")]);
        assert_eq!(folder(both), Some("/x/oneshift".into()));
        let relative = Config::from_pairs([("XDG_DATA_HOME", "x"), ("HOME", "/h")]);
        assert_eq!(folder(relative), Some("/h/.local/share/oneshift".into()));
        assert_eq!(folder(Config::default()), None);
    }

    #[test]
    fn two_tokens_are_refused_without_showing_them() {
        let config =
            Config::from_pairs([("ONESHIFT_TOKEN", "hunter2"), ("ONESHIFT_TOKEN_FILE", "/x")]);
        let fault = config.token().unwrap_err().to_string();
        assert_eq!(fault, "ONESHIFT_TOKEN and ONESHIFT_TOKEN_FILE are both set; use one");
    }
}
