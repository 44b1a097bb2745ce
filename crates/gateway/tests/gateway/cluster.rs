//! The cluster as a scripted operator reports it, and what that is asked to do.

use serde_json::{Value, json};
use service::client::ClientError;
use service::protocol::cluster::{
    Action, Autoscale, ClusterAnswer, ClusterReport, Demand, KindDemand, Node, Order, OrderResult,
    Problem, Restarts, Service, Task,
};
use service::protocol::worker::LeaseRequest;
use service::protocol::{ErrorCode, WorkerKind};

use crate::support::{Gateway, Setup, job};
use crate::worker::Worker;

const TOKENS: &str = r#"[
    { "name": "reader", "token": "reader-reader-reader", "scopes": ["read"] },
    { "name": "sender", "token": "sender-sender-sender", "scopes": ["submit"] },
    { "name": "ops", "token": "ops-ops-ops-ops-ops", "scopes": ["admin"] }
]"#;

fn service(name: &str, kind: Option<WorkerKind>) -> Service {
    Service {
        name: name.to_owned(),
        kind,
        image: "oneshift:1".to_owned(),
        replicas: Some(3),
        running: 2,
        draining: 0,
        tasks: Vec::new(),
        restarts: Restarts { after_job: 127, after_crash: 1 },
        update: None,
        autoscale: None,
    }
}

fn report() -> ClusterReport {
    let autoscaled = Service {
        autoscale: Some(Autoscale { min: 2, max: 8 }),
        ..service("workflow", Some(WorkerKind::Workflow))
    };
    ClusterReport {
        at: Some("2026-01-01T00:00:00Z".parse().unwrap()),
        nodes: vec![Node {
            id: "n1".to_owned(),
            hostname: "box-1".to_owned(),
            role: "leader".to_owned(),
            availability: "active".to_owned(),
            state: "ready".to_owned(),
            cpus: 2.0,
            memory_bytes: 1 << 30,
            engine_version: "20.10.24".to_owned(),
            address: None,
        }],
        services: vec![
            service("gateway", None),
            autoscaled,
            service("git-pull", Some(WorkerKind::GitPull)),
        ],
        problems: vec![Problem {
            service: Some("git-pull".to_owned()),
            node: None,
            since: "2026-01-01T00:00:00Z".parse().unwrap(),
            message: "2 of 3 replicas run".to_owned(),
        }],
        results: Vec::new(),
    }
}

/// One call of the operator, with the results of what it was told before.
async fn call(gateway: &Gateway, results: Vec<OrderResult>) -> ClusterAnswer {
    gateway.inside().report_cluster(&ClusterReport { results, ..report() }).await.unwrap()
}

/// Calls until there are orders.
async fn orders(gateway: &Gateway) -> Vec<Order> {
    loop {
        let orders = call(gateway, Vec::new()).await.orders;
        if !orders.is_empty() {
            return orders;
        }
    }
}

fn done(order: &Order) -> OrderResult {
    OrderResult { id: order.id, done: true, message: format!("{} is done", order.service) }
}

async fn post(gateway: &Gateway, path: &str, body: Value) -> (u16, Value) {
    let url = gateway.url(&format!("/api/cluster/services/{path}"));
    let answer = gateway.http().post(url).body(body.to_string()).send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

/// What a caller hears of a change that the operator does not get to see.
async fn refusal(gateway: &Gateway, path: &str, body: Value) -> (u16, String, String) {
    let (status, body) = post(gateway, path, body).await;
    let text = |name: &str| body["error"][name].as_str().unwrap().to_owned();
    (status, text("code"), text("message"))
}

#[tokio::test]
async fn what_the_operator_saw_is_shown_with_its_age_and_what_the_workers_do() {
    let gateway = Gateway::start().await;
    let _worker = Worker::workflow(&gateway).await;
    gateway.workers("workflow", "idle", 1).await;
    call(&gateway, Vec::new()).await;
    let cluster = gateway.endpoint().cluster().await.unwrap();
    let ClusterReport { at, nodes, services, problems, .. } = report();
    assert_eq!((cluster.at, cluster.nodes), (at, nodes));
    assert_eq!((cluster.services, cluster.problems), (services, problems));
    assert!(cluster.age_ms < 15_000, "{} ms", cluster.age_ms);
    let idle = KindDemand { kind: WorkerKind::Workflow, queued: 0, idle: 1, leased: 0, busy: 0 };
    assert_eq!(cluster.demand.of(WorkerKind::Workflow), idle);
}

#[tokio::test]
async fn without_an_operator_there_is_a_clear_answer() {
    let gateway = Gateway::start().await;
    let nobody = gateway.endpoint().cluster().await.unwrap_err();
    assert_eq!(nobody.code(), Some(ErrorCode::Unavailable));
    assert!(nobody.to_string().starts_with("no operator is attached"), "{nobody}");
    let (status, code, message) = refusal(&gateway, "git-pull/scale", json!({"replicas": 1})).await;
    assert_eq!((status, code.as_str()), (503, "unavailable"));
    assert!(message.starts_with("no operator is attached"), "{message}");
}

#[tokio::test]
async fn an_order_reaches_the_operator_and_its_result_the_caller() {
    let gateway = Gateway::start().await;
    call(&gateway, Vec::new()).await;
    let cases = [
        ("git-pull/scale", json!({ "replicas": 7 }), Action::Scale { replicas: 7 }),
        ("git-pull/scale", json!({ "replicas": 0 }), Action::Scale { replicas: 0 }),
        ("gateway/update", json!({}), Action::Update),
        ("workflow/rollback", json!({}), Action::Rollback),
    ];
    for (path, body, action) in cases {
        let operator = async {
            let orders = orders(&gateway).await;
            assert_eq!(orders.len(), 1);
            assert_eq!(orders[0].action, action);
            call(&gateway, vec![done(&orders[0])]).await;
        };
        let (answer, ()) = tokio::join!(post(&gateway, path, body), operator);
        let service = path.split('/').next().unwrap();
        let message = format!("{service} is done");
        let expected = json!({ "service": service, "done": true, "message": message });
        assert_eq!(answer, (200, expected));
    }
}

#[tokio::test]
async fn what_the_operator_cannot_do_is_told_in_its_words() {
    let gateway = Gateway::start().await;
    call(&gateway, Vec::new()).await;
    let operator = async {
        let order = orders(&gateway).await.remove(0);
        let message = "git-pull has no version before this one".to_owned();
        call(&gateway, vec![OrderResult { id: order.id, done: false, message }]).await;
    };
    let (answer, ()) = tokio::join!(refusal(&gateway, "git-pull/rollback", json!({})), operator);
    let message = "git-pull has no version before this one".to_owned();
    assert_eq!(answer, (409, "conflict".to_owned(), message));
}

#[tokio::test]
async fn an_order_that_nobody_fetches_is_never_done() {
    let gateway = Gateway::start().await;
    call(&gateway, Vec::new()).await;
    let (status, code, message) = refusal(&gateway, "git-pull/scale", json!({"replicas": 1})).await;
    assert_eq!((status, code.as_str()), (503, "unavailable"));
    assert!(message.ends_with("so nothing was changed"), "{message}");
    assert_eq!(call(&gateway, Vec::new()).await.orders, []);
}

#[tokio::test]
async fn an_operator_that_does_not_say_what_came_of_it_is_told_as_such() {
    let gateway = Gateway::start().await;
    call(&gateway, Vec::new()).await;
    let (answer, orders) =
        tokio::join!(post(&gateway, "git-pull/scale", json!({"replicas": 4})), orders(&gateway));
    assert_eq!((answer.0, &answer.1["done"]), (202, &json!(false)));
    assert!(answer.1["message"].as_str().unwrap().starts_with("the operator has the order"));
    // A result that comes too late harms nobody.
    call(&gateway, vec![done(&orders[0])]).await;
}

#[tokio::test]
async fn wrong_changes_are_refused_before_the_operator_hears_of_them() {
    let gateway = Gateway::start().await;
    call(&gateway, Vec::new()).await;
    let four = || json!({ "replicas": 4 });
    let cases = [
        ("nothing/scale", four(), 404, "the stack has: gateway, workflow, git-pull"),
        ("nothing/update", json!({}), 404, "there is no service \"nothing\""),
        ("gateway/scale", four(), 422, "gateway is no worker"),
        ("git-pull/scale", json!({ "replicas": 1001 }), 422, "between 0 and 1000"),
        ("git-pull/scale", json!({ "replicas": -1 }), 422, "replicas: invalid value"),
        ("git-pull/scale", json!({ "replicas": "many" }), 422, "replicas: invalid type"),
        ("git-pull/scale", json!({ "replica": 1 }), 422, "replica is not a field"),
        ("git-pull/scale", json!({}), 422, "replicas is missing"),
        ("git-pull/scale", json!([4]), 400, "it is a list"),
        ("workflow/scale", json!({ "replicas": 1 }), 422, "between 2 and 8"),
        ("workflow/scale", json!({ "replicas": 9 }), 422, "between 2 and 8"),
        ("%ff/scale", four(), 400, "not UTF-8"),
    ];
    for (path, body, expected, words) in cases {
        let (status, _, message) = refusal(&gateway, path, body.clone()).await;
        assert_eq!(status, expected, "{path} {body}: {message}");
        assert!(message.contains(words), "{path} {body}: {message}");
    }
    assert_eq!(call(&gateway, Vec::new()).await.orders, []);
}

#[tokio::test]
async fn looking_needs_the_scope_read_and_changing_needs_admin() {
    let gateway = Gateway::with(Setup { tokens: Some(TOKENS), ..Setup::default() }).await;
    call(&gateway, Vec::new()).await;
    let code = |error: ClientError| error.code();
    let [reader, sender] =
        ["reader-reader-reader", "sender-sender-sender"].map(|token| gateway.as_caller(token));
    assert!(reader.cluster().await.is_ok());
    assert_eq!(sender.cluster().await.map_err(code), Err(Some(ErrorCode::Forbidden)));
    for caller in [&reader, &sender] {
        let scaled = caller.scale("git-pull", 4).await;
        assert_eq!(scaled.map_err(code), Err(Some(ErrorCode::Forbidden)));
    }
    let stranger = gateway.endpoint().report_cluster(&report()).await;
    assert_eq!(stranger.map_err(code), Err(Some(ErrorCode::Unauthorized)));
    let caller = gateway.as_caller("ops-ops-ops-ops-ops").report_cluster(&report()).await;
    assert_eq!(caller.map_err(code), Err(Some(ErrorCode::Unauthorized)));
}

#[tokio::test]
async fn the_operator_hears_at_once_of_jobs_that_wait_for_a_worker() {
    let gateway = Gateway::start().await;
    assert_eq!(call(&gateway, Vec::new()).await.demand.running_jobs, 0);
    let operator = async {
        loop {
            let demand = call(&gateway, Vec::new()).await.demand;
            if demand.of(WorkerKind::Workflow).queued == 2 {
                return demand;
            }
        }
    };
    let submit = async {
        let same = json!({ "concurrency": { "key": "k" } });
        let alike = crate::support::job_with("hello", same);
        let streams = [
            gateway.submit(job("hello")).await,
            gateway.submit(alike.clone()).await,
            // It waits for the other one, not for a worker.
            gateway.submit(alike).await,
        ];
        streams.map(|stream| stream.job())
    };
    let (demand, _) = tokio::join!(operator, submit);
    assert_eq!(demand.running_jobs, 0);
    let _worker = Worker::workflow(&gateway).await;
    let more: Demand = loop {
        let demand = call(&gateway, Vec::new()).await.demand;
        if demand.of(WorkerKind::Workflow).queued < 2 {
            break demand;
        }
    };
    assert_eq!(more.of(WorkerKind::GitPull).queued, 0);
}

#[tokio::test]
async fn steps_that_wait_for_a_worker_count_for_its_kind() {
    let gateway = Gateway::start().await;
    let _worker = Worker::workflow(&gateway).await;
    let mut stream = gateway.submit(job("hold")).await;
    crate::support::read_until(&mut stream, "started").await;
    let wish = LeaseRequest { kind: WorkerKind::GitPull, job: stream.job(), workspace: None };
    let inside = gateway.inside();
    let lease = tokio::spawn(async move { inside.lease(&wish).await });
    loop {
        let demand = call(&gateway, Vec::new()).await.demand;
        if demand.of(WorkerKind::GitPull).queued == 1 {
            assert_eq!((demand.running_jobs, demand.of(WorkerKind::Workflow).busy), (1, 1));
            break;
        }
    }
    lease.abort();
}

#[tokio::test]
async fn the_report_of_a_large_cluster_fits() {
    let gateway = Gateway::start().await;
    let task = |slot| Task {
        id: "x".repeat(25),
        slot: Some(slot),
        node: Some("a-host-name-of-usual-length.example.org".to_owned()),
        state: "complete".to_owned(),
        desired_state: "shutdown".to_owned(),
        since: Some("2026-01-01T00:00:00.123456789Z".parse().unwrap()),
        exit_code: Some(137),
        error: Some("task: non-zero exit (137): OOMKilled".to_owned()),
    };
    // 50 replicas, each with its 5 predecessors.
    let tasks: Vec<Task> = (0..300).map(task).collect();
    let kinds = ["gateway", "operator", "workflow", "git-pull", "claude-exec"];
    let services = kinds.map(|name| Service { tasks: tasks.clone(), ..service(name, None) });
    let large = ClusterReport { services: services.into(), ..report() };
    gateway.inside().report_cluster(&large).await.unwrap();
    assert_eq!(gateway.endpoint().cluster().await.unwrap().services, large.services);
}

#[tokio::test]
async fn fields_of_a_newer_operator_are_ignored_and_garbage_is_refused() {
    let gateway = Gateway::start().await;
    let report = |body: String| {
        let request = gateway.http().post(gateway.url("/internal/cluster"));
        request.bearer_auth(crate::support::CLUSTER_TOKEN).body(body).send()
    };
    let newer = json!({ "nodes": [], "services": [], "problems": [], "weather": "fair" });
    assert_eq!(report(newer.to_string()).await.unwrap().status(), 200);
    assert_eq!(report("{".to_owned()).await.unwrap().status(), 400);
    assert_eq!(report("{}".to_owned()).await.unwrap().status(), 400);
    let huge = format!("{{\"nodes\":[],\"x\":\"{}\"}}", "x".repeat(2 << 20));
    assert_eq!(report(huge).await.unwrap().status(), 413);
}
