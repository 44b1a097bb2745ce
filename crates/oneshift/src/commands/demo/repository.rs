//! The demo's repository.

use std::io;
use std::path::Path;

use jiff::Timestamp;

use super::objects::{hex, write};

/// Its files, in git's order.
const FILES: [(&str, &str); 3] = [
    (
        "greet.py",
        r#""""Prints a greeting for each name on the command line."""

import sys

from words import greeting


def main():
    for name in sys.argv[1:] or ["world"]:
        print(greeting(name))


if __name__ == "__main__":
    main()
"#,
    ),
    (
        "test_words.py",
        r#""""Tests the words of a greeting; run it with python3 -m unittest."""

import unittest

from words import greeting


class GreetingTest(unittest.TestCase):
    def test_a_greeting_holds_the_name(self):
        self.assertIn("Ada", greeting("Ada"))
"#,
    ),
    (
        "words.py",
        r#""""Finds the words of a greeting."""


def greeting(name):
    return f"Hello, {name}!"
"#,
    ),
];

/// Makes a bare repository with one commit on `main`.
pub(super) fn make(folder: &Path) -> io::Result<()> {
    let objects = folder.join("objects");
    std::fs::create_dir_all(folder.join("refs/heads"))?;
    std::fs::create_dir_all(&objects)?;
    let mut tree = Vec::new();
    for (name, content) in FILES {
        let blob = write(&objects, "blob", content.as_bytes())?;
        tree.extend_from_slice(format!("100644 {name}\0").as_bytes());
        tree.extend_from_slice(&blob);
    }
    let tree = hex(&write(&objects, "tree", &tree)?);
    let who = format!("Oneshift <demo@oneshift.invalid> {} +0000", Timestamp::now().as_second());
    let commit = format!("tree {tree}\nauthor {who}\ncommitter {who}\n\nGreet people\n");
    let commit = hex(&write(&objects, "commit", commit.as_bytes())?);
    std::fs::write(folder.join("refs/heads/main"), format!("{commit}\n"))?;
    std::fs::write(folder.join("HEAD"), "ref: refs/heads/main\n")?;
    std::fs::write(folder.join("config"), "[core]\n\trepositoryformatversion = 0\n\tbare = true\n")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn git_takes_the_repository_for_one_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path()).unwrap();
        let git = |arguments: &[&str]| {
            Command::new("git").arg("-C").arg(folder.path()).args(arguments).output()
        };
        let Ok(checked) = git(&["fsck", "--strict"]) else {
            eprintln!("SKIPPED git_takes_the_repository_for_one_of_its_own: there is no git");
            return;
        };
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        let shown = git(&["show", "main:words.py"]).unwrap();
        assert_eq!(String::from_utf8_lossy(&shown.stdout), FILES[2].1);
    }
}
