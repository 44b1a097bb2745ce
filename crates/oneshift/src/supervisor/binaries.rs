//! Where the services' programs are.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::service::Service;
use crate::config::{Config, is_program};

/// The services' programs.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    /// This program.
    pub(crate) own: PathBuf,
    services: [PathBuf; 4],
}

impl Binaries {
    /// Looks beside this program, then on the PATH.
    pub(crate) fn find(config: &Config) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("cannot find out where this program is")?;
        let folder = own.parent().unwrap_or(Path::new("/")).to_owned();
        let find = |service: Service| {
            let beside = folder.join(service.name());
            if is_program(&beside) { Some(beside) } else { config.program(service.name()) }
        };
        let found = Service::ALL.map(find);
        let missing: Vec<&str> = Service::ALL
            .iter()
            .zip(&found)
            .filter(|(_, path)| path.is_none())
            .map(|(service, _)| service.name())
            .collect();
        if !missing.is_empty() {
            let (missing, folder) = (missing.join(", "), folder.display());
            bail!(
                "cannot find {missing} in {folder} or on the PATH; build them all with `cargo build --release`"
            );
        }
        Ok(Self { own, services: found.map(Option::unwrap_or_default) })
    }

    /// A service's program.
    pub(crate) fn of(&self, service: Service) -> &Path {
        let index = Service::ALL.iter().position(|other| *other == service);
        &self.services[index.unwrap_or_default()]
    }
}
