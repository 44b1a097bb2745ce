//! The operator's last report, and the orders that wait for it.
//!
//! An order is handed out at most once: what an operator that died has not reported is told as such,
//! never done a second time.

mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use service::ApiError;
use service::protocol::cluster::{
    Action, Cluster, ClusterAnswer, ClusterReport, Demand, KindDemand, MAX_REPLICAS, Order,
    OrderResult, Service, ServiceChange,
};
use service::protocol::{ErrorCode, OrderId, RequestError, WorkerKind};
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use crate::gateway::Gateway;
use crate::registry::Activity;
use state::{Seen, State};

/// How long the operator's call is held; it looks at the cluster again after that.
const HOLD: Duration = Duration::from_secs(2);

/// How soon the operator hears of a queue that grows.
const TICK: Duration = Duration::from_millis(100);

/// An operator that has not called for this long has lost its node or its way.
const STALE: Duration = Duration::from_secs(15);

/// Docker answers an order at once; the operator may have to try some times.
const ORDER: Duration = Duration::from_secs(10);

const NOT_FETCHED: &str =
    "the operator did not come for the order within 10 s, so nothing was changed";

const NOT_ANSWERED: &str = "the operator has the order, and has not said within 10 s what came of \
    it; the cluster's state will show it";

/// The operator's desk.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    state: Mutex<State>,
    /// Told when there is an order.
    ordered: Notify,
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last report, if it is recent.
    fn seen(&self) -> Result<Seen, ApiError> {
        let unavailable = |message| ApiError::new(ErrorCode::Unavailable, message).retry_after(5);
        let seen = self.state().seen.clone().ok_or_else(|| {
            unavailable(
                "no operator is attached to this gateway, so nothing is known of the cluster"
                    .to_owned(),
            )
        })?;
        let age = seen.at.elapsed();
        if age > STALE {
            let age = age.as_secs();
            let message = format!("the operator has not reported for {age} s; look at its log");
            return Err(unavailable(message));
        }
        Ok(seen)
    }

    fn service(&self, name: &str) -> Result<Service, ApiError> {
        let services = &self.seen()?.report.services;
        let found = services.iter().find(|service| service.name == name);
        found.cloned().ok_or_else(|| {
            let name: String = name.chars().take(80).collect();
            let known: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
            let known = known.join(", ");
            ApiError::not_found(format!("there is no service {name:?}; the stack has: {known}"))
        })
    }
}

/// A place among the orders; dropping it takes the order back if nobody has it yet.
struct Placed<'a> {
    desk: &'a Desk,
    id: OrderId,
}

impl Placed<'_> {
    /// Whether nobody had it, so that it will never be done.
    fn take_back(&self) -> bool {
        self.desk.state().withdraw(self.id)
    }
}

impl Drop for Placed<'_> {
    fn drop(&mut self) {
        self.take_back();
    }
}

impl Gateway {
    /// Notes a report, and waits until there is something to tell the operator.
    pub(crate) async fn report_cluster(&self, report: ClusterReport) -> ClusterAnswer {
        self.desk.state().note(report, Instant::now());
        let before = queued(&self.demand());
        let held = timeout(HOLD, async {
            loop {
                if self.desk.state().has_orders() || queued(&self.demand()) > before {
                    return;
                }
                tokio::select! {
                    () = self.desk.ordered.notified() => {}
                    () = tokio::time::sleep(TICK) => {}
                    () = self.stop.cancelled() => return,
                }
            }
        });
        // Whether there is anything to tell or not, the operator hears what the demand is.
        let _ = held.await;
        ClusterAnswer { orders: self.desk.state().hand_out(), demand: self.demand() }
    }

    /// The cluster as the operator last saw it.
    ///
    /// # Errors
    /// `unavailable` when there is no operator, or it is silent.
    pub(crate) fn cluster(&self) -> Result<Cluster, ApiError> {
        let Seen { report, at } = self.desk.seen()?;
        let ClusterReport { at: asked_at, nodes, services, problems, results: _ } =
            Arc::unwrap_or_clone(report);
        Ok(Cluster {
            at: asked_at,
            age_ms: u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX),
            nodes,
            services,
            problems,
            demand: self.demand(),
        })
    }

    /// Has the operator do something with a service.
    ///
    /// # Errors
    /// When there is no operator or no such service, when it must not be done, or when the operator
    /// says why it cannot.
    pub(crate) async fn change_service(
        &self,
        name: &str,
        action: Action,
    ) -> Result<ServiceChange, ApiError> {
        let service = self.desk.service(name)?;
        if let Action::Scale { replicas } = action {
            check_scale(&service, replicas)?;
        }
        let order = Order { id: OrderId::random(), service: service.name, action };
        let (id, name) = (order.id, order.service.clone());
        let (done, result) = oneshot::channel();
        self.desk.state().place(order, done);
        let placed = Placed { desk: &self.desk, id };
        self.desk.ordered.notify_one();
        let result = match timeout(ORDER, result).await {
            Ok(Ok(result)) => Some(result),
            Ok(Err(_)) | Err(_) => None,
        };
        match result {
            Some(OrderResult { done: true, message, .. }) => {
                Ok(ServiceChange { service: name, done: true, message })
            }
            Some(OrderResult { message, .. }) => Err(ApiError::new(ErrorCode::Conflict, message)),
            None if placed.take_back() => Err(ApiError::new(ErrorCode::Unavailable, NOT_FETCHED)),
            None => {
                let message = NOT_ANSWERED.to_owned();
                Ok(ServiceChange { service: name, done: false, message })
            }
        }
    }

    /// What the workers have to do.
    fn demand(&self) -> Demand {
        let core = self.core();
        let of_kind = |kind: WorkerKind| {
            let number = |activity| small(core.registry.count(kind, activity));
            let queued = match kind {
                WorkerKind::Workflow => core.scheduler.ready_up_to(MAX_REPLICAS as usize),
                WorkerKind::GitPull | WorkerKind::ClaudeExec => core.registry.waiting(kind),
            };
            KindDemand {
                kind,
                queued: small(queued).min(MAX_REPLICAS),
                idle: number(Activity::Idle),
                leased: number(Activity::Leased),
                busy: number(Activity::Busy),
            }
        };
        let workers = WorkerKind::ALL.map(of_kind).into();
        Demand { running_jobs: small(core.scheduler.running()), workers }
    }
}

/// How many wait for a worker of whichever kind.
fn queued(demand: &Demand) -> u32 {
    demand.workers.iter().map(|demand| demand.queued).sum()
}

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn check_scale(service: &Service, replicas: u32) -> Result<(), RequestError> {
    let refusal = |code, message: String| Err(RequestError::field(code, "replicas", message));
    let name = &service.name;
    if service.kind.is_none() {
        let message = format!("{name} is no worker, and its replicas are not for change");
        return refusal(ErrorCode::NotAllowed, message);
    }
    if replicas > MAX_REPLICAS {
        let message = format!("replicas is {replicas}; it must be between 0 and {MAX_REPLICAS}");
        return refusal(ErrorCode::InvalidField, message);
    }
    match service.autoscale {
        Some(bounds) if !(bounds.min..=bounds.max).contains(&replicas) => {
            let message = format!(
                "replicas is {replicas}, but ONESHIFT_AUTOSCALE of the operator keeps {name} \
                 between {} and {}",
                bounds.min, bounds.max
            );
            refusal(ErrorCode::NotAllowed, message)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_that_falls_silent_is_noticed() {
        let desk = Desk::default();
        let now = Instant::now();
        desk.state().note(ClusterReport::default(), now);
        assert!(desk.seen().is_ok());
        let at = now.checked_sub(STALE + Duration::from_secs(5)).unwrap();
        desk.state().note(ClusterReport::default(), at);
        let message = format!("{:?}", desk.seen().unwrap_err());
        assert!(message.contains("has not reported for 20 s"), "{message}");
    }
}
