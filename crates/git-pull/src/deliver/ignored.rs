//! Which files the checkout's `.gitignore` files leave out.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// Longest file of rules that is read; real ones have a few kilobytes.
pub(crate) const MAX_BYTES: u64 = 256 * 1024;

/// The rules of a folder and of those that it is in.
#[derive(Default)]
pub(crate) struct Rules {
    /// Each with the length of the path, slash included, of the folder that it is in.
    levels: Vec<(usize, Gitignore)>,
}

impl Rules {
    /// Adds the rules of `folder`'s `.gitignore`, until [`Rules::leave`] is called with the same
    /// folder. `folder` is empty for the root, and otherwise ends with a slash.
    pub(crate) fn enter(&mut self, folder: &[u8], file: &[u8]) {
        let mut builder = GitignoreBuilder::new("");
        for line in String::from_utf8_lossy(file).lines() {
            // A line that cannot be understood is one that ignores nothing.
            let _ = builder.add_line(None, &without_alternatives(line));
        }
        if let Ok(rules) = builder.build() {
            self.levels.push((folder.len(), rules));
        }
    }

    /// Forgets the rules of `folder`.
    pub(crate) fn leave(&mut self, folder: &[u8]) {
        self.levels.retain(|(length, _)| *length < folder.len() || folder.is_empty());
    }

    /// Whether a path, relative to the root, is ignored; the folders that it is in are not.
    pub(crate) fn ignore(&self, path: &[u8], is_folder: bool) -> bool {
        for (length, rules) in self.levels.iter().rev() {
            let relative = Path::new(OsStr::from_bytes(path.get(*length..).unwrap_or_default()));
            match rules.matched(relative, is_folder) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => {}
            }
        }
        false
    }
}

/// A rule whose braces stand for themselves: for git they have no meaning, for `ignore` they do.
fn without_alternatives(line: &str) -> String {
    let (mut rule, mut is_escaped, mut is_class) =
        (String::with_capacity(line.len()), false, false);
    for character in line.chars() {
        match character {
            _ if is_escaped => {}
            '[' => is_class = true,
            ']' => is_class = false,
            '{' | '}' if !is_class => rule.push('\\'),
            _ => {}
        }
        is_escaped = character == '\\' && !is_escaped;
        rule.push(character);
    }
    rule
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_rules_come_first() {
        let mut rules = Rules::default();
        rules.enter(b"", b"*.log\n/top\nfolder/\n\\#x\n");
        rules.enter(b"a/", b"!keep.log\n/only\n");
        for (path, is_folder, ignored) in [
            ("x.log", false, true),
            ("a/x.log", false, true),
            ("a/keep.log", false, false),
            ("top", false, true),
            ("a/top", false, false),
            ("a/only", false, true),
            ("a/b/only", false, false),
            ("folder", true, true),
            ("folder", false, false),
            ("#x", false, true),
        ] {
            assert_eq!(rules.ignore(path.as_bytes(), is_folder), ignored, "{path}");
        }
        rules.leave(b"a/");
        rules.enter(b"b/", b"{x,y}\n\\{z}\n[{]\n");
        assert!(!rules.ignore(b"b/x", false) && rules.ignore(b"b/{x,y}", false));
        assert!(rules.ignore(b"b/{z}", false) && rules.ignore(b"b/{", false));
        assert!(rules.ignore(b"a/keep.log", false));
    }

    #[test]
    fn rules_that_are_garbage_ignore_nothing() {
        let mut rules = Rules::default();
        rules.enter(b"", b"[\n\xff\xfe\n{{{\n");
        assert!(!rules.ignore(b"file", false));
    }
}
