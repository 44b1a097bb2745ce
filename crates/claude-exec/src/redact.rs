//! Keeping the secrets that the worker knows out of everything that it passes on.

use std::borrow::Cow;

/// What a secret is replaced by.
const MARK: &[u8] = b"[redacted]";

/// Shorter values are not looked for: they would turn up in innocent text.
const MIN_BYTES: usize = 8;

/// Replaces known secrets in text.
#[derive(Clone, Default)]
pub(crate) struct Redactor {
    /// Each as it is, and as it looks inside a JSON string if that is different.
    needles: Vec<Vec<u8>>,
}

impl Redactor {
    /// A redactor that knows these secrets.
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut needles = Vec::new();
        for secret in secrets.into_iter().map(str::trim).filter(|text| text.len() >= MIN_BYTES) {
            needles.push(secret.as_bytes().to_vec());
            let json = serde_json::Value::from(secret).to_string();
            needles.push(json.trim_matches('"').as_bytes().to_vec());
        }
        // Longest first: one secret may be part of another.
        needles.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        needles.dedup();
        Self { needles }
    }

    /// The text without the secrets.
    pub(crate) fn clean<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        let mut clean = Cow::Borrowed(text);
        for needle in &self.needles {
            if let Some(first) = find(&clean, needle) {
                clean = Cow::Owned(replace(&clean, needle, first));
            }
        }
        clean
    }
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({})", self.needles.len())
    }
}

fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    let (first, mut from) = (*needle.first()?, 0);
    while let Some(at) = text.get(from..)?.iter().position(|byte| *byte == first) {
        if text[from + at..].starts_with(needle) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

fn replace(text: &[u8], needle: &[u8], first: usize) -> Vec<u8> {
    let mut clean = Vec::with_capacity(text.len());
    let (mut rest, mut next) = (text, Some(first));
    while let Some(at) = next {
        clean.extend_from_slice(&rest[..at]);
        clean.extend_from_slice(MARK);
        rest = &rest[at + needle.len()..];
        next = find(rest, needle);
    }
    clean.extend_from_slice(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(secrets: &[&str], text: &str) -> String {
        let redactor = Redactor::new(secrets.iter().copied());
        String::from_utf8(redactor.clean(text.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn every_occurrence_is_replaced() {
        let text = "a sk-ant-12345 b sk-ant-12345";
        assert_eq!(clean(&["sk-ant-12345\n"], text), "a [redacted] b [redacted]");
    }

    #[test]
    fn a_secret_inside_a_json_string_is_found() {
        assert_eq!(clean(&["pass\"word\\x"], r#"{"t":"pass\"word\\x"}"#), r#"{"t":"[redacted]"}"#);
    }

    #[test]
    fn the_longer_of_two_goes_first() {
        assert_eq!(clean(&["12345678", "1234567890"], "1234567890"), "[redacted]");
    }

    #[test]
    fn short_values_and_other_text_stay() {
        assert_eq!(clean(&["1", "secret-value"], "secret-valu 1"), "secret-valu 1");
    }

    #[test]
    fn it_does_not_show_what_it_knows() {
        assert!(!format!("{:?}", Redactor::new(["sk-ant-12345"])).contains("sk-ant"));
    }
}
