//! Names from requests that end up in refs and paths, checked once at the edge.

use std::fmt;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Longest branch name; git itself stops at the file system's 255 bytes a component.
const BRANCH_MAX_BYTES: usize = 255;

/// Longest directory; Linux stops at 4,096 for a whole path.
const DIRECTORY_MAX_BYTES: usize = 1024;

/// A branch or tag by its short name, well-formed by the rules of `git check-ref-format`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, example = "main")]
pub struct BranchName(String);

impl BranchName {
    /// The name as given, such as `main` or `feature/x`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for BranchName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match branch_fault(&name) {
            None => Ok(Self(name)),
            Some(fault) => Err(format!("branch {name:?} {fault}")),
        }
    }
}

/// What `git check-ref-format --branch` would refuse.
fn branch_fault(name: &str) -> Option<&'static str> {
    let component_fault =
        |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(".lock");
    if name.is_empty() {
        Some("is empty")
    } else if name.len() > BRANCH_MAX_BYTES {
        Some("is longer than 255 bytes")
    } else if name.starts_with('-') {
        Some("starts with a dash")
    } else if name.contains(' ') {
        Some("contains a space")
    } else if name.chars().any(char::is_control) {
        Some("contains a control character")
    } else if name.contains(['~', '^', ':', '?', '*', '[', '\\']) {
        Some("contains one of ~ ^ : ? * [ \\")
    } else if name.contains("..") || name.contains("@{") || name == "@" || name.ends_with('.') {
        Some("contains .. or @{, is @, or ends with a dot")
    } else if name.split('/').any(component_fault) {
        Some("has a part between slashes that is empty, starts with a dot or ends with .lock")
    } else {
        None
    }
}

impl From<BranchName> for String {
    fn from(name: BranchName) -> Self {
        name.0
    }
}

impl fmt::Display for BranchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A folder inside a repository: relative, without `..`, and not inside `.git`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, example = "crates/api")]
pub struct Directory(String);

impl Directory {
    /// The folder as a path relative to the repository's root.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl TryFrom<String> for Directory {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match directory_fault(&name) {
            None => Ok(Self(name)),
            Some(fault) => Err(format!("directory {name:?} {fault}")),
        }
    }
}

fn directory_fault(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("is empty; leave the field out for the whole repository");
    }
    if name.len() > DIRECTORY_MAX_BYTES {
        return Some("is longer than 1,024 bytes");
    }
    if name.chars().any(char::is_control) {
        return Some("contains a control character");
    }
    Path::new(name).components().find_map(|part| match part {
        Component::RootDir | Component::Prefix(_) => {
            Some("is absolute; give a folder inside the repository")
        }
        Component::ParentDir => Some("contains \"..\"; give a folder inside the repository"),
        Component::Normal(part) if part.eq_ignore_ascii_case(".git") => {
            Some("is inside .git; give a folder of the checkout")
        }
        Component::Normal(_) | Component::CurDir => None,
    })
}

impl From<Directory> for String {
    fn from(name: Directory) -> Self {
        name.0
    }
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_branches_pass() {
        for name in ["main", "feature/x", "v1.2.3", "a-b_c", "übung"] {
            assert!(BranchName::try_from(name.to_owned()).is_ok(), "{name}");
        }
    }

    #[test]
    fn what_git_refuses_is_refused() {
        for name in [
            "",
            "-x",
            "--upload-pack=x",
            "a b",
            "a\nb",
            "a\0b",
            "a..b",
            "a@{1}",
            "@",
            "/a",
            "a/",
            "a//b",
            ".a",
            "a/.b",
            "a.lock",
            "a.",
            "a~1",
            "a^",
            "a:b",
            "a?b",
            "a*b",
            "a[b",
            "a\\b",
        ] {
            assert!(BranchName::try_from(name.to_owned()).is_err(), "{name:?}");
        }
    }

    #[test]
    fn directories_stay_inside_the_repository() {
        for name in ["crates/api", "./x", "a b", "x/"] {
            assert!(Directory::try_from(name.to_owned()).is_ok(), "{name}");
        }
        for name in ["", "/etc", "..", "a/../..", "a/../b", ".git", "a/.GIT/hooks", "a\0b", "a\nb"]
        {
            assert!(Directory::try_from(name.to_owned()).is_err(), "{name:?}");
        }
    }
}
