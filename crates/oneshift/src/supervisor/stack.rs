//! A gateway and its workers.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use client::Endpoint;
use client::protocol::WorkerKind;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::binaries::Binaries;
use super::environment::Surroundings;
use super::seat::{self, Launch, Occupant, Order};
use super::service::Service;
use super::sizing::Sizes;

/// A gateway opens its store and listens; even on a slow disk that takes no longer.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause between two looks whether the gateway listens.
const LOOK: Duration = Duration::from_millis(5);

/// How long a group may take to end beyond its drain time: a job that is cancelled then still
/// saves what there is.
const SALVAGE: Duration = Duration::from_secs(15);

/// A gateway and its workers, each kept running.
pub(crate) struct Stack {
    /// In the order in which they are stopped.
    groups: Vec<Group>,
    drain: Duration,
    endpoint: Endpoint,
}

/// Services that are stopped together.
struct Group {
    orders: watch::Sender<Order>,
    tasks: JoinSet<()>,
    seats: Vec<(Service, watch::Receiver<Occupant>)>,
}

impl Stack {
    /// Starts everything and waits until the gateway serves.
    pub(crate) async fn start(
        binaries: &Binaries,
        surroundings: &Surroundings,
        sizes: Sizes,
    ) -> anyhow::Result<Self> {
        hide_from_agents().context("cannot make this process unreadable for agents")?;
        make_folders(surroundings)?;
        let launch = |service| Arc::new(Launch::new(binaries, surroundings, service));
        let (mut workflow, mut helpers, mut gateway) = (Group::new(), Group::new(), Group::new());
        gateway.add(&launch(Service::Gateway));
        for kind in WorkerKind::ALL {
            let group = if kind == WorkerKind::Workflow { &mut workflow } else { &mut helpers };
            let launch = launch(Service::Worker(kind));
            (0..sizes.of(kind)).for_each(|_| group.add(&launch));
        }
        let cluster_token = surroundings.cluster_token.clone();
        let endpoint = Endpoint::new(&surroundings.address(), Some(cluster_token))?;
        let drain = surroundings.config.text("ONESHIFT_DRAIN_SECONDS");
        let drain = Duration::from_secs(drain.and_then(|text| text.parse().ok()).unwrap_or(30));
        // A running workflow needs the helpers, and those need the gateway.
        let mut stack = Self { groups: vec![workflow, helpers, gateway], drain, endpoint };
        if let Err(error) = stack.live().await {
            stack.kill().await;
            return Err(error);
        }
        Ok(stack)
    }

    /// The gateway's inside, as workers see it.
    pub(crate) fn inside(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The seats of a service.
    pub(crate) fn seats(&self, service: Service) -> Vec<watch::Receiver<Occupant>> {
        let seats = self.groups.iter().flat_map(|group| &group.seats);
        seats.filter(|(other, _)| *other == service).map(|(_, seat)| seat.clone()).collect()
    }

    /// Lets running jobs end within the drain time, then stops everything; when `hurry` resolves,
    /// everything is ended at once.
    pub(crate) async fn stop(mut self, hurry: impl Future<Output = ()>) {
        tokio::select! {
            () = self.finish() => {}
            () = hurry => {}
        }
        self.kill().await;
    }

    async fn finish(&mut self) {
        let limit = self.drain + SALVAGE;
        for group in &mut self.groups {
            group.orders.send_replace(Order::Finish);
            if tokio::time::timeout(limit, group.ended()).await.is_err() {
                group.orders.send_replace(Order::Kill);
                group.ended().await;
            }
        }
    }

    async fn kill(&mut self) {
        for group in &mut self.groups {
            group.orders.send_replace(Order::Kill);
        }
        for group in &mut self.groups {
            group.ended().await;
        }
    }

    /// Waits until the gateway serves.
    async fn live(&mut self) -> anyhow::Result<()> {
        let gateway = self.seats(Service::Gateway).remove(0);
        let look = async {
            loop {
                // Not only whether it lives: a gateway says so before it has its store.
                if self.endpoint.health().await.is_ok() {
                    return Ok(());
                }
                if gateway.borrow().bad_endings > 0 {
                    bail!("the gateway does not start; its own words are above");
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let look = tokio::time::timeout(START_TIMEOUT, look).await;
        look.context("the gateway does not answer within 30 s of its start")?
    }
}

impl Group {
    fn new() -> Self {
        let (orders, _) = watch::channel(Order::Run);
        Self { orders, tasks: JoinSet::new(), seats: Vec::new() }
    }

    fn add(&mut self, launch: &Arc<Launch>) {
        let (occupant, seat) = watch::channel(Occupant::default());
        self.seats.push((launch.service, seat));
        self.tasks.spawn(seat::keep(Arc::clone(launch), self.orders.subscribe(), occupant));
    }

    async fn ended(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Agents run as the same user: without this they could read out of this process what is kept from
/// them, the cluster token and the user's environment.
fn hide_from_agents() -> std::io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// The folders hold prompts, patches and code: they are for this user only.
fn make_folders(surroundings: &Surroundings) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    for folder in [&surroundings.data, &surroundings.workspace] {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    Ok(())
}

/// A port of loopback that is free now.
///
/// # Errors
/// When there is none.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot find a free port")?;
    Ok(listener.local_addr()?.port())
}
