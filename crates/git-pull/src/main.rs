//! One-job worker that pulls a repository into the workspace and delivers what changed in it.

mod address;
mod advertisement;
mod budget;
mod checkout;
mod checkout_git;
mod credentials;
mod deliver;
mod disk;
mod disk_copy;
mod disk_space;
mod fault;
mod housekeeping;
mod index;
mod job_folder;
mod lock;
mod mirror;
mod pack;
mod packet;
mod plan;
mod policy;
mod progress;
mod pull;
mod resolver;
mod run;
mod server;
mod settings;
mod skeleton;
mod snapshot;
mod source;
#[cfg(test)]
mod testing;
mod web;

use std::process::ExitCode;
use std::sync::Arc;

use service::one_shot::OneShot;
use service::protocol::WorkerKind;

fn main() -> ExitCode {
    service::worker_main(WorkerKind::GitPull, |environment, config| {
        let settings = Arc::new(settings::Settings::read(environment)?);
        housekeeping::start(settings.workspace.clone(), settings.limits);
        let config = config.with_workspace(settings.workspace.id());
        Ok(OneShot::new(config)
            .with_successor()
            .shift(pull::Pull { settings: Arc::clone(&settings) })
            .shift(deliver::Deliver { settings }))
    })
}
