//! Where a mirror's content comes from: a server, or a folder.

use std::path::Path;

use git2::Oid;
use service::protocol::RepoUrl;
use tokio_util::sync::CancellationToken;

use crate::credentials::Login;
use crate::disk::Disk;
use crate::fault::Fault;
use crate::mirror::Work;
use crate::pack::PackWriter;
use crate::server::Server;
use crate::snapshot::Snapshot;
use crate::web::Web;

/// A repository that has shown its refs.
pub(crate) enum Source<'a> {
    Server(Box<Server<'a>>),
    Disk(Box<Disk>),
}

impl<'a> Source<'a> {
    /// Asks the repository for its refs.
    pub(crate) fn connect(
        web: &'a Web,
        url: &RepoUrl,
        login: Option<Login>,
    ) -> Result<Self, Fault> {
        if !url.is_local() {
            let server = Server::connect(web, url.public(), login)?;
            return Ok(Self::Server(Box::new(server)));
        }
        web.policy().admit(url.public()).map_err(Fault::NotAllowed)?;
        let not_found = || Fault::RepositoryNotFound { url: url.to_string() };
        let path = url.public().to_file_path().map_err(|()| not_found())?;
        Ok(Self::Disk(Box::new(Disk::open(&path, &url.to_string())?)))
    }

    pub(crate) fn snapshot(&self) -> &Snapshot {
        match self {
            Self::Server(server) => &server.snapshot,
            Self::Disk(disk) => &disk.snapshot,
        }
    }

    /// Copies all objects there are into the folder of objects `to`, if that is possible.
    pub(crate) fn copy_objects(&self, to: &Path, work: &Work<'_>) -> Result<bool, Fault> {
        match self {
            Self::Server(_) => Ok(false),
            Self::Disk(disk) => disk.copy_objects(to, work),
        }
    }

    /// Fetches the objects `wants` and all that they need, but not what `haves` need.
    pub(crate) fn download(
        &self,
        wants: &[Oid],
        haves: &[Oid],
        pack: PackWriter<'_>,
        stop: &CancellationToken,
    ) -> Result<(), Fault> {
        match self {
            Self::Server(server) => server.download(wants, haves, pack, stop),
            Self::Disk(disk) => disk.download(wants, haves, pack, stop),
        }
    }
}
