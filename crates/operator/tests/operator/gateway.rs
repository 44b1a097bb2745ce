//! A gateway that hands out the orders of a test, and the operator that calls it.

use std::collections::VecDeque;
use std::fs::File;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use service::protocol::OrderId;
use service::protocol::cluster::{
    Action, ClusterAnswer, ClusterReport, Demand, Order, OrderResult, Problem, Service,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const TOKEN: &str = "the inside's own secret";

/// Longer than anything here takes: only a test that fails waits for it.
const HANG: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(crate) struct Gateway(Arc<Inner>);

struct Inner {
    orders: Mutex<VecDeque<Order>>,
    demand: Mutex<Demand>,
    /// The reports so far, and the last one as it came.
    reports: watch::Sender<(u64, String)>,
}

impl Gateway {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner {
            orders: Mutex::default(),
            demand: Mutex::default(),
            reports: watch::channel((0, String::new())).0,
        }))
    }

    /// Serves until it is aborted; returns where.
    pub(crate) async fn serve(&self, address: &str) -> (String, JoinHandle<()>) {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let app = Router::new().route("/internal/cluster", post(report)).with_state(self.clone());
        (address, tokio::spawn(async move { axum::serve(listener, app).await.unwrap() }))
    }

    pub(crate) fn demands(&self, demand: Demand) {
        *self.0.demand.lock().unwrap() = demand;
    }

    /// The next report, in which what is looked for is so.
    pub(crate) async fn until(&self, what: impl Fn(&ClusterReport) -> bool) -> ClusterReport {
        let mut reports = self.0.reports.subscribe();
        reports.mark_unchanged();
        let waiting = async {
            loop {
                reports.changed().await.unwrap();
                let report = parsed(&reports.borrow_and_update().1);
                if what(&report) {
                    return report;
                }
            }
        };
        let waited = tokio::time::timeout(HANG, waiting).await;
        waited.unwrap_or_else(|_| panic!("not so: {}", self.0.reports.borrow().1))
    }

    pub(crate) async fn next(&self) -> ClusterReport {
        self.until(|_| true).await
    }

    /// The last report as it came.
    pub(crate) fn last(&self) -> String {
        self.0.reports.borrow().1.clone()
    }

    /// Gives an order, and waits for its result.
    pub(crate) async fn order(&self, service: &str, action: Action) -> OrderResult {
        let id = OrderId::random();
        let order = Order { id, service: service.to_owned(), action };
        self.0.orders.lock().unwrap().push_back(order);
        let report = self.until(|report| report.results.iter().any(|it| it.id == id)).await;
        report.results.into_iter().find(|result| result.id == id).unwrap()
    }
}

fn parsed(body: &str) -> ClusterReport {
    serde_json::from_str(body).unwrap()
}

pub(crate) fn service<'a>(report: &'a ClusterReport, name: &str) -> &'a Service {
    report.services.iter().find(|service| service.name == name).unwrap()
}

pub(crate) fn problem<'a>(report: &'a ClusterReport, words: &str) -> Option<&'a Problem> {
    report.problems.iter().find(|problem| problem.message.contains(words))
}

async fn report(
    State(Gateway(gateway)): State<Gateway>,
    headers: HeaderMap,
    body: String,
) -> Result<axum::Json<ClusterAnswer>, StatusCode> {
    if headers["authorization"] != format!("Bearer {TOKEN}") {
        return Err(StatusCode::UNAUTHORIZED);
    }
    assert!(serde_json::from_str::<Value>(&body).is_ok());
    gateway.reports.send_modify(|(count, last)| {
        *count += 1;
        *last = body;
    });
    let orders = gateway.orders.lock().unwrap().drain(..).collect();
    let demand = gateway.demand.lock().unwrap().clone();
    Ok(axum::Json(ClusterAnswer { orders, demand }))
}

/// An operator that is killed when the test is over.
pub(crate) struct Operator {
    pub(crate) child: Child,
    pub(crate) folder: TempDir,
}

impl Operator {
    pub(crate) fn start(docker: &str, gateway: &str, extra: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = command(&folder);
        command.env("DOCKER_HOST", docker).env("ONESHIFT_GATEWAY", format!("http://{gateway}"));
        let log = File::create(folder.path().join("log")).unwrap();
        let child = command.envs(extra.iter().copied()).stderr(log).spawn().unwrap();
        Self { child, folder }
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

/// The program, in a world of its own.
pub(crate) fn command(folder: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_operator"));
    command
        .env_clear()
        .env("TMPDIR", folder.path())
        .env("ONESHIFT_CLUSTER_TOKEN", TOKEN)
        .env("ONESHIFT_STACK", "optest")
        .env("ONESHIFT_LOG", "debug");
    command
}

/// An operator between a usual Docker and a usual gateway.
pub(crate) async fn usual(
    docker: &super::docker::Docker,
    extra: &[(&str, &str)],
) -> (Gateway, Operator) {
    let gateway = Gateway::new();
    let (address, _) = gateway.serve("127.0.0.1:0").await;
    let operator = Operator::start(&docker.over_tcp().await, &address, extra);
    gateway.next().await;
    (gateway, operator)
}
