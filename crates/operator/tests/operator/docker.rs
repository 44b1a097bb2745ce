//! A Docker that shows what was recorded of a real one, and keeps what it is sent.

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::extract::{Path as Segment, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;

/// What Docker shows, and what it was asked.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) services: Vec<Value>,
    pub(crate) tasks: Value,
    pub(crate) nodes: Value,
    /// The queries and bodies of the updates that were taken.
    pub(crate) updates: Vec<(Update, Value)>,
    /// How many updates are refused because somebody else was quicker.
    pub(crate) out_of_sequence: usize,
    filters: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Update {
    version: u64,
    #[serde(default)]
    pub(crate) rollback: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Docker(Arc<Mutex<Shown>>);

type Shared = State<Docker>;

fn recorded(name: &str) -> Value {
    let path = format!("{}/recordings/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

impl Docker {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Shown {
            services: serde_json::from_value(recorded("services")).unwrap(),
            tasks: recorded("tasks"),
            nodes: recorded("nodes"),
            updates: Vec::new(),
            out_of_sequence: 0,
            filters: Vec::new(),
        })))
    }

    /// Serves on a port of this machine, as a proxy does.
    pub(crate) async fn over_tcp(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = self.router();
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        format!("tcp://{address}")
    }

    /// Serves on a socket until it is aborted.
    pub(crate) fn over_socket(&self, path: &Path) -> JoinHandle<()> {
        let listener = UnixListener::bind(path).unwrap();
        let app = self.router();
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() })
    }

    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Shown) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    /// Changes one of the services.
    pub(crate) fn with_service<T>(&self, name: &str, change: impl FnOnce(&mut Value) -> T) -> T {
        self.with(|shown| {
            let mut services = shown.services.iter_mut();
            let name = format!("optest_{name}");
            change(services.find(|service| service["Spec"]["Name"] == name).unwrap())
        })
    }

    /// One of a service's tasks ends.
    pub(crate) fn end_task(&self, service: &str, id: &str, state: &str, error: &str) {
        let service = self.with_service(service, |service| service["ID"].clone());
        let status = json!({ "State": state, "Err": error });
        let task = json!({ "ID": id, "ServiceID": service, "Slot": 1, "DesiredState": "shutdown",
            "Status": status });
        self.with(|shown| shown.tasks.as_array_mut().unwrap().push(task));
    }

    pub(crate) fn replicas(&self, name: &str) -> u64 {
        let mode = |service: &mut Value| service["Spec"]["Mode"]["Replicated"]["Replicas"].as_u64();
        self.with_service(name, mode).unwrap()
    }

    fn router(&self) -> Router {
        let list = |pick: fn(&Shown) -> Value| {
            get(move |State(docker): Shared, Query(query): Query<Filters>| async move {
                docker.with(|shown| {
                    shown.filters.extend(query.filters);
                    Json(pick(shown))
                })
            })
        };
        Router::new()
            .route("/services", list(|shown| json!(shown.services)))
            .route("/tasks", list(|shown| shown.tasks.clone()))
            .route("/nodes", list(|shown| shown.nodes.clone()))
            .route("/services/{id}", get(inspect))
            .route("/services/{id}/update", post(update))
            .with_state(self.clone())
    }

    /// The filters that it was asked with.
    pub(crate) fn filters(&self) -> Vec<String> {
        self.with(|shown| shown.filters.clone())
    }
}

#[derive(Deserialize)]
struct Filters {
    filters: Option<String>,
}

fn refusal(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "message": message }))).into_response()
}

async fn inspect(State(docker): Shared, Segment(id): Segment<String>) -> Response {
    docker.with(|shown| match shown.services.iter().find(|service| service["ID"] == id) {
        Some(service) => Json(service.clone()).into_response(),
        None => refusal(StatusCode::NOT_FOUND, &format!("service {id} not found")),
    })
}

async fn update(
    State(docker): Shared,
    Segment(id): Segment<String>,
    Query(update): Query<Update>,
    Json(spec): Json<Value>,
) -> Response {
    docker.with(|shown| {
        let mut services = shown.services.iter_mut();
        let service = services.find(|service| service["ID"] == id).unwrap();
        let version = service["Version"]["Index"].as_u64().unwrap();
        if shown.out_of_sequence > 0 || update.version != version {
            shown.out_of_sequence = shown.out_of_sequence.saturating_sub(1);
            let words = "rpc error: code = Unknown desc = update out of sequence";
            return refusal(StatusCode::INTERNAL_SERVER_ERROR, words);
        }
        let before = service["Spec"].clone();
        service["Spec"] = match update.rollback.as_str() {
            "" => spec.clone(),
            _ => service["PreviousSpec"].clone(),
        };
        service["PreviousSpec"] = before;
        service["Version"]["Index"] = json!(version + 1);
        shown.updates.push((update, spec));
        Json(json!({ "Warnings": null })).into_response()
    })
}
