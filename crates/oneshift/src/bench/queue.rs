//! Long queues: everything is measured in turns with a gateway that has few jobs queued and one
//! that has many, so that both see the same machine.
//!
//! The queued jobs belong to one token, which may have one job running. So the queue stays as long
//! as it is while workers are idle, and another token's job can be dispatched past it.

mod calls;
mod dispatch;
mod restart;
mod submits;

use client::Endpoint;
use client::protocol::request::DeliverMode;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::lone::LoneGateway;
use super::report::number;
use super::row::Group;
use super::{Effort, Row, World, agent, crowd, world};
use crate::supervisor::{Surroundings, random_token};

/// What "many" is compared with.
const FEW: usize = 10;

/// The label of all jobs here.
const LABEL: (&str, &str) = ("batch", "bench");

/// A gateway's folders and tokens; whoever serves there finds the same jobs.
struct Place {
    site: Surroundings,
    /// Whose jobs are queued.
    crowd: Endpoint,
    /// Who has a job now and then.
    single: Endpoint,
    /// What the queued jobs ask for.
    request: Value,
}

/// A gateway without workers in such a place.
struct Queue {
    place: Place,
    gateway: LoneGateway,
}

/// The same with few jobs queued and with many.
#[derive(Default)]
struct Both<T> {
    few: T,
    many: T,
}

pub(super) async fn measure(world: &World, effort: Effort) -> anyhow::Result<Vec<Row>> {
    let mut both =
        Both { few: Queue::open(world, "few").await?, many: Queue::open(world, "many").await? };
    both.few.fill(FEW).await?;
    both.many.fill(effort.queued).await?;
    let title = format!("with {} jobs queued", number(effort.queued as f64));
    let group = Group::new(title, "the same with 10 or none");
    let mut rows = submits::measure(world, &group, &both.many, effort).await?;
    rows.extend(calls::measure(&group, &both, effort).await?);
    rows.extend(restart::measure(&group, &mut both, effort).await?);
    rows.extend(dispatch::measure(world, &group, both, effort).await?);
    Ok(rows)
}

/// A row of times beside those of few jobs: as quick, but for what a busy machine adds.
fn flat(row: Row) -> Row {
    row.bar("<= 1.5 x", |row| row.ratio() <= 1.5)
}

impl Queue {
    /// With nothing in it.
    async fn open(world: &World, name: &str) -> anyhow::Result<Self> {
        let (crowd, single) = (random_token()?, random_token()?);
        let file = world.place(&format!("{name}-tokens.json"));
        std::fs::write(&file, tokens(&crowd, &single).to_string())?;
        let settings = [("ONESHIFT_TOKENS_FILE", file.display().to_string())];
        let site = world.site(name, settings)?;
        let endpoint = |token| Endpoint::new(&site.address(), Some(token));
        let (crowd, single) = (endpoint(crowd)?, endpoint(single)?);
        let mut request = world::request(&world.small, agent::NOTHING, DeliverMode::None)?;
        request["labels"] = json!({ LABEL.0: LABEL.1 });
        let gateway = LoneGateway::start(&world.binaries, &site).await?;
        Ok(Self { place: Place { site, crowd, single, request }, gateway })
    }

    async fn fill(&self, jobs: usize) -> anyhow::Result<()> {
        crowd::submit(&self.place.crowd, &self.place.request, jobs).await.map(drop)
    }

    /// Ends the gateway; the jobs stay.
    async fn close(self) -> anyhow::Result<Place> {
        self.gateway.kill().await?;
        Ok(self.place)
    }
}

fn tokens(crowd: &SecretString, single: &SecretString) -> Value {
    let scopes = ["read", "submit"];
    json!([
        {
            "name": "crowd", "token": crowd.expose_secret(), "scopes": scopes,
            "quotas": { "runningJobs": 1 },
        },
        { "name": "single", "token": single.expose_secret(), "scopes": scopes },
    ])
}
