//! Memory of services.

use anyhow::Context;

use super::row::Group;
use super::{Row, World};
use crate::supervisor::{Service, Stack};

pub(super) async fn measure(world: &World) -> anyhow::Result<Vec<Row>> {
    world.idle().await?;
    let group = Group::new("memory of idle services", "nothing");
    let mut rows = Vec::new();
    for service in Service::ALL {
        let resident = resident(process(&world.stack, service).await?)?;
        let row = group.row(service.name(), "MB", resident.now);
        rows.push(match service {
            Service::Gateway => row.bar("<= 40", |row| row.value() <= 40.0),
            Service::Worker(_) => row.bar("<= 10", |row| row.value() <= 10.0),
        });
    }
    Ok(rows)
}

/// A process's resident memory, in MB.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Resident {
    pub(super) now: f64,
    /// The most since its start.
    pub(super) peak: f64,
}

/// A service's process; its last one, if it has several.
pub(super) async fn process(stack: &Stack, service: Service) -> anyhow::Result<u32> {
    let seat = stack.seats(service).pop();
    let mut seat = seat.with_context(|| format!("the stack has no {service}"))?;
    let occupant = *seat.wait_for(|occupant| occupant.pid.is_some()).await?;
    occupant.pid.with_context(|| format!("{service} does not run"))
}

/// What the kernel says of a process's memory.
pub(super) fn resident(process: u32) -> anyhow::Result<Resident> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))
        .with_context(|| format!("cannot read the memory of process {process}"))?;
    let megabytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kibibytes = kibibytes.with_context(|| format!("{name} is missing in /proc"))?;
        Ok::<_, anyhow::Error>(kibibytes.trim().parse::<f64>()? * 1024.0 / 1e6)
    };
    Ok(Resident { now: megabytes("VmRSS:")?, peak: megabytes("VmHWM:")? })
}
