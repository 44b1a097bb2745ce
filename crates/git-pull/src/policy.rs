//! What may be cloned.

use service::config::{ConfigError, Environment};
use url::{Host, Url};

use crate::address;

/// The operator's rules about repositories.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    allow_local: bool,
    /// Only these hosts, if the operator named any.
    allowed_hosts: Option<Vec<HostRule>>,
}

/// One entry of `ONESHIFT_ALLOWED_HOSTS`: `host`, `*.host` or either with `:port`.
#[derive(Debug, PartialEq, Eq)]
struct HostRule {
    host: String,
    with_subdomains_only: bool,
    port: Option<u16>,
}

impl Policy {
    /// Reads `ONESHIFT_ALLOW_LOCAL_REPOS` and `ONESHIFT_ALLOWED_HOSTS`.
    pub(crate) fn from_environment(environment: &Environment) -> Result<Self, ConfigError> {
        const HOSTS: &str = "ONESHIFT_ALLOWED_HOSTS";
        let rules = |text: String| {
            let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
            entries.map(HostRule::parse).collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            allow_local: environment.flag("ONESHIFT_ALLOW_LOCAL_REPOS")?,
            allowed_hosts: environment
                .text(HOSTS)
                .map(rules)
                .transpose()
                .map_err(|fault| ConfigError::new(HOSTS, fault))?,
        })
    }

    /// Whether this address may be read from; otherwise a sentence that says why not.
    ///
    /// A name's network addresses are checked later, when it is looked up.
    pub(crate) fn admit(&self, url: &Url) -> Result<(), String> {
        match url.scheme() {
            "http" | "https" => self.admit_host(url),
            "file" if self.allow_local => Ok(()),
            "file" => Err("repositories on this machine's disk are not allowed here; \
                           use http(s), or set ONESHIFT_ALLOW_LOCAL_REPOS"
                .to_owned()),
            scheme => Err(format!("the scheme {scheme:?} is not allowed; use https or http")),
        }
    }

    fn admit_host(&self, url: &Url) -> Result<(), String> {
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(address.into()),
            Some(Host::Ipv6(address)) => Some(address.into()),
            _ => None,
        };
        if let Some(fault) = literal.and_then(address::fault_of) {
            return Err(format!("{} is {fault}, which is not allowed", literal_of(url)));
        }
        let Some(rules) = &self.allowed_hosts else { return Ok(()) };
        let host = literal_of(url);
        if rules.iter().any(|rule| rule.matches(&host, url.port_or_known_default())) {
            return Ok(());
        }
        Err(format!("the host {host} is not among those that are allowed here"))
    }
}

/// The host in its plain form: lowercase, without the dot that may end it.
fn literal_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    host.trim_end_matches('.').to_ascii_lowercase()
}

impl HostRule {
    fn parse(entry: &str) -> Result<Self, String> {
        let fault = || format!("has {entry:?}, which is not a host, *.host or host:port");
        let (with_subdomains_only, rest) = match entry.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, entry),
        };
        let url = Url::parse(&format!("http://{rest}")).map_err(|_| fault())?;
        let is_plain = url.path() == "/" && url.query().is_none() && url.username().is_empty();
        if !is_plain || rest.contains(['/', '*', '@']) {
            return Err(fault());
        }
        // `Url` drops a port that is the scheme's own.
        let port = if rest.ends_with(":80") { Some(80) } else { url.port() };
        Ok(Self { host: literal_of(&url), with_subdomains_only, port })
    }

    fn matches(&self, host: &str, port: Option<u16>) -> bool {
        let is_host = if self.with_subdomains_only {
            host.strip_suffix(&self.host).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        } else {
            host == self.host
        };
        is_host && (self.port.is_none() || self.port == port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy<const N: usize>(pairs: [(&str, &str); N]) -> Policy {
        Policy::from_environment(&Environment::from_pairs(pairs)).unwrap()
    }

    fn admits(policy: &Policy, url: &str) -> bool {
        policy.admit(&Url::parse(url).unwrap()).is_ok()
    }

    #[test]
    fn local_repositories_need_the_operators_consent() {
        assert!(!admits(&policy([]), "file:///srv/repo.git"));
        assert!(admits(&policy([("ONESHIFT_ALLOW_LOCAL_REPOS", "1")]), "file:///srv/repo.git"));
    }

    #[test]
    fn without_a_list_every_host_is_allowed_but_forbidden_addresses() {
        let policy = policy([]);
        for url in ["https://host.example/x", "http://127.0.0.1:3000/x", "http://[::1]/x"] {
            assert!(admits(&policy, url), "{url}");
        }
        for url in [
            "http://169.254.169.254/x",
            "http://2852039166/x",
            "http://0xa9.254.169.254/x",
            "http://[::ffff:169.254.169.254]/x",
            "http://[fe80::1]/x",
            "http://0/x",
        ] {
            assert!(!admits(&policy, url), "{url}");
        }
    }

    #[test]
    fn with_a_list_only_its_hosts_are_allowed() {
        let list = "git.example.com, *.example.org,10.0.0.1:8080,plain.example:80";
        let policy = policy([("ONESHIFT_ALLOWED_HOSTS", list)]);
        for url in [
            "https://git.example.com/x",
            "https://GIT.example.com./x",
            "http://git.example.com:81/x",
            "https://a.example.org/x",
            "https://a.b.example.org/x",
            "http://10.0.0.1:8080/x",
            "http://plain.example/x",
        ] {
            assert!(admits(&policy, url), "{url}");
        }
        for url in [
            "https://example.com/x",
            "https://example.org/x",
            "https://badexample.org/x",
            "https://git.example.com.evil.example/x",
            "http://10.0.0.1/x",
            "https://plain.example/x",
        ] {
            assert!(!admits(&policy, url), "{url}");
        }
    }

    #[test]
    fn an_allowed_list_does_not_open_forbidden_addresses() {
        let policy = policy([("ONESHIFT_ALLOWED_HOSTS", "169.254.169.254")]);
        assert!(!admits(&policy, "http://169.254.169.254/x"));
    }

    #[test]
    fn a_list_that_cannot_be_read_is_refused_at_start() {
        for list in ["https://host", "a b", "host/path", "*", "user@host", "x.*.y"] {
            let environment = Environment::from_pairs([("ONESHIFT_ALLOWED_HOSTS", list)]);
            assert!(Policy::from_environment(&environment).is_err(), "{list}");
        }
    }
}
