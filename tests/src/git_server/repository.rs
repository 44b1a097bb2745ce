//! Repositories made from their content, without a working tree.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::git;

/// A bare repository, to which commits can be added at any time.
#[derive(Debug)]
pub struct Repository {
    path: PathBuf,
    branch: String,
    staged: Vec<Change>,
}

#[derive(Debug)]
struct Change {
    path: Vec<u8>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    File(Vec<u8>),
    Executable(Vec<u8>),
    Symlink(Vec<u8>),
    Submodule(String),
    Removed,
}

impl Repository {
    /// An empty repository in the new folder `path`, whose default branch will be `main`.
    ///
    /// # Panics
    /// Like every method here, when git fails.
    #[must_use]
    pub fn create(path: &Path) -> Self {
        fs::create_dir_all(path).expect("the repository's folder can be made");
        git::run(path, ["init", "--bare", "--quiet", "--initial-branch=main"]);
        for (key, value) in [
            ("http.receivepack", "true"),
            ("uploadpack.allowFilter", "true"),
            ("uploadpack.allowReachableSHA1InWant", "true"),
        ] {
            git::run(path, ["config", key, value]);
        }
        Self { path: path.to_owned(), branch: "main".to_owned(), staged: Vec::new() }
    }

    /// The bare repository's folder; also an address for tests of local repositories.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes `branch` the default one, and the one that further commits go to.
    pub fn default_branch(&mut self, branch: &str) -> &mut Self {
        self.git(["symbolic-ref", "HEAD", &format!("refs/heads/{branch}")]);
        self.on(branch)
    }

    /// Further commits go to `branch`, which starts where the last commit was if it is new.
    pub fn on(&mut self, branch: &str) -> &mut Self {
        let (from, to) = (format!("refs/heads/{}", self.branch), format!("refs/heads/{branch}"));
        if self.find(&to).is_none() && self.find(&from).is_some() {
            self.git(["update-ref", &to, &from]);
        }
        branch.clone_into(&mut self.branch);
        self
    }

    /// A file of the next commit. A path is bytes: git does not ask for UTF-8.
    pub fn file(&mut self, path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> &mut Self {
        self.stage(path.as_ref(), Content::File(content.as_ref().to_vec()))
    }

    /// An executable file of the next commit.
    pub fn executable(&mut self, path: &str, content: &str) -> &mut Self {
        self.stage(path.as_bytes(), Content::Executable(content.into()))
    }

    /// A symbolic link of the next commit.
    pub fn symlink(&mut self, path: &str, target: &str) -> &mut Self {
        self.stage(path.as_bytes(), Content::Symlink(target.into()))
    }

    /// A file, or a folder, that the next commit no longer has.
    pub fn remove(&mut self, path: &str) -> &mut Self {
        self.stage(path.as_bytes(), Content::Removed)
    }

    /// `count` small files, each different, a thousand to a folder: `many/0/0.txt` and so on.
    pub fn many_files(&mut self, count: usize) -> &mut Self {
        for number in 0..count {
            self.file(format!("many/{}/{number}.txt", number / 1000), format!("{number}\n"));
        }
        self
    }

    /// `bytes` of content that does not compress, so that the pack is at least that long.
    pub fn noise(&mut self, path: &str, bytes: usize) -> &mut Self {
        // A xorshift generator: the same bytes in every run.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut content = Vec::with_capacity(bytes + 8);
        while content.len() < bytes {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            content.extend_from_slice(&state.to_le_bytes());
        }
        content.truncate(bytes);
        self.file(path, content)
    }

    /// A submodule at `path`: its entry in `.gitmodules`, and a commit that nobody has.
    pub fn submodule(&mut self, path: &str, url: &str) -> &mut Self {
        self.file(
            ".gitmodules",
            format!("[submodule \"{path}\"]\n\tpath = {path}\n\turl = {url}\n"),
        );
        self.stage(path.as_bytes(), Content::Submodule("5".repeat(40)))
    }

    /// A file in Git LFS: its pointer, and the attribute that asks for the filter.
    pub fn lfs_pointer(&mut self, path: &str) -> &mut Self {
        self.file(".gitattributes", format!("{path} filter=lfs diff=lfs merge=lfs -text\n"));
        let object = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";
        let version = "version https://git-lfs.github.com/spec/v1";
        self.file(path, format!("{version}\noid sha256:{object}\nsize 12345\n"))
    }

    /// Commits what was staged, and returns the commit's id.
    pub fn commit(&mut self, message: &str) -> String {
        let reference = format!("refs/heads/{}", self.branch);
        let mut stream = format!("commit {reference}\n").into_bytes();
        let count = self.find(&reference).map_or(0, |_| self.count(&reference));
        stream.extend_from_slice(
            format!("committer Ada <ada@example.org> {} +0000\n", 1_700_000_000 + count).as_bytes(),
        );
        push_data(&mut stream, message.as_bytes());
        if count > 0 {
            stream.extend_from_slice(format!("from {reference}^0\n").as_bytes());
        }
        for change in self.staged.drain(..) {
            push_change(&mut stream, &change);
        }
        self.fast_import(&stream);
        self.commit_id(&reference)
    }

    /// Puts a light tag on the last commit.
    pub fn tag(&mut self, name: &str) -> &mut Self {
        self.git(["tag", name, &format!("refs/heads/{}", self.branch)]);
        self
    }

    /// Puts an annotated tag on the last commit.
    pub fn annotated_tag(&mut self, name: &str) -> &mut Self {
        let target = format!("refs/heads/{}", self.branch);
        self.git(["tag", "--annotate", "--message", name, name, &target]);
        self
    }

    /// From now on the server refuses every push, and says `reason`.
    pub fn refuse_pushes(&mut self, reason: &str) -> &mut Self {
        let hook = self.path.join("hooks/pre-receive");
        fs::create_dir_all(hook.parent().expect("a hook has a folder")).expect("it can be made");
        fs::write(&hook, format!("#!/bin/sh\necho '{reason}' >&2\nexit 1\n"))
            .expect("the hook can be written");
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("it can be run");
        self
    }

    /// Runs git in the repository and returns what it printed.
    pub fn git<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> String {
        git::run(&self.path, arguments)
    }

    /// The id of the commit that a branch, tag or id leads to.
    #[must_use]
    pub fn commit_id(&self, revision: &str) -> String {
        self.find(revision).unwrap_or_else(|| panic!("{revision} is not in {:?}", self.path))
    }

    /// What a file holds at a revision.
    #[must_use]
    pub fn read(&self, revision: &str, path: &str) -> String {
        self.git(["show", &format!("{revision}:{path}")])
    }

    fn find(&self, revision: &str) -> Option<String> {
        let revision = format!("{revision}^{{commit}}");
        let arguments = ["rev-parse", "--quiet", "--verify", &revision];
        let output = git::command(&self.path, arguments).output().expect("git is installed");
        let text = String::from_utf8(output.stdout).expect("an id is ASCII");
        output.status.success().then(|| text.trim_end().to_owned())
    }

    fn count(&self, reference: &str) -> u64 {
        self.git(["rev-list", "--count", reference]).parse().expect("a count is a number")
    }

    fn stage(&mut self, path: &[u8], content: Content) -> &mut Self {
        self.staged.push(Change { path: path.to_vec(), content });
        self
    }

    fn fast_import(&self, stream: &[u8]) {
        let mut child = git::command(&self.path, ["fast-import", "--quiet", "--force"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("git is installed");
        child.stdin.take().expect("it is piped").write_all(stream).expect("git reads it all");
        assert!(child.wait().expect("git ends").success(), "git fast-import failed");
    }
}

/// Appends one change as `git fast-import` wants it.
fn push_change(stream: &mut Vec<u8>, change: &Change) {
    let path = quote(&change.path);
    let (mode, content) = match &change.content {
        Content::File(content) => ("100644", content),
        Content::Executable(content) => ("100755", content),
        Content::Symlink(target) => ("120000", target),
        Content::Submodule(commit) => {
            stream.extend_from_slice(format!("M 160000 {commit} {path}\n").as_bytes());
            return;
        }
        Content::Removed => {
            stream.extend_from_slice(format!("D {path}\n").as_bytes());
            return;
        }
    };
    stream.extend_from_slice(format!("M {mode} inline {path}\n").as_bytes());
    push_data(stream, content);
}

fn push_data(stream: &mut Vec<u8>, data: &[u8]) {
    stream.extend_from_slice(format!("data {}\n", data.len()).as_bytes());
    stream.extend_from_slice(data);
    stream.push(b'\n');
}

/// A path as a C string, in which any byte can be written.
fn quote(path: &[u8]) -> String {
    let mut quoted = String::from('"');
    for &byte in path {
        match byte {
            b'"' | b'\\' | 0..=31 | 127..=255 => write!(quoted, "\\{byte:03o}"),
            _ => write!(quoted, "{}", char::from(byte)),
        }
        .expect("a string takes any text");
    }
    quoted.push('"');
    quoted
}
