//! As whom a repository is read.

use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use service::protocol::RepoUrl;
use url::Url;

use crate::fault::Fault;

/// A user name and its password, for HTTP Basic.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: SecretString,
}

/// The operator's logins: a file in the format of `git credential-store`, read for each job, so
/// that a rotated password needs no restart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    file: Option<PathBuf>,
}

impl Credentials {
    pub(crate) fn new(file: Option<PathBuf>) -> Self {
        Self { file }
    }

    /// The login for an address: its own, otherwise the operator's.
    pub(crate) fn login_for(&self, url: &RepoUrl) -> Result<Option<Login>, Fault> {
        if let Some(login) = url.login() {
            let (user, password) = (login.user.clone(), login.password.clone());
            return Ok(Some(Login { user, password }));
        }
        match &self.file {
            Some(file) if !url.is_local() => read(file, url.public()),
            _ => Ok(None),
        }
    }
}

fn read(file: &Path, url: &Url) -> Result<Option<Login>, Fault> {
    // A secret as a whole, since every line of it is one.
    let text = std::fs::read_to_string(file)
        .map(SecretString::from)
        .map_err(Fault::io("read the file of ONESHIFT_GIT_CREDENTIALS_FILE"))?;
    Ok(best_match(text.expose_secret(), url))
}

/// The login of the line that says most about the address; among equals the first.
fn best_match(lines: &str, url: &Url) -> Option<Login> {
    let mut best: Option<(usize, Url)> = None;
    for line in lines.lines().map(str::trim) {
        let Ok(entry) = Url::parse(line) else { continue };
        let Some(length) = matched_length(&entry, url) else { continue };
        if best.as_ref().is_none_or(|(best, _)| length > *best) {
            best = Some((length, entry));
        }
    }
    let (_, entry) = best?;
    Some(Login {
        user: decoded(entry.username())?,
        password: SecretString::from(decoded(entry.password().unwrap_or_default())?),
    })
}

/// How much of the path an entry names, if it is about this address at all.
fn matched_length(entry: &Url, url: &Url) -> Option<usize> {
    let is_same_server = entry.scheme() == url.scheme()
        && entry.host_str() == url.host_str()
        && entry.port_or_known_default() == url.port_or_known_default();
    let prefix = entry.path().trim_end_matches('/');
    let rest = url.path().strip_prefix(prefix)?;
    // `/org` is about `/org/repo`, and so is `/org/repo` about `/org/repo.git`.
    let is_whole = rest.is_empty() || rest.starts_with('/') || rest == ".git";
    (is_same_server && is_whole).then_some(prefix.len())
}

fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
        https://any:1@host.example\n\
        not a url\n\
        https://org:2@host.example/org\n\
        https://repo:p%40ss@host.example/org/repo.git\n\
        http://plain:4@host.example\n\
        https://port:5@host.example:8443\n";

    fn user_for(url: &str) -> Option<String> {
        best_match(FILE, &Url::parse(url).unwrap()).map(|login| login.user)
    }

    #[test]
    fn the_longest_match_wins() {
        for (url, user) in [
            ("https://host.example/other/x", Some("any")),
            ("https://host.example/org/x", Some("org")),
            ("https://host.example/organism/x", Some("any")),
            ("https://host.example/org/repo.git", Some("repo")),
            ("http://host.example/org/repo.git", Some("plain")),
            ("https://host.example:8443/org/repo.git", Some("port")),
            ("https://other.example/org/repo.git", None),
            ("https://host.example.evil.example/org/repo.git", None),
        ] {
            assert_eq!(user_for(url).as_deref(), user, "{url}");
        }
    }

    #[test]
    fn a_password_is_percent_decoded() {
        let url = Url::parse("https://host.example/org/repo.git").unwrap();
        assert_eq!(best_match(FILE, &url).unwrap().password.expose_secret(), "p@ss");
    }

    #[test]
    fn the_login_in_the_address_comes_before_the_file() {
        let credentials = Credentials::new(Some("/does/not/exist".into()));
        let url = RepoUrl::parse("https://me:x@host.example/org/repo").unwrap();
        assert_eq!(credentials.login_for(&url).unwrap().unwrap().user, "me");
        let without = RepoUrl::parse("https://host.example/org/repo").unwrap();
        assert!(credentials.login_for(&without).is_err());
    }
}
