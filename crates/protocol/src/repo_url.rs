//! Where a repository is, with its credentials kept apart.

use std::fmt;

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;
use utoipa::ToSchema;

/// Longest URL that is accepted; longer ones are refused by common servers as well.
const MAX_BYTES: usize = 2048;

/// A repository's address: `http(s)://…`, `file:///…` or an absolute path.
///
/// `Debug`, `Display` and `Serialize` never show credentials; only [`RepoUrl::expose`] does.
#[derive(Clone, ToSchema)]
#[schema(value_type = String, format = "uri", example = "https://github.com/org/repo.git")]
pub struct RepoUrl(Parts);

#[derive(Clone)]
struct Parts {
    /// Without user name and password.
    public: Url,
    login: Option<Login>,
}

/// A user name and password that were part of a URL.
#[derive(Clone)]
pub struct Login {
    /// The user name, percent-decoded; may be empty.
    pub user: String,
    /// The password, percent-decoded; may be empty.
    pub password: SecretString,
}

impl RepoUrl {
    /// Reads an address as a person would write it.
    ///
    /// # Errors
    /// A sentence that says what is wrong; it never repeats credentials.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("repoUrl is empty".to_owned());
        }
        if text.len() > MAX_BYTES {
            return Err(format!("repoUrl is longer than {MAX_BYTES} bytes"));
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err("repoUrl contains white space or a control character".to_owned());
        }
        if text.starts_with('-') {
            return Err("repoUrl starts with a dash".to_owned());
        }
        if text.starts_with('/') {
            let url = Url::from_file_path(text).map_err(|()| "repoUrl is not a path".to_owned())?;
            return Self(Parts { public: url, login: None }).within_bounds();
        }
        let url = Url::parse(text).map_err(|_| {
            "repoUrl is not a URL; use https://host/org/repo, or an absolute path".to_owned()
        })?;
        Self::from_url(url)?.within_bounds()
    }

    /// In the form in which it goes on to other services, it must not be too long for them.
    fn within_bounds(self) -> Result<Self, String> {
        if self.expose().expose_secret().len() > MAX_BYTES {
            return Err(format!("repoUrl is longer than {MAX_BYTES} bytes once it is encoded"));
        }
        Ok(self)
    }

    fn from_url(mut url: Url) -> Result<Self, String> {
        match url.scheme() {
            "http" | "https" if url.host_str().is_none_or(str::is_empty) => {
                return Err("repoUrl has no host".to_owned());
            }
            "http" | "https" => {}
            "file" if url.host_str().is_some_and(|host| !host.is_empty()) => {
                return Err("repoUrl has a host in a file:// address; use file:///path".to_owned());
            }
            "file" => {}
            scheme => {
                return Err(format!("repoUrl has the scheme {scheme:?}; use https, http or file"));
            }
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("repoUrl has a query or a fragment; git addresses have neither".to_owned());
        }
        let login = login_of(&url)?;
        // `set_username` fails only for schemes without a host, which have no login either.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        Ok(Self(Parts { public: url, login }))
    }

    /// The address without credentials.
    #[must_use]
    pub fn public(&self) -> &Url {
        &self.0.public
    }

    /// The credentials that came with the address.
    #[must_use]
    pub fn login(&self) -> Option<&Login> {
        self.0.login.as_ref()
    }

    /// Whether the repository lies on this machine's disk.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.0.public.scheme() == "file"
    }

    /// The whole address with its credentials; for the wire between services only.
    #[must_use]
    pub fn expose(&self) -> SecretString {
        let mut url = self.0.public.clone();
        if let Some(login) = &self.0.login {
            // Cannot fail: a login is only read from URLs that have a host.
            let _ = url.set_username(&login.user);
            let password = login.password.expose_secret();
            let _ = url.set_password((!password.is_empty()).then_some(password));
        }
        SecretString::from(url.to_string())
    }
}

fn login_of(url: &Url) -> Result<Option<Login>, String> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let decode = |text: &str| {
        percent_decode_str(text)
            .decode_utf8()
            .map(|text| text.into_owned())
            .map_err(|_| "repoUrl has credentials that are not UTF-8".to_owned())
    };
    Ok(Some(Login {
        user: decode(url.username())?,
        password: SecretString::from(decode(url.password().unwrap_or_default())?),
    }))
}

impl PartialEq for RepoUrl {
    fn eq(&self, other: &Self) -> bool {
        self.expose().expose_secret() == other.expose().expose_secret()
    }
}

impl fmt::Display for RepoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.public.fmt(f)
    }
}

impl fmt::Debug for RepoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RepoUrl({})", self.0.public)
    }
}

impl Serialize for RepoUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.public)
    }
}

impl<'de> Deserialize<'de> for RepoUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITH_LOGIN: &str = "https://bob:s3cr%40t@host.example/org/repo.git";

    #[test]
    fn credentials_are_kept_but_never_shown() {
        let url = RepoUrl::parse(WITH_LOGIN).unwrap();
        let shown = format!("{url} {url:?} {}", serde_json::to_string(&url).unwrap());
        assert!(!shown.contains("s3cr") && !shown.contains("bob"), "{shown}");
        let login = url.login().unwrap();
        assert_eq!((login.user.as_str(), login.password.expose_secret()), ("bob", "s3cr@t"));
        assert_eq!(url.expose().expose_secret(), WITH_LOGIN);
    }

    #[test]
    fn a_refusal_does_not_repeat_credentials() {
        let fault = RepoUrl::parse("ssh://bob:s3cret@host/repo").unwrap_err();
        assert!(!fault.contains("s3cret"), "{fault}");
    }

    #[test]
    fn addresses_that_are_not_plain_are_refused() {
        for text in [
            "",
            "repo",
            "--upload-pack=x",
            "https://host/re\npo",
            "https://host/re po",
            "ssh://host/x",
            "git@host:org/repo",
            "ext::sh -c x",
            "file://host/x",
            "https://",
            "https://host/x?y",
            "https://host/x#y",
        ] {
            assert!(RepoUrl::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_address_that_is_taken_here_is_taken_by_the_next_service_as_well() {
        for (host, fits) in [("https://h/", 300), ("https://hé/", 300), ("/", 300)] {
            let text = |count: usize| format!("{host}{}", "ü".repeat(count));
            for count in 1..1100 {
                let Ok(url) = RepoUrl::parse(&text(count)) else {
                    assert!(count > fits, "{count}");
                    continue;
                };
                let next = RepoUrl::parse(url.expose().expose_secret());
                assert_eq!(next.as_ref(), Ok(&url), "{count}");
            }
        }
    }

    #[test]
    fn a_path_is_a_local_repository() {
        let url = RepoUrl::parse("/srv/repo.git").unwrap();
        assert!(url.is_local());
        assert_eq!(url.to_string(), "file:///srv/repo.git");
    }
}
