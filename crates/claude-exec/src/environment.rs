//! The environment that agents and checks get: made from nothing, so that nothing slips through.

use std::path::Path;

use service::Environment;

/// What is passed on when the worker has it.
const PASSED_ON: [&str; 23] = [
    "PATH",
    "USER",
    "LOGNAME",
    "TZ",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_COLLATE",
    "LC_CTYPE",
    "LC_MESSAGES",
    "LC_MONETARY",
    "LC_NUMERIC",
    "LC_TIME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "ALL_PROXY",
];

/// Used when the worker has no PATH of its own.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Never passed on, even if the operator lists them: they belong to the inside of the cluster.
const OWN_PREFIX: &str = "ONESHIFT_";

/// Variables for a program, by name and value.
pub(crate) type Variables = Vec<(String, String)>;

/// The variables that every program of a job gets.
#[derive(Clone)]
pub(crate) struct BaseEnvironment {
    common: Variables,
    allowed: Variables,
}

impl BaseEnvironment {
    /// Reads what is passed on, and what `ONESHIFT_AGENT_ENV` (names with commas) adds for agents.
    pub(crate) fn read(environment: &Environment) -> Self {
        let pick = |name: &str| Some((name.to_owned(), environment.text(name)?));
        let mut common: Variables = PASSED_ON.into_iter().filter_map(pick).collect();
        if environment.text("PATH").is_none() {
            common.push(("PATH".to_owned(), DEFAULT_PATH.to_owned()));
        }
        let list = environment.text("ONESHIFT_AGENT_ENV").unwrap_or_default();
        let names = list.split(',').map(str::trim).filter(|name| !name.starts_with(OWN_PREFIX));
        Self { common, allowed: names.filter_map(pick).collect() }
    }

    /// For a check: without what the operator allows to agents, for that may be credentials.
    pub(crate) fn for_check(&self, home: &Path, temporary: &Path) -> Variables {
        let own = |name: &str, value: &Path| (name.to_owned(), value.display().to_string());
        let mut variables = self.common.clone();
        variables.push(own("HOME", home));
        variables.push(own("TMPDIR", temporary));
        variables.push(("TERM".to_owned(), "dumb".to_owned()));
        variables
    }

    /// For an agent.
    pub(crate) fn for_agent(&self, home: &Path, temporary: &Path) -> Variables {
        let mut variables = self.for_check(home, temporary);
        variables.extend(self.allowed.iter().cloned());
        variables
    }

    /// Values that must not be shown: passwords of proxies, and what is called a secret.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let named = self.allowed.iter().filter(|(name, _)| is_secret_name(name));
        let proxies = self.common.iter().filter_map(|(_, value)| password_of(value));
        named.map(|(_, value)| value.clone()).chain(proxies).collect()
    }
}

impl std::fmt::Debug for BaseEnvironment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&String> =
            self.common.iter().chain(&self.allowed).map(|(name, _)| name).collect();
        write!(f, "BaseEnvironment({names:?})")
    }
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    ["KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL"].iter().any(|word| name.contains(word))
}

/// The password in `scheme://user:password@host`.
fn password_of(url: &str) -> Option<String> {
    let authority = url.split_once("://")?.1.split('/').next()?;
    let (user_and_password, _) = authority.rsplit_once('@')?;
    Some(user_and_password.split_once(':')?.1.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(variables: &Variables) -> Vec<&str> {
        variables.iter().map(|(name, _)| name.as_str()).collect()
    }

    fn read<const N: usize>(pairs: [(&str, &str); N]) -> BaseEnvironment {
        BaseEnvironment::read(&Environment::from_pairs(pairs))
    }

    #[test]
    fn only_what_is_known_or_allowed_gets_through() {
        let base = read([
            ("PATH", "/bin"),
            ("LANG", "C.UTF-8"),
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("ONESHIFT_CLUSTER_TOKEN", "x"),
            ("EXTRA", "1"),
            ("ONESHIFT_AGENT_ENV", "EXTRA, MISSING,ONESHIFT_CLUSTER_TOKEN"),
        ]);
        let (home, temporary) = (Path::new("/h"), Path::new("/t"));
        let agent = base.for_agent(home, temporary);
        assert_eq!(names(&agent), ["PATH", "LANG", "HOME", "TMPDIR", "TERM", "EXTRA"]);
        let check = base.for_check(home, temporary);
        assert_eq!(names(&check), ["PATH", "LANG", "HOME", "TMPDIR", "TERM"]);
    }

    #[test]
    fn there_is_always_a_path() {
        let base = read([]);
        assert_eq!(names(&base.for_check(Path::new("/h"), Path::new("/t")))[0], "PATH");
    }

    #[test]
    fn passwords_and_tokens_are_secrets() {
        let base = read([
            ("HTTPS_PROXY", "http://me:hunter2hunter2@proxy:3128"),
            ("HTTP_PROXY", "http://proxy:3128"),
            ("OPENAI_API_KEY", "sk-12345678"),
            ("MODE", "fast"),
            ("ONESHIFT_AGENT_ENV", "OPENAI_API_KEY,MODE"),
        ]);
        assert_eq!(base.secrets(), ["sk-12345678", "hunter2hunter2"]);
        assert!(!format!("{base:?}").contains("hunter2"));
    }
}
