//! The callers' tokens.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use service::ConfigError;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Shortest token that is accepted, in bytes: 16 random hexadecimal digits cannot be guessed.
const MIN_BYTES: usize = 16;

/// What a token's owner may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Scope {
    /// See own jobs.
    Read,
    /// Submit jobs, follow them and cancel them.
    Submit,
    /// All of it, with everybody's jobs.
    Admin,
}

/// All tokens that callers may show.
///
/// The file that `ONESHIFT_TOKENS_FILE` names is a JSON array of them:
///
/// ```json
/// [
///   {
///     "name": "ci", "token": "a long random text", "scopes": ["read", "submit"],
///     "quotas": { "runningJobs": 4, "queuedJobs": 100, "submissionsPerMinute": 30 }
///   },
///   { "name": "ops", "tokenSha256": "<64 hexadecimal digits>", "scopes": ["admin"] }
/// ]
/// ```
///
/// `name` is what jobs are known to be submitted by. `tokenSha256` is the SHA-256 of the token, for
/// those who do not want it in a file. A token with `admin` may do everything; one without sees only
/// the jobs that were submitted under its own name. Each of the `quotas` may be left out.
#[derive(Clone, Debug)]
pub struct Tokens(Arc<[Token]>);

#[derive(Debug)]
struct Token {
    name: Arc<str>,
    sha256: [u8; 32],
    scopes: Vec<Scope>,
    quotas: Quotas,
}

/// How much a token's owner may have of the house; what is absent has no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Quotas {
    /// Jobs that run at the same time; further ones wait in the queue.
    pub running_jobs: Option<NonZeroU32>,
    /// Jobs that wait; further ones are refused.
    pub queued_jobs: Option<NonZeroU32>,
    /// New jobs; further ones are refused.
    pub submissions_per_minute: Option<NonZeroU32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    name: String,
    token: Option<SecretString>,
    token_sha256: Option<String>,
    scopes: Vec<Scope>,
    #[serde(default)]
    quotas: Quotas,
}

impl Tokens {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// What is wrong with it, without any token in the words.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let fault = |what: String| {
            ConfigError::new("ONESHIFT_TOKENS_FILE", format!("names {}, {what}", path.display()))
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| fault(format!("which cannot be read: {error}")))?;
        Self::parse(&text).map_err(|error| fault(format!("in which {error}")))
    }

    /// Reads the content of such a file.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence without a subject's beginning: `token 2 has no name`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let entries: Vec<Entry> = serde_json::from_str(text).map_err(|error| explain(&error))?;
        if entries.is_empty() {
            return Err("there is no token".to_owned());
        }
        let (mut names, mut hashes) = (HashSet::new(), HashSet::new());
        let mut tokens = Vec::new();
        for (index, entry) in entries.into_iter().enumerate() {
            let number = index + 1;
            let token = entry.check().map_err(|fault| format!("token {number} {fault}"))?;
            if !names.insert(Arc::clone(&token.name)) {
                return Err(format!("the name {:?} occurs twice", token.name));
            }
            if !hashes.insert(token.sha256) {
                return Err(format!("token {number} is the same as an earlier one"));
            }
            tokens.push(token);
        }
        Ok(Self(tokens.into()))
    }

    /// The tokens' names and quotas.
    pub(crate) fn quotas(&self) -> impl Iterator<Item = (Arc<str>, Quotas)> {
        self.0.iter().map(|token| (Arc::clone(&token.name), token.quotas))
    }

    /// Whose token this is, and what it allows. Takes the same time for all that are wrong.
    pub(crate) fn find(&self, shown: &str) -> Option<(Arc<str>, &[Scope])> {
        let sha256: [u8; 32] = Sha256::digest(shown).into();
        let mut found = None;
        for token in self.0.iter() {
            if bool::from(token.sha256.ct_eq(&sha256)) {
                found = Some((Arc::clone(&token.name), token.scopes.as_slice()));
            }
        }
        found
    }
}

impl Entry {
    fn check(self) -> Result<Token, String> {
        if self.name.trim().is_empty() || self.name.len() > 64 {
            return Err("has a name that is empty or longer than 64 bytes".to_owned());
        }
        let named = |fault: &str| format!("({}) {fault}", self.name);
        if self.scopes.is_empty() {
            return Err(named("has no scopes; use read, submit or admin"));
        }
        let sha256 = match (&self.token, &self.token_sha256) {
            (Some(token), None) if token.expose_secret().len() < MIN_BYTES => {
                return Err(named("is shorter than 16 bytes"));
            }
            (Some(token), None) => Sha256::digest(token.expose_secret()).into(),
            (None, Some(hash)) => decode_hex(hash)
                .ok_or_else(|| named("has a tokenSha256 that is not 64 hexadecimal digits"))?,
            _ => return Err(named("needs one of token and tokenSha256")),
        };
        Ok(Token { name: self.name.into(), sha256, scopes: self.scopes, quotas: self.quotas })
    }
}

/// serde's words may repeat a value, and with it a secret; its position is enough to find it.
fn explain(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let what = ["unknown field", "missing field", "unknown variant"]
        .into_iter()
        .find(|what| text.starts_with(what));
    match what {
        Some(_) => text,
        None => format!("something is not as it should be at line {line}, column {column}"),
    }
}

fn decode_hex(text: &str) -> Option<[u8; 32]> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len() == 64)?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_by_its_text_and_by_its_hash() {
        let hash = "9834876dcfb05cb167a5c24953eba58c4ac89b1adf57f28f2f9d09af107ee8f0";
        let text = format!(
            r#"[{{"name":"ci","token":"0123456789abcdef","scopes":["read"]}},
               {{"name":"ops","tokenSha256":"{hash}","scopes":["admin"]}}]"#
        );
        let tokens = Tokens::parse(&text).unwrap();
        assert_eq!(&*tokens.find("0123456789abcdef").unwrap().0, "ci");
        assert_eq!(&*tokens.find("aaa").unwrap().0, "ops");
        assert_eq!(tokens.find("0123456789abcdeF"), None);
    }

    #[test]
    fn quotas_are_read_and_what_is_left_out_has_no_bound() {
        let text = r#"[{"name":"a","token":"0123456789abcdef","scopes":["submit"],
            "quotas":{"runningJobs":2,"submissionsPerMinute":30}}]"#;
        let (name, quotas) = Tokens::parse(text).unwrap().quotas().next().unwrap();
        let expected = Quotas {
            running_jobs: NonZeroU32::new(2),
            queued_jobs: None,
            submissions_per_minute: NonZeroU32::new(30),
        };
        assert_eq!((&*name, quotas), ("a", expected));
    }

    #[test]
    fn a_file_that_is_wrong_is_refused_without_repeating_a_token() {
        for (text, fault) in [
            ("[]", "there is no token"),
            (r#"[{"name":"a","token":"short-s3cret","scopes":["read"]}]"#, "shorter than 16"),
            (r#"[{"name":"a","token":"0123456789s3cret","scopes":[]}]"#, "has no scopes"),
            (r#"[{"name":"a","token":"0123456789s3cret","scopes":["all"]}]"#, "unknown variant"),
            (r#"[{"name":"a","scopes":["read"]}]"#, "needs one of"),
            (r#"[{"name":"a","tokenSha256":"s3cret","scopes":["read"]}]"#, "64 hexadecimal"),
            (r#"[{"name":"a","token":"x","quota":{},"scopes":["read"]}]"#, "unknown field"),
            (r#"[{"name":"a","quotas":{"jobs":1},"scopes":["read"]}]"#, "unknown field"),
            (r#"[{"name":"a","quotas":{"queuedJobs":0},"scopes":["read"]}]"#, "line 1"),
            (r#"[{"name":"a","token":["0123456789s3cret"],"scopes":["read"]}]"#, "line 1"),
            (r#"["0123456789s3cret"]"#, "line 1"),
        ] {
            let refusal = Tokens::parse(text).unwrap_err();
            assert!(refusal.contains(fault), "{text}: {refusal}");
            assert!(!refusal.contains("s3cret"), "{refusal}");
        }
    }
}
