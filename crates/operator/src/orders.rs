//! Carries out what is to be done with a service, and says what came of it.

use serde_json::Value;
use service::protocol::cluster::{Action, Order, OrderResult};

use crate::docker::{Docker, DockerError};
use crate::snapshot::Snapshot;
use crate::spec::{Rollback, Spec};

/// Docker itself changes a service while its update goes on; the next attempt sees that.
const ATTEMPTS: u32 = 5;

/// A change, ready to be sent.
struct Change {
    spec: Value,
    /// What Docker wants to hear besides the specification.
    query: &'static str,
    /// What will be said of it.
    message: String,
}

/// Why something was not done, as a sentence for people.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Docker(#[from] DockerError),
    #[error("{0}")]
    Impossible(String),
}

/// Does what an order says.
pub(crate) async fn carry_out(
    docker: &Docker,
    stack: &str,
    snapshot: &Snapshot,
    order: Order,
) -> OrderResult {
    let done = change(docker, stack, snapshot, &order.service, order.action).await;
    let (done, message) = match done {
        Ok(message) => (true, message),
        Err(failure) => (false, failure.to_string()),
    };
    tracing::info!(service = order.service, action = ?order.action, done, message, "an order");
    OrderResult { id: order.id, done, message }
}

/// Does something with a service of the stack, and says what.
pub(crate) async fn change(
    docker: &Docker,
    stack: &str,
    snapshot: &Snapshot,
    name: &str,
    action: Action,
) -> Result<String, Failure> {
    let gone = || Failure::Impossible(format!("there is no service {name} in the stack {stack}"));
    let id = snapshot.id(name).ok_or_else(gone)?;
    let mut attempt = 1;
    loop {
        let service = Spec::new(docker.get(&format!("/services/{id}")).await?);
        if !service.is_of(stack) {
            return Err(gone());
        }
        let Change { spec, query, message } =
            prepared(name, &service, action).map_err(Failure::Impossible)?;
        let path = format!("/services/{id}/update?version={}{query}", service.version());
        match docker.post(&path, &spec).await {
            Ok(_) => return Ok(message),
            Err(DockerError::Refused(message))
                if message.contains("update out of sequence") && attempt < ATTEMPTS =>
            {
                attempt += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn prepared(name: &str, service: &Spec, action: Action) -> Result<Change, String> {
    let ours = |spec, message| Ok(Change { spec, query: "", message });
    match action {
        Action::Scale { replicas } => {
            let before = service.replicas().ok_or_else(|| format!("{name} has no replicas"))?;
            check_no_update(name, service)?;
            let message = format!("{name} is scaled from {before} to {replicas}");
            ours(service.scaled(replicas), message)
        }
        Action::Update => {
            ours(service.forced(), format!("all replicas of {name} are being replaced"))
        }
        Action::Rollback => match service.rolled_back() {
            None => Err(format!("nothing is known of a version of {name} before this one")),
            Some(Rollback::ByLabel(spec)) => {
                let message = format!("{name} goes back to {}", Spec::image(&spec));
                ours(spec, message)
            }
            Some(Rollback::ByDocker(spec)) => {
                let message = format!("{name} goes back to {}", Spec::image(service.previous()));
                Ok(Change { spec, query: "&rollback=previous", message })
            }
        },
    }
}

/// A change of replicas would start a paused update again, and make Docker forget what to roll a
/// running one back to.
fn check_no_update(name: &str, service: &Spec) -> Result<(), String> {
    match service.update_state() {
        state if !is_under_way(state) => Ok(()),
        "updating" | "rollback_started" => {
            Err(format!("{name} is being updated; scale it when that has ended"))
        }
        _ => Err(format!("the update of {name} is paused; update it again or roll it back first")),
    }
}

/// Whether an update in this state has not ended.
pub(crate) fn is_under_way(state: &str) -> bool {
    matches!(state, "updating" | "paused" | "rollback_started" | "rollback_paused")
}
