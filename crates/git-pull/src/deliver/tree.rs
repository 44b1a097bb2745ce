//! Makes a git tree of what an agent has left in a checkout, without git and without its `.git`.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;

use git2::{ObjectType, Odb, Oid, Tree};
use tokio_util::sync::CancellationToken;

use super::ignored::{self, Rules};
use super::left_out::LeftOut;
use super::store::Store;
use super::worktree::{Entry, Folder, Kind};
use crate::fault::Fault;
use crate::plan::{EXECUTABLE, REGULAR, SUBMODULE, SYMLINK, TREE, is_safe};

/// Largest file that a patch may change: 50 MiB, where GitHub begins to warn.
const MAX_FILE_BYTES: u64 = 50 * 1024 * 1024;

/// Most bytes of changed files altogether; a patch of them would be too large in any case, unless
/// they are mostly alike.
const MAX_CHANGED_BYTES: u64 = 512 * 1024 * 1024;

/// Most files, folders and whatever else in a checkout.
const MAX_ENTRIES: usize = 2_000_000;

/// Deepest folder, so that a chain of folders uses up neither the stack nor the open files.
const MAX_DEPTH: usize = 200;

/// Makes the tree of one checkout.
pub(crate) struct TreeMaker<'a> {
    store: &'a Store,
    odb: Odb<'a>,
    stop: &'a CancellationToken,
    rules: Rules,
    content: Vec<u8>,
    entries: usize,
    changed_bytes: u64,
    pub(crate) left_out: LeftOut,
}

/// A folder of the checkout, and what is known about it.
struct Place<'a> {
    folder: &'a Folder,
    /// Relative to the checkout; empty for its root, otherwise ends with a slash.
    path: &'a [u8],
    /// What it was.
    base: Option<&'a Tree<'a>>,
    depth: usize,
    /// Whether what is new in it does not count.
    is_ignored: bool,
}

/// An entry of a tree.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Item {
    mode: u32,
    id: Oid,
}

impl<'a> TreeMaker<'a> {
    pub(crate) fn new(store: &'a Store, stop: &'a CancellationToken) -> Result<Self, Fault> {
        Ok(Self {
            store,
            odb: store.odb()?,
            stop,
            rules: Rules::default(),
            content: Vec::new(),
            entries: 0,
            changed_bytes: 0,
            left_out: LeftOut::default(),
        })
    }

    /// The tree of the checkout `root` that was made from `base`.
    pub(crate) fn make(&mut self, root: &Folder, base: Option<&Tree<'_>>) -> Result<Oid, Fault> {
        let place = Place { folder: root, path: b"", base, depth: 0, is_ignored: false };
        match self.folder(&place, root_entries(root)?)? {
            Some(id) => Ok(id),
            None => self.write(&[]),
        }
    }

    /// None when there is nothing in it.
    fn folder(&mut self, place: &Place<'_>, entries: Vec<Entry>) -> Result<Option<Oid>, Fault> {
        self.entries += entries.len();
        if self.entries > MAX_ENTRIES {
            let message = format!("the checkout holds more than {MAX_ENTRIES} files");
            return Err(Fault::TooLarge(message));
        }
        let has_rules = !place.is_ignored && self.read_rules(place, &entries);
        let mut items = submodules(place.base);
        for entry in entries {
            if self.stop.is_cancelled() {
                return Err(Fault::Stopped);
            }
            if let Some(item) = self.entry(place, &entry)? {
                items.push((entry.name.into_bytes(), item));
            }
        }
        if has_rules {
            self.rules.leave(place.path);
        }
        if let Some(base) = place.base
            && is_same(base, &items)
        {
            return Ok(Some(base.id()));
        }
        if items.is_empty() { Ok(None) } else { self.write(&items).map(Some) }
    }

    fn read_rules(&mut self, place: &Place<'_>, entries: &[Entry]) -> bool {
        let is_rules = |entry: &Entry| &*entry.name == c".gitignore" && entry.kind == Kind::File;
        if !entries.iter().any(is_rules) {
            return false;
        }
        let Ok(file) = place.folder.file(c".gitignore") else { return false };
        let mut content = Vec::new();
        if file.take(ignored::MAX_BYTES).read_to_end(&mut content).is_err() {
            return false;
        }
        self.rules.enter(place.path, &content);
        true
    }

    /// What an entry becomes; nothing when it is left out.
    fn entry(&mut self, place: &Place<'_>, entry: &Entry) -> Result<Option<Item>, Fault> {
        let name = entry.name.to_bytes();
        if !is_safe(name) {
            return Ok(None);
        }
        let base = base_item(place.base, name);
        if base.is_some_and(|base| base.mode == SUBMODULE) {
            return Ok(None);
        }
        let path = [place.path, name].concat();
        let is_folder = entry.kind == Kind::Folder;
        let was_there = base.is_some_and(|base| (base.mode == TREE) == is_folder);
        let is_ignored = place.is_ignored || self.rules.ignore(&path, is_folder);
        if is_ignored && !was_there {
            return Ok(None);
        }
        let read = match entry.kind {
            Kind::Folder => return self.subfolder(place, &entry.name, &path, is_ignored),
            Kind::File => self.file(place.folder, &entry.name, &path, base),
            Kind::Symlink => self.symlink(place.folder, &entry.name, base),
            Kind::Other => {
                self.left_out.special(&path);
                return Ok(None);
            }
        };
        match read {
            Ok(item) => Ok(Some(item)),
            Err(Unread::Fault(fault)) => Err(fault),
            Err(Unread::Gone) => Ok(None),
            Err(Unread::Closed) => {
                self.left_out.unreadable(&path);
                Ok(base)
            }
        }
    }

    fn subfolder(
        &mut self,
        place: &Place<'_>,
        name: &CStr,
        path: &[u8],
        is_ignored: bool,
    ) -> Result<Option<Item>, Fault> {
        let base = base_item(place.base, name.to_bytes()).filter(|base| base.mode == TREE);
        if place.depth == MAX_DEPTH {
            self.left_out.too_deep(path);
            return Ok(base);
        }
        let opened = place.folder.folder(name).and_then(|folder| {
            let entries = folder.entries()?;
            Ok((folder, entries))
        });
        let Ok((folder, entries)) = opened else {
            self.left_out.unreadable(path);
            return Ok(base);
        };
        if entries.iter().any(|entry| &*entry.name == c".git") {
            self.left_out.repository(path);
            if base.is_none() {
                return Ok(None);
            }
        }
        let base = base.map(|base| self.store.tree(base.id)).transpose()?;
        let path = [path, b"/"].concat();
        let depth = place.depth + 1;
        let inner = Place { folder: &folder, path: &path, base: base.as_ref(), depth, is_ignored };
        Ok(self.folder(&inner, entries)?.map(|id| Item { mode: TREE, id }))
    }

    fn file(
        &mut self,
        folder: &Folder,
        name: &CStr,
        path: &[u8],
        base: Option<Item>,
    ) -> Result<Item, Unread> {
        let mut file = folder.file(name)?;
        let metadata = file.metadata()?;
        let is_executable = metadata.permissions().mode() & 0o100 != 0;
        let mode = if is_executable { EXECUTABLE } else { REGULAR };
        if metadata.len() > MAX_FILE_BYTES {
            let id = self.large_file(file, metadata.len(), path, base)?;
            return Ok(Item { mode, id });
        }
        self.content.clear();
        (&mut file).take(MAX_FILE_BYTES + 1).read_to_end(&mut self.content)?;
        if self.content.len() as u64 > MAX_FILE_BYTES {
            return Err(too_large(path).into());
        }
        Ok(Item { mode, id: self.blob(base)? })
    }

    fn symlink(
        &mut self,
        folder: &Folder,
        name: &CStr,
        base: Option<Item>,
    ) -> Result<Item, Unread> {
        self.content = folder.link(name)?;
        Ok(Item { mode: SYMLINK, id: self.blob(base)? })
    }

    /// The id of what was read, which is kept unless it is what was there.
    fn blob(&mut self, base: Option<Item>) -> Result<Oid, Fault> {
        let id = Oid::hash_object(ObjectType::Blob, &self.content)
            .map_err(Fault::git("name a file's content"))?;
        if base.is_some_and(|base| base.id == id) {
            return Ok(id);
        }
        self.changed_bytes += self.content.len() as u64;
        if self.changed_bytes > MAX_CHANGED_BYTES {
            let message = "more than 512 MiB of files are new or different".to_owned();
            return Err(Fault::TooLarge(message));
        }
        self.store.keep(&self.odb, &self.content)
    }

    /// A file that is too large for a patch is fine as long as it is what it was.
    fn large_file(
        &self,
        file: File,
        size: u64,
        path: &[u8],
        base: Option<Item>,
    ) -> Result<Oid, Unread> {
        let base = base.filter(|base| {
            let header = self.odb.read_header(base.id);
            header.is_ok_and(|(length, _)| length as u64 == size)
        });
        let base = base.ok_or_else(|| too_large(path))?;
        let length = usize::try_from(size).map_err(|_| too_large(path))?;
        let keep = || self.store.explain("compare a large file");
        let mut writer = self.odb.writer(length, ObjectType::Blob).map_err(keep())?;
        let copied = io::copy(&mut file.take(size), &mut writer);
        if !copied.is_ok_and(|copied| copied == size) {
            return Err(too_large(path).into());
        }
        let id = writer.finalize().map_err(keep())?;
        if id == base.id { Ok(id) } else { Err(too_large(path).into()) }
    }

    fn write(&self, items: &[(Vec<u8>, Item)]) -> Result<Oid, Fault> {
        let keep = || self.store.explain("keep a folder");
        let mut builder = self.store.repository().treebuilder(None).map_err(keep())?;
        for (name, item) in items {
            let mode = i32::try_from(item.mode).unwrap_or_default();
            builder.insert(name.as_slice(), item.id, mode).map_err(keep())?;
        }
        builder.write().map_err(keep())
    }
}

/// Why an entry was not read.
enum Unread {
    /// It vanished, or became something else, after it was listed.
    Gone,
    /// It may not be read.
    Closed,
    Fault(Fault),
}

impl From<Fault> for Unread {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Gone,
            _ => Self::Closed,
        }
    }
}

fn too_large(path: &[u8]) -> Fault {
    let path = String::from_utf8_lossy(path);
    Fault::TooLarge(format!("{path:?} is larger than 50 MiB, the most that can be delivered"))
}

fn root_entries(root: &Folder) -> Result<Vec<Entry>, Fault> {
    root.entries().map_err(Fault::io("read the checkout"))
}

/// Submodules stay what they were, whatever is in their folders.
fn submodules(base: Option<&Tree<'_>>) -> Vec<(Vec<u8>, Item)> {
    let entries = base.into_iter().flat_map(Tree::iter);
    entries
        .map(|entry| (entry.name_bytes().to_vec(), Item { mode: mode_of(&entry), id: entry.id() }))
        .filter(|(_, item)| item.mode == SUBMODULE)
        .collect()
}

fn base_item(base: Option<&Tree<'_>>, name: &[u8]) -> Option<Item> {
    let entry = base?.get_name_bytes(name)?;
    Some(Item { mode: mode_of(&entry), id: entry.id() })
}

fn mode_of(entry: &git2::TreeEntry<'_>) -> u32 {
    u32::try_from(entry.filemode()).unwrap_or_default()
}

fn is_same(base: &Tree<'_>, items: &[(Vec<u8>, Item)]) -> bool {
    base.len() == items.len()
        && items.iter().all(|(name, item)| base_item(Some(base), name) == Some(*item))
}
