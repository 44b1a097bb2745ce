//! The stack as Docker shows it at one moment, in our own words: the only place that reads bollard's
//! types. What a service has in its environment is never copied.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use bollard::models;
use bollard::query_parameters::{
    ListNodesOptions, ListServicesOptionsBuilder, ListTasksOptionsBuilder,
};
use jiff::Timestamp;
use service::protocol::WorkerKind;
use service::protocol::cluster::{Node, Restarts, Service, Task, Update};

use crate::docker::{Docker, DockerError};
use crate::text::one_line;

/// The label that `docker stack deploy` puts on services.
pub(crate) const STACK_LABEL: &str = "com.docker.stack.namespace";

/// The label that says which kind of workers a service runs.
const KIND_LABEL: &str = "oneshift.kind";

/// The state of a task whose process runs.
pub(crate) const RUNNING: &str = "running";

/// All nodes, and the stack's services with all their tasks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Snapshot {
    pub(crate) nodes: Vec<Node>,
    pub(crate) services: Vec<Service>,
    /// Docker's ids of the services, by their names in the stack.
    pub(crate) ids: HashMap<String, String>,
}

impl Snapshot {
    /// Looks at the stack.
    pub(crate) async fn take(docker: &Docker, stack: &str) -> Result<Self, DockerError> {
        let filters = HashMap::from([("label", vec![format!("{STACK_LABEL}={stack}")])]);
        let services = ListServicesOptionsBuilder::default().filters(&filters).build();
        let tasks = ListTasksOptionsBuilder::default().filters(&filters).build();
        let services =
            docker.ask(async |docker| docker.list_services(Some(services)).await).await?;
        let tasks = docker.ask(async |docker| docker.list_tasks(Some(tasks)).await).await?;
        let nodes =
            docker.ask(async |docker| docker.list_nodes(None::<ListNodesOptions>).await).await?;
        Ok(Self::of(stack, nodes, services, tasks))
    }

    fn of(
        stack: &str,
        nodes: Vec<models::Node>,
        services: Vec<models::Service>,
        tasks: Vec<models::Task>,
    ) -> Self {
        let nodes: Vec<Node> = nodes.into_iter().map(node).collect();
        let hostnames: HashMap<&str, &str> =
            nodes.iter().map(|node| (node.id.as_str(), node.hostname.as_str())).collect();
        let mut tasks_of: HashMap<String, Vec<Task>> = HashMap::new();
        for mut task in tasks {
            let service = task.service_id.take().unwrap_or_default();
            tasks_of.entry(service).or_default().push(convert_task(task, &hostnames));
        }
        let up = nodes.iter().filter(|node| node.state == "ready");
        let up: HashSet<&str> = up.map(|node| node.hostname.as_str()).collect();
        let (mut converted, mut ids) = (Vec::new(), HashMap::new());
        for service in services {
            let id = service.id.clone().unwrap_or_default();
            let tasks = tasks_of.remove(&id).unwrap_or_default();
            let service = convert_service(stack, service, tasks, &up);
            ids.insert(service.name.clone(), id);
            converted.push(service);
        }
        converted.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
        Self { nodes, services: converted, ids }
    }

    /// Docker's id of a service, by its name in the stack.
    pub(crate) fn id(&self, service: &str) -> Option<&str> {
        self.ids.get(service).map(String::as_str)
    }

    /// The service that runs the workers of a kind.
    pub(crate) fn of_kind(&self, kind: WorkerKind) -> Option<&Service> {
        self.services.iter().find(|service| service.kind == Some(kind))
    }
}

/// Whether a task is one of those that the service is to have now.
pub(crate) fn is_wanted(task: &Task) -> bool {
    // One that waits for its start is `ready` at first.
    matches!(task.desired_state.as_str(), RUNNING | "ready")
}

fn node(node: models::Node) -> Node {
    let (spec, status) = (node.spec.unwrap_or_default(), node.status.unwrap_or_default());
    let described = node.description.unwrap_or_default();
    let resources = described.resources.unwrap_or_default();
    let is_leader =
        node.manager_status.as_ref().is_some_and(|manager| manager.leader == Some(true));
    let role = match node.manager_status {
        Some(_) if is_leader => "leader",
        Some(_) => "manager",
        None => "worker",
    };
    let cpus = resources.nano_cpus.unwrap_or_default();
    let engine_version = described.engine.and_then(|engine| engine.engine_version);
    Node {
        id: node.id.unwrap_or_default(),
        hostname: one_line(&described.hostname.unwrap_or_default()),
        role: role.to_owned(),
        availability: spec.availability.map(|it| it.to_string()).unwrap_or_default(),
        state: status.state.map(|it| it.to_string()).unwrap_or_default(),
        #[allow(clippy::cast_precision_loss, reason = "no machine has so many CPUs")]
        cpus: cpus as f64 / 1e9,
        memory_bytes: unsigned(resources.memory_bytes),
        engine_version: one_line(&engine_version.unwrap_or_default()),
        address: status.addr,
    }
}

/// `up` has the names of the nodes whose word on their tasks is fresh.
fn convert_service(
    stack: &str,
    service: models::Service,
    mut tasks: Vec<Task>,
    up: &HashSet<&str>,
) -> Service {
    let spec = service.spec.unwrap_or_default();
    let full_name = spec.name.unwrap_or_default();
    let name = full_name.strip_prefix(&format!("{stack}_")).unwrap_or(&full_name);
    let label = spec.labels.unwrap_or_default().remove(KIND_LABEL).unwrap_or_default();
    let container = spec.task_template.and_then(|template| template.container_spec);
    let replicated = spec.mode.and_then(|mode| mode.replicated);
    let replicas = replicated.map(|mode| u32::try_from(mode.replicas.unwrap_or(1)).unwrap_or(0));
    let is_up = |task: &Task| task.node.as_deref().is_some_and(|node| up.contains(node));
    let runs = |task: &&Task| task.state == RUNNING && is_up(task);
    let running = tasks.iter().filter(runs).filter(|task| is_wanted(task)).count();
    let draining = tasks.iter().filter(runs).filter(|task| !is_wanted(task)).count();
    tasks.sort_by_key(|task| (task.slot, !is_wanted(task), Reverse(task.since)));
    Service {
        name: name.to_owned(),
        kind: WorkerKind::ALL.into_iter().find(|kind| kind.name() == label),
        image: container.and_then(|container| container.image).unwrap_or_default(),
        replicas,
        running: u32::try_from(running).unwrap_or(u32::MAX),
        draining: u32::try_from(draining).unwrap_or(u32::MAX),
        tasks,
        restarts: Restarts::default(),
        update: service.update_status.and_then(update),
        autoscale: None,
    }
}

fn update(status: models::ServiceUpdateStatus) -> Option<Update> {
    let state = status.state?.to_string();
    (!state.is_empty()).then(|| Update {
        state,
        message: one_line(&status.message.unwrap_or_default()),
        started_at: status.started_at.and_then(timestamp),
    })
}

fn convert_task(task: models::Task, hostnames: &HashMap<&str, &str>) -> Task {
    let status = task.status.unwrap_or_default();
    let node = task.node_id.filter(|id| !id.is_empty());
    let node =
        node.map(|id| hostnames.get(id.as_str()).map_or(id.clone(), |&name| name.to_owned()));
    let state = status.state.map(|it| it.to_string()).unwrap_or_default();
    let has_ended = matches!(state.as_str(), "complete" | "shutdown" | "failed");
    let container = status.container_status.filter(|_| has_ended);
    Task {
        id: task.id.unwrap_or_default(),
        slot: task.slot.and_then(|slot| u32::try_from(slot).ok()).filter(|slot| *slot > 0),
        node,
        state,
        desired_state: task.desired_state.map(|it| it.to_string()).unwrap_or_default(),
        since: status.timestamp.and_then(timestamp),
        exit_code: container.and_then(|container| container.exit_code),
        error: status.err.filter(|error| !error.is_empty()).map(|error| one_line(&error)),
    }
}

fn timestamp(text: String) -> Option<Timestamp> {
    text.parse().ok()
}

fn unsigned(number: Option<i64>) -> u64 {
    number.and_then(|number| u64::try_from(number).ok()).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use serde::de::DeserializeOwned;

    use super::*;

    /// What an engine 20.10 answered, in one of the files of `recordings`.
    pub(crate) fn recorded<T: DeserializeOwned>(name: &str) -> T {
        let path = format!("{}/recordings/{name}.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    pub(crate) fn snapshot() -> Snapshot {
        Snapshot::of("optest", recorded("nodes"), recorded("services"), recorded("tasks"))
    }

    fn service<'a>(snapshot: &'a Snapshot, name: &str) -> &'a Service {
        snapshot.services.iter().find(|service| service.name == name).unwrap()
    }

    #[test]
    fn a_node_is_shown_as_docker_does() {
        let expected = Node {
            id: "ddzzofi6q0a32cq6s3xp37nf2".to_owned(),
            hostname: "vm".to_owned(),
            role: "leader".to_owned(),
            availability: "active".to_owned(),
            state: "ready".to_owned(),
            cpus: 2.0,
            memory_bytes: 25_276_514_304,
            engine_version: "20.10.24+dfsg1".to_owned(),
            address: Some("127.0.0.1".to_owned()),
        };
        assert_eq!(snapshot().nodes, [expected]);
    }

    #[test]
    fn services_have_their_names_in_the_stack_their_kinds_and_replicas() {
        let snapshot = snapshot();
        let summary: Vec<_> = snapshot
            .services
            .iter()
            .map(|it| (it.name.as_str(), it.kind, it.replicas, it.running, it.draining))
            .collect();
        let expected = [
            ("agent", None, None, 1, 0),
            ("back", None, Some(2), 2, 0),
            ("bad", None, Some(2), 1, 0),
            ("front", None, Some(1), 1, 0),
            ("huge", None, Some(1), 0, 0),
            ("noimage", None, Some(2), 0, 0),
            ("polite", None, Some(1), 1, 1),
            ("crash", Some(WorkerKind::Workflow), Some(1), 1, 0),
            ("flash", Some(WorkerKind::GitPull), Some(3), 0, 0),
        ];
        assert_eq!(summary, expected);
        assert_eq!(snapshot.id("flash"), Some("pyc2bryhkoe4kdoksd2ts0bp2"));
        assert_eq!(snapshot.of_kind(WorkerKind::GitPull).unwrap().name, "flash");
    }

    #[test]
    fn nothing_runs_on_a_node_that_is_down() {
        let mut nodes: Vec<models::Node> = recorded("nodes");
        nodes[0].status.as_mut().unwrap().state = Some(models::NodeState::DOWN);
        let snapshot = Snapshot::of("optest", nodes, recorded("services"), recorded("tasks"));
        let polite = service(&snapshot, "polite");
        assert_eq!((polite.running, polite.draining), (0, 0));
    }

    #[test]
    fn tasks_say_how_they_ended() {
        let snapshot = snapshot();
        let ended = |name: &str, state: &str| {
            let tasks = &service(&snapshot, name).tasks;
            let task = tasks.iter().find(|task| task.state == state).unwrap();
            (task.slot, task.node.as_deref(), task.exit_code, task.error.as_deref())
        };
        let vm = Some("vm");
        assert_eq!(ended("flash", "complete").2, Some(0));
        let died = (Some(1), vm, Some(3), Some("task: non-zero exit (3)"));
        assert_eq!(ended("crash", "failed"), died);
        assert_eq!(ended("crash", "running"), (Some(1), vm, None, None));
        assert_eq!(ended("noimage", "rejected").3, Some("No such image: oneshift-nope:1"));
        let waits = Some("no suitable node (insufficient resources on 1 node)");
        assert_eq!(ended("huge", "pending"), (Some(1), None, None, waits));
        assert_eq!(ended("agent", "running").0, None);
    }

    #[test]
    fn the_latest_task_of_each_replica_comes_first() {
        let snapshot = snapshot();
        let crash = &service(&snapshot, "crash").tasks;
        assert!(is_wanted(&crash[0]));
        assert!(crash[1..].iter().all(|task| !is_wanted(task)));
        assert!(crash[1..].is_sorted_by(|a, b| a.since >= b.since));
    }

    #[test]
    fn updates_are_told_in_dockers_words() {
        let snapshot = snapshot();
        let paused = service(&snapshot, "bad").update.as_ref().unwrap();
        assert_eq!(paused.state, "paused");
        assert!(paused.message.starts_with("update paused due to failure"), "{paused:?}");
        assert_eq!(service(&snapshot, "back").update.as_ref().unwrap().state, "rollback_started");
        assert_eq!(service(&snapshot, "front").update, None);
    }

    #[test]
    fn nothing_of_a_services_environment_is_copied() {
        let recorded = recorded::<serde_json::Value>("services").to_string();
        assert!(recorded.contains("hunter2"));
        assert!(!format!("{:?}", snapshot()).contains("hunter2"));
    }
}
