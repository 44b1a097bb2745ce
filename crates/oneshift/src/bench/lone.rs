//! A gateway without workers.

use std::time::{Duration, Instant};

use anyhow::Context;
use client::Endpoint;
use tokio::process::Child;

use super::memory;
use crate::supervisor::{Binaries, Launch, Service, Surroundings};

/// A gateway opens its store and reads what is in it; longer means that it does not start.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Pause between two looks whether it serves.
const LOOK: Duration = Duration::from_micros(200);

/// A gateway that no worker is attached to; its jobs wait. It ends with this.
pub(super) struct LoneGateway {
    launch: Launch,
    process: Child,
    /// What anybody may ask it.
    pub(super) endpoint: Endpoint,
}

impl LoneGateway {
    /// Starts it and waits until it serves.
    pub(super) async fn start(binaries: &Binaries, site: &Surroundings) -> anyhow::Result<Self> {
        let launch = Launch::new(binaries, site, Service::Gateway);
        let endpoint = Endpoint::new(&site.address(), None)?;
        let process = launch.start().context("cannot start a gateway")?;
        let mut gateway = Self { launch, process, endpoint };
        gateway.queued().await?;
        Ok(gateway)
    }

    /// Kills it and starts the next one; returns the time from that start until it serves, and
    /// checks that its queue is as long as before.
    pub(super) async fn restart(&mut self) -> anyhow::Result<Duration> {
        let before = self.queued().await?;
        self.process.kill().await.context("cannot kill a gateway")?;
        let start = Instant::now();
        self.process = self.launch.start().context("cannot start a gateway again")?;
        let after = self.queued().await?;
        anyhow::ensure!(
            before == after,
            "{before} jobs were queued before a restart, {after} after"
        );
        Ok(start.elapsed())
    }

    /// How many jobs wait, as soon as it serves.
    async fn queued(&mut self) -> anyhow::Result<u64> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            match self.endpoint.health().await {
                Ok(health) => {
                    let queued = health.pointer("/jobs/queued").and_then(|count| count.as_u64());
                    return queued.context("the gateway does not count its jobs");
                }
                Err(error) if Instant::now() > deadline => return Err(error.into()),
                Err(_) => tokio::time::sleep(LOOK).await,
            }
            if let Some(status) = self.process.try_wait()? {
                anyhow::bail!("a gateway ended with {status}; its own words are above");
            }
        }
    }

    /// Its resident memory now.
    pub(super) fn memory(&self) -> anyhow::Result<memory::Resident> {
        memory::resident(self.process.id().context("a gateway has ended")?)
    }

    /// Kills it; its store stays.
    pub(super) async fn kill(mut self) -> anyhow::Result<()> {
        self.process.kill().await.context("cannot kill a gateway")
    }
}
