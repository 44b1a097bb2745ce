//! The refs of a repository at one moment.

use git2::Oid;

/// Branches and tags, and what HEAD is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// Branches and tags, sorted by name.
    refs: Vec<Ref>,
    /// What is checked out when nobody names a branch.
    pub(crate) head: Head,
    /// Commits whose parents the repository does not have.
    pub(crate) shallow: Vec<Oid>,
}

/// A branch or a tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ref {
    /// The whole name; bytes, for git does not ask for UTF-8.
    pub(crate) name: Vec<u8>,
    /// What it points to.
    pub(crate) id: Oid,
    /// What an annotated tag leads to in the end.
    pub(crate) peeled: Option<Oid>,
}

/// What a repository's HEAD is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// A branch that exists, by its whole name.
    Branch(Vec<u8>),
    /// A commit.
    Detached(Oid),
    /// A branch that does not exist, as in an empty repository.
    Unborn,
}

/// What a branch or tag that somebody asked for turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The whole name; none for a detached HEAD.
    pub(crate) name: Option<Vec<u8>>,
    /// A commit, unless a tag leads to something else.
    pub(crate) commit: Oid,
}

const BRANCHES: &[u8] = b"refs/heads/";
const TAGS: &[u8] = b"refs/tags/";

impl Snapshot {
    /// Keeps the refs that are branches or tags with acceptable names.
    pub(crate) fn new(mut refs: Vec<Ref>, head: Head, mut shallow: Vec<Oid>) -> Self {
        refs.retain(|reference| is_mirrored(&reference.name));
        refs.sort();
        refs.dedup_by(|a, b| a.name == b.name);
        shallow.sort();
        let head = match head {
            Head::Branch(name) if refs.iter().all(|reference| reference.name != name) => {
                Head::Unborn
            }
            head => head,
        };
        Self { refs, head, shallow }
    }

    /// Branches and tags, sorted by name.
    pub(crate) fn refs(&self) -> &[Ref] {
        &self.refs
    }

    /// Whether there is nothing to check out.
    pub(crate) fn is_empty(&self) -> bool {
        self.refs.is_empty() && !matches!(self.head, Head::Detached(_))
    }

    /// Every object that something points to, each once.
    pub(crate) fn targets(&self) -> Vec<Oid> {
        let mut targets: Vec<Oid> = self.refs.iter().map(|reference| reference.id).collect();
        if let Head::Detached(id) = self.head {
            targets.push(id);
        }
        targets.sort();
        targets.dedup();
        targets
    }

    /// The branch or, failing that, the tag of this short name.
    pub(crate) fn find(&self, short: &str) -> Option<Found> {
        [BRANCHES, TAGS].into_iter().find_map(|prefix| {
            let name = [prefix, short.as_bytes()].concat();
            self.get(&name)
        })
    }

    /// What HEAD leads to, if to anything.
    pub(crate) fn find_head(&self) -> Option<Found> {
        match &self.head {
            Head::Branch(name) => self.get(name),
            Head::Detached(commit) => Some(Found { name: None, commit: *commit }),
            Head::Unborn => None,
        }
    }

    fn get(&self, name: &[u8]) -> Option<Found> {
        let place = self.refs.binary_search_by(|reference| reference.name.as_slice().cmp(name));
        let reference = &self.refs[place.ok()?];
        let commit = reference.peeled.unwrap_or(reference.id);
        Some(Found { name: Some(reference.name.clone()), commit })
    }
}

impl Found {
    /// The branch's own name, if it is a branch.
    pub(crate) fn branch(&self) -> Option<&[u8]> {
        self.name.as_deref()?.strip_prefix(BRANCHES)
    }

    /// The branch's or tag's own name for people.
    pub(crate) fn short(&self) -> Option<String> {
        let name = self.name.as_deref()?;
        let short = name.strip_prefix(BRANCHES).or_else(|| name.strip_prefix(TAGS))?;
        Some(String::from_utf8_lossy(short).into_owned())
    }
}

fn is_mirrored(name: &[u8]) -> bool {
    (name.starts_with(BRANCHES) || name.starts_with(TAGS)) && is_well_formed(name)
}

/// The rules of `git check-ref-format` for a whole name; a server may send anything.
fn is_well_formed(name: &[u8]) -> bool {
    let part_is_fine =
        |part: &[u8]| !part.is_empty() && !part.starts_with(b".") && !part.ends_with(b".lock");
    let has = |pair: &[u8]| name.windows(2).any(|window| window == pair);
    name.len() < 4096
        && !name.iter().any(|&byte| byte <= b' ' || byte == 127 || b"~^:?*[\\".contains(&byte))
        && !has(b"..")
        && !has(b"@{")
        && !name.ends_with(b".")
        && name.split(|&byte| byte == b'/').all(part_is_fine)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: char) -> Oid {
        Oid::from_str(&digit.to_string().repeat(40)).unwrap()
    }

    fn reference(name: &str, digit: char) -> Ref {
        Ref { name: name.into(), id: id(digit), peeled: None }
    }

    #[test]
    fn a_branch_comes_before_a_tag_of_the_same_name() {
        let refs = vec![reference("refs/tags/x", '2'), reference("refs/heads/x", '1')];
        let snapshot = Snapshot::new(refs, Head::Unborn, Vec::new());
        assert_eq!(snapshot.find("x").unwrap().commit, id('1'));
    }

    #[test]
    fn names_that_could_leave_their_place_are_left_out() {
        let names = [
            "refs/heads/../../config",
            "refs/heads/a\nb",
            "refs/heads/.x",
            "refs/heads/",
            "refs/heads/x.lock",
            "refs/pull/1/head",
            "HEAD",
        ];
        let refs = names.map(|name| reference(name, '1')).to_vec();
        let head = Head::Branch(b"refs/heads/../../config".to_vec());
        let snapshot = Snapshot::new(refs, head, Vec::new());
        assert_eq!((snapshot.refs(), snapshot.head.clone()), (&[][..], Head::Unborn));
    }

    #[test]
    fn a_head_that_leads_nowhere_is_unborn() {
        let refs = vec![reference("refs/heads/x", '1')];
        let head = Head::Branch(b"refs/heads/main".to_vec());
        assert_eq!(Snapshot::new(refs, head, Vec::new()).find_head(), None);
    }
}
