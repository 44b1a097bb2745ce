//! A repository on this machine's disk, which the operator trusts.

use std::path::Path;

use git2::{ErrorCode, ObjectType, Odb, Oid, PackBuilder, Reference, Repository, Revwalk};
use tokio_util::sync::CancellationToken;

use crate::disk_copy;
use crate::fault::Fault;
use crate::mirror::Work;
use crate::pack::PackWriter;
use crate::snapshot::{Head, Ref, Snapshot};

/// How often, in objects or commits, a look is taken at whether the job is stopped.
const STOP_CHECK: usize = 256;

/// An opened repository and its refs.
pub(crate) struct Disk {
    repository: Repository,
    pub(crate) snapshot: Snapshot,
}

impl Disk {
    /// Opens the repository, or the one whose work tree the folder is.
    pub(crate) fn open(path: &Path, url: &str) -> Result<Self, Fault> {
        let repository = Repository::open(path).map_err(|cause| match cause.code() {
            ErrorCode::NotFound => Fault::RepositoryNotFound { url: url.to_owned() },
            _ => Fault::Git { action: format!("open {url}"), cause },
        })?;
        let snapshot = snapshot(&repository).map_err(Fault::git(format!("read {url}")))?;
        Ok(Self { repository, snapshot })
    }

    /// Copies all objects there are into the folder of objects `to`; false when that is not possible.
    pub(crate) fn copy_objects(&self, to: &Path, work: &Work<'_>) -> Result<bool, Fault> {
        disk_copy::copy_objects(&self.repository.commondir().join("objects"), to, work)
    }

    /// Packs the objects `wants` and all that they need, but not what `haves` need.
    pub(crate) fn download(
        &self,
        wants: &[Oid],
        haves: &[Oid],
        mut pack: PackWriter<'_>,
        stop: &CancellationToken,
    ) -> Result<(), Fault> {
        let mut builder = self.repository.packbuilder().map_err(Fault::git("start a pack"))?;
        builder.set_threads(0);
        self.collect(&mut builder, wants, haves, stop)?;
        let mut fault = None;
        let written = builder.foreach(|piece| match pack.write(piece) {
            Ok(()) => !stop.is_cancelled(),
            Err(error) => {
                fault = Some(error);
                false
            }
        });
        match (fault, written) {
            (Some(fault), _) => Err(fault),
            _ if stop.is_cancelled() => Err(Fault::Stopped),
            (None, Err(cause)) => Err(Fault::git("pack the repository")(cause)),
            (None, Ok(())) => pack.finish(),
        }
    }

    fn collect(
        &self,
        builder: &mut PackBuilder<'_>,
        wants: &[Oid],
        haves: &[Oid],
        stop: &CancellationToken,
    ) -> Result<(), Fault> {
        let fault = || Fault::git("walk through the repository");
        let odb = self.repository.odb().map_err(fault())?;
        let mut walk = self.repository.revwalk().map_err(fault())?;
        for have in haves.iter().filter(|have| odb.exists(**have)) {
            walk.hide(*have).map_err(fault())?;
        }
        for want in wants {
            self.want(*want, &odb, builder, &mut walk).map_err(fault())?;
        }
        for (count, commit) in walk.enumerate() {
            if count % STOP_CHECK == 0 && stop.is_cancelled() {
                return Err(Fault::Stopped);
            }
            let commit = commit.map_err(fault())?;
            builder.insert_commit(commit).map_err(fault())?;
        }
        Ok(())
    }

    /// A commit is walked from; the tags before it, and what is no commit, go in as they are.
    fn want(
        &self,
        want: Oid,
        odb: &Odb<'_>,
        builder: &mut PackBuilder<'_>,
        walk: &mut Revwalk<'_>,
    ) -> Result<(), git2::Error> {
        let mut id = want;
        while odb.read_header(id)?.1 == ObjectType::Tag {
            builder.insert_object(id, None)?;
            id = self.repository.find_tag(id)?.target_id();
        }
        match odb.read_header(id)?.1 {
            ObjectType::Commit => walk.push(id),
            _ => builder.insert_recursive(id, None),
        }
    }
}

fn snapshot(repository: &Repository) -> Result<Snapshot, git2::Error> {
    let mut refs = Vec::new();
    for reference in repository.references()? {
        // One that leads nowhere is not shown by a server either.
        refs.extend(as_ref(&reference?));
    }
    Ok(Snapshot::new(refs, head(repository)?, shallow(repository)))
}

fn as_ref(reference: &Reference<'_>) -> Option<Ref> {
    let name = reference.name_bytes().to_vec();
    let resolved = reference.resolve().ok()?;
    let id = resolved.target()?;
    let object = resolved.peel(ObjectType::Any).ok()?;
    Some(Ref { name, id, peeled: (object.id() != id).then_some(object.id()) })
}

fn head(repository: &Repository) -> Result<Head, git2::Error> {
    let head = repository.find_reference("HEAD")?;
    Ok(match (head.symbolic_target_bytes(), head.target()) {
        (Some(name), _) => Head::Branch(name.to_vec()),
        (None, Some(id)) => Head::Detached(id),
        (None, None) => Head::Unborn,
    })
}

fn shallow(repository: &Repository) -> Vec<Oid> {
    let text = std::fs::read_to_string(repository.path().join("shallow")).unwrap_or_default();
    text.lines().filter_map(|line| Oid::from_str(line).ok()).collect()
}
