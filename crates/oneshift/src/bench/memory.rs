//! Resident memory of idle services.

use anyhow::Context;

use super::{Row, World};
use crate::supervisor::Service;

pub(super) async fn measure(world: &World) -> anyhow::Result<Vec<Row>> {
    world.idle().await?;
    let mut rows = Vec::new();
    for service in Service::ALL {
        let row =
            Row::new(format!("memory, idle {service}"), "MB", resident(world, service).await?);
        rows.push(match service {
            Service::Gateway => row.bar("<= 40 MB", |row| row.value() <= 40.0),
            Service::Worker(_) => row.bar("<= 10 MB", |row| row.value() <= 10.0),
        });
    }
    Ok(rows)
}

/// Resident memory of a service that waits, in MB.
async fn resident(world: &World, service: Service) -> anyhow::Result<f64> {
    let seat = world.stack.seats(service).pop();
    let mut seat = seat.with_context(|| format!("the stack has no {service}"))?;
    let pid = seat.wait_for(|occupant| occupant.pid.is_some()).await?.pid.unwrap_or_default();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("cannot read the memory of {service}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kibibytes: f64 = kibibytes.context("VmRSS is missing in /proc")?.trim().parse()?;
    Ok(kibibytes * 1024.0 / 1e6)
}
