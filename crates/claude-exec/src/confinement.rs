//! What an agent cannot reach although it runs as the worker's user: other jobs' folders, the
//! worker's secrets, and processes that it did not start.
//!
//! The kernel's Landlock keeps to it. That knows no exceptions from what is allowed, only rules that
//! allow more: so everything beside the hidden paths is allowed, folder by folder. What that cannot
//! give is a new file directly in a folder above a hidden one, or that folder's list.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, Scope, path_beneath_rules,
};
use service::one_shot::Job;
use service::workspace::{Workspace, lender_of};
use service::{ConfigError, Environment};

/// The newest version of Landlock whose rights are known here; an older kernel keeps to fewer.
const KNOWN: ABI = ABI::V6;

/// The secrets that a worker may have in files of its own.
const SECRETS: [&str; 4] = [
    "ONESHIFT_CLUSTER_TOKEN_FILE",
    "ONESHIFT_CLUSTER_TOKEN_ALSO_FILE",
    "ANTHROPIC_API_KEY_FILE",
    "CLAUDE_CODE_OAUTH_TOKEN_FILE",
];

/// The guard's options for what is hidden, and what is open or readable nevertheless.
const HIDE: &str = "--hide";
const OPEN: &str = "--open";
const READ: &str = "--read";

/// What a worker hides from its agents.
#[derive(Clone, Debug)]
pub(crate) struct Confinement {
    hidden: Vec<PathBuf>,
}

impl Confinement {
    /// Reads `ONESHIFT_AGENT_CONFINED` and `ONESHIFT_AGENT_HIDDEN`; none where the first is off.
    ///
    /// # Errors
    /// When it is no switch.
    pub(crate) fn read(
        environment: &Environment,
        workspace: &Workspace,
    ) -> Result<Option<Self>, ConfigError> {
        if !environment.flag("ONESHIFT_AGENT_CONFINED")? {
            return Ok(None);
        }
        if !can_confine() {
            tracing::warn!(
                "this system has no Landlock (Linux 5.19 or newer): agents can reach other jobs' \
                 folders and this worker's secrets"
            );
        }
        let secrets = SECRETS.iter().filter_map(|name| environment.text(name)).map(PathBuf::from);
        let more = environment.text("ONESHIFT_AGENT_HIDDEN").unwrap_or_default();
        let more = std::env::split_paths(&more).filter(|path| path.is_absolute());
        // What is not there cannot be read either.
        let hidden = secrets.chain(more).filter_map(|path| path.canonicalize().ok());
        Ok(Some(Self { hidden: hidden.chain([workspace.root().to_owned()]).collect() }))
    }

    /// The same for one job, which has its own folder and the mirror that its checkout needs.
    pub(crate) fn of(&self, job: &Job, workspace: &Workspace) -> Walls {
        let folder = workspace.job(job.id());
        let mirror = lender_of(&folder).filter(|name| is_mirror(name));
        let readable = mirror.map(|name| workspace.cache().join(name)).into_iter().collect();
        Walls { hidden: self.hidden.clone(), open: vec![folder], readable }
    }
}

/// A mirror's name, and no way out of the cache: an agent may have changed it.
fn is_mirror(name: &str) -> bool {
    let hash = name.strip_suffix(".git").unwrap_or_default();
    hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether this system can keep an agent in: it has Landlock, since Linux 5.19 with all that matters.
#[must_use]
pub fn can_confine() -> bool {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V2))
        .and_then(Ruleset::create)
        .is_ok()
}

/// What is between one program and the rest of the system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Walls {
    /// Absolute, without symlinks.
    hidden: Vec<PathBuf>,
    open: Vec<PathBuf>,
    readable: Vec<PathBuf>,
}

impl Walls {
    /// Takes one of the guard's options; false if it is another's.
    pub(crate) fn take_option(&mut self, option: &OsStr, value: impl FnOnce() -> PathBuf) -> bool {
        let paths = match option.to_str() {
            Some(HIDE) => &mut self.hidden,
            Some(OPEN) => &mut self.open,
            Some(READ) => &mut self.readable,
            _ => return false,
        };
        paths.push(value());
        true
    }

    /// The same as options of the guard.
    pub(crate) fn to_options(&self) -> Vec<OsString> {
        let all = [(HIDE, &self.hidden), (OPEN, &self.open), (READ, &self.readable)];
        let option = |name: &str, path: &PathBuf| [name.into(), path.into()];
        let options = |(name, paths)| -> Vec<[OsString; 2]> {
            let paths: &Vec<PathBuf> = paths;
            paths.iter().map(|path| option(name, path)).collect()
        };
        all.into_iter().flat_map(options).flatten().collect()
    }

    /// Puts this thread, and all processes that it starts, behind the walls for ever; where the
    /// system cannot do that, as far as it can.
    ///
    /// # Errors
    /// When the system can, but something else is wrong.
    pub(crate) fn close(&self) -> io::Result<()> {
        if self.hidden.is_empty() {
            return Ok(());
        }
        let mut visible = Vec::new();
        look_around(Path::new("/"), &self.hidden, &mut visible);
        visible.extend_from_slice(&self.open);
        let close = || -> Result<_, RulesetError> {
            Ruleset::default()
                // Without this one, files could not be moved from folder to folder: then rather no
                // walls at all.
                .set_compatibility(CompatLevel::SoftRequirement)
                .handle_access(AccessFs::Refer)?
                .set_compatibility(CompatLevel::BestEffort)
                .handle_access(AccessFs::from_all(KNOWN))?
                .scope(Scope::Signal)?
                .create()?
                .add_rules(path_beneath_rules(visible, AccessFs::from_all(KNOWN)))?
                .add_rules(path_beneath_rules(&self.readable, AccessFs::from_read(KNOWN)))?
                .restrict_self()
        };
        close().map(drop).map_err(|error| {
            // The program's standard error, which the job's stream shows.
            eprintln!("claude-exec: cannot confine the program: {error}");
            rustix::io::Errno::PERM.into()
        })
    }
}

/// Everything below a folder that is neither hidden nor above something hidden. Symlinks need no
/// rule of their own, and must have none: what counts is where they lead.
fn look_around(folder: &Path, hidden: &[PathBuf], visible: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_symlink = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        if is_symlink || hidden.contains(&path) {
            continue;
        }
        if hidden.iter().any(|hidden| hidden.starts_with(&path)) {
            look_around(&path, hidden, visible);
        } else {
            visible.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_beside_something_hidden_is_visible_and_no_symlink_leads_there() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let hidden = [root.join("a/secret"), root.join("b")];
        for folder in ["a/secret/deep", "a/other/deep", "b", "c/deep"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::write(root.join("a/file"), "").unwrap();
        symlink("b", root.join("link")).unwrap();
        let mut visible = Vec::new();
        look_around(root, &hidden, &mut visible);
        visible.sort();
        assert_eq!(visible, ["a/file", "a/other", "c"].map(|path| root.join(path)));
    }

    #[test]
    fn walls_go_to_the_guard_as_options() {
        let [hidden, open, readable] = [["/h", "/i"], ["/o", "/p"], ["/r", "/s"]]
            .map(|paths| paths.map(PathBuf::from).to_vec());
        let walls = Walls { hidden, open, readable };
        let options = walls.to_options();
        let mut read = Walls::default();
        for pair in options.chunks(2) {
            assert!(read.take_option(&pair[0], || PathBuf::from(&pair[1])));
        }
        assert_eq!(read, walls);
        assert!(!read.take_option(OsStr::new("--"), PathBuf::new));
    }

    #[test]
    fn a_mirror_is_named_by_a_hash() {
        assert!(is_mirror(&format!("{}.git", "0a".repeat(32))));
        for name in ["../x.git", "x.git", ".git", &format!("{}.git", "/.".repeat(32))] {
            assert!(!is_mirror(name), "{name}");
        }
    }
}
