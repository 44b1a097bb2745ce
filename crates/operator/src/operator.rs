//! Look, report, obey, scale; again and again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use service::client::{ClientError, Endpoint};
use service::protocol::WorkerKind;
use service::protocol::cluster::{
    Action, ClusterAnswer, ClusterReport, Demand, Order, OrderResult, Problem, Service,
};

use crate::config::Config;
use crate::docker::Docker;
use crate::orders::{self, Failure, is_under_way};
use crate::problems::{Problems, View};
use crate::pulse::Pulse;
use crate::report::report;
use crate::scaler::{Load, Scaler};
use crate::snapshot::Snapshot;
use crate::tally::Tally;
use crate::trouble::Trouble;

/// The gateway holds each report for about 2 s; this is for one that does not.
const SHORTEST_TURN: Duration = Duration::from_millis(200);

/// Pause after the gateway could not be reached; doubled while it stays away.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Everything that the operator knows.
#[derive(Debug)]
pub(crate) struct Operator {
    config: Config,
    docker: Docker,
    pulse: Pulse,
    tally: Tally,
    problems: Problems,
    scalers: BTreeMap<WorkerKind, Scaler>,
    /// The stack when Docker was last asked with success, and when that was.
    seen: Option<(Snapshot, Timestamp)>,
    /// What the gateway last said.
    demand: Option<Demand>,
    /// What came of orders, until the gateway has heard of it.
    results: Vec<OrderResult>,
    docker_trouble: Trouble,
    gateway_trouble: Trouble,
    pulse_trouble: Trouble,
}

impl Operator {
    pub(crate) fn new(config: Config, pulse: Pulse) -> Self {
        let scaler = |bounds: &_| Scaler::new(*bounds, config.autoscale_cool);
        let scalers = config.autoscale.iter().map(|(kind, bounds)| (*kind, scaler(bounds)));
        Self {
            docker: Docker::at(config.docker.clone()),
            scalers: scalers.collect(),
            config,
            pulse,
            tally: Tally::default(),
            problems: Problems::default(),
            seen: None,
            demand: None,
            results: Vec::new(),
            docker_trouble: Trouble::default(),
            gateway_trouble: Trouble::default(),
            pulse_trouble: Trouble::default(),
        }
    }

    /// Goes on for ever, whatever cannot be reached.
    pub(crate) async fn run(mut self) {
        let mut pause = PAUSE_MIN;
        loop {
            let start = tokio::time::Instant::now();
            match self.turn().await {
                Ok(()) => pause = PAUSE_MIN,
                Err(_) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
            tokio::time::sleep_until(start + SHORTEST_TURN).await;
        }
    }

    async fn turn(&mut self) -> Result<(), ClientError> {
        self.beat();
        let report = self.look().await;
        self.beat();
        let answer = self.gateway().report_cluster(&report).await;
        self.gateway_trouble.note(answer.as_ref().err(), "the gateway is there");
        let ClusterAnswer { orders, demand } = answer.inspect_err(|_| self.demand = None)?;
        self.results.clear();
        self.beat();
        self.obey(orders).await;
        self.scale(&demand).await;
        self.demand = Some(demand);
        Ok(())
    }

    fn gateway(&self) -> &Endpoint {
        &self.config.gateway
    }

    fn beat(&mut self) {
        let beat = self.pulse.beat();
        let told = "the health command sees this process";
        self.pulse_trouble.note(beat.as_ref().err(), told);
    }

    /// Looks at the stack, and says what there is to say of it.
    async fn look(&mut self) -> ClusterReport {
        let now = Timestamp::now();
        let looked = Snapshot::take(&self.docker, &self.config.stack).await;
        self.docker_trouble.note(looked.as_ref().err(), "Docker is there");
        let problems = match looked {
            Ok(snapshot) => self.note(snapshot, now),
            Err(error) => self.problems.of_docker(error.to_string(), now),
        };
        let nothing = Snapshot::default();
        let (snapshot, at) = match &self.seen {
            Some((snapshot, at)) => (snapshot, Some(*at)),
            None => (&nothing, None),
        };
        let report = report(snapshot, &self.tally, &self.config.autoscale, problems);
        ClusterReport { at, results: self.results.clone(), ..report }
    }

    fn note(&mut self, snapshot: Snapshot, now: Timestamp) -> Vec<Problem> {
        self.tally.look(&snapshot.services, now);
        let Snapshot { nodes, services, .. } = &snapshot;
        let (tally, demand) = (&self.tally, self.demand.as_ref());
        let problems = self.problems.of(View { nodes, services, tally, demand, now });
        self.seen = Some((snapshot, now));
        problems
    }

    async fn obey(&mut self, orders: Vec<Order>) {
        let nothing = Snapshot::default();
        let snapshot = self.seen.as_ref().map_or(&nothing, |(snapshot, _)| snapshot);
        for order in orders {
            let stack = &self.config.stack;
            let result = orders::carry_out(&self.docker, stack, snapshot, order).await;
            self.results.push(result);
        }
    }

    /// Changes the replicas of the kinds that are scaled, as far as the demand asks for it.
    async fn scale(&mut self, demand: &Demand) {
        let Some((snapshot, _)) = self.seen.as_ref().filter(|_| !self.docker_trouble.is_there())
        else {
            return;
        };
        let mut workflows = None;
        // The workflow workers come first: the others follow them.
        for (kind, scaler) in &mut self.scalers {
            let Some(service) = snapshot.of_kind(*kind) else { continue };
            let Some(load) = load(service, &self.tally, demand, snapshot, workflows) else {
                continue;
            };
            let wanted = scaler.wanted(Instant::now(), load);
            if *kind == WorkerKind::Workflow {
                workflows = Some(wanted);
            }
            let is_updated = service.update.as_ref().is_some_and(|it| is_under_way(&it.state));
            if wanted == load.replicas || is_updated {
                continue;
            }
            let action = Action::Scale { replicas: wanted };
            let stack = &self.config.stack;
            match orders::change(&self.docker, stack, snapshot, &service.name, action).await {
                Ok(message) => tracing::info!(?load, "{message}"),
                Err(Failure::Impossible(error)) => tracing::info!("{error}"),
                Err(Failure::Docker(error)) => tracing::warn!(%error, "cannot scale {kind}"),
            }
        }
    }
}

/// What is known of a kind of workers; nothing, if they are not replicas.
fn load(
    service: &Service,
    tally: &Tally,
    demand: &Demand,
    snapshot: &Snapshot,
    workflows: Option<u32>,
) -> Option<Load> {
    let kind = service.kind?;
    let of_kind = demand.of(kind);
    let used = of_kind.busy + of_kind.leased;
    let (ahead, misplaced) = match kind {
        WorkerKind::Workflow => (0, 0),
        WorkerKind::GitPull | WorkerKind::ClaudeExec => {
            let now = snapshot.of_kind(WorkerKind::Workflow).and_then(|it| it.replicas);
            let jobs = demand.running_jobs + demand.of(WorkerKind::Workflow).queued;
            // Idle ones beside steps that wait are on other nodes than those steps' files.
            let misplaced = if of_kind.queued > 0 { of_kind.idle } else { 0 };
            (jobs.min(workflows.or(now).unwrap_or(u32::MAX)), misplaced)
        }
    };
    Some(Load {
        replicas: service.replicas?,
        // Those that were told to stop have a job to finish, and take no other.
        in_use: used.saturating_sub(service.draining),
        queued: of_kind.queued + misplaced,
        ahead,
        ended: tally.restarts(&service.name).after_job,
    })
}
