//! Docker or the gateway is away for a while.

use service::protocol::cluster::Action;

use crate::docker::Docker;
use crate::gateway::{Gateway, Operator, problem, service};

#[tokio::test]
async fn without_docker_the_operator_says_so_and_finds_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let host = format!("unix://{}", socket.display());
    let (docker, gateway) = (Docker::new(), Gateway::new());
    let (address, _) = gateway.serve("127.0.0.1:0").await;
    let _operator = Operator::start(&host, &address, &[]);
    let report = gateway.next().await;
    let words = format!("Docker cannot be reached at {host}: No such file or directory");
    assert!(problem(&report, &words).is_some(), "{report:?}");
    assert_eq!((report.at, report.services.len()), (None, 0));
    let result = gateway.order("flash", Action::Update).await;
    assert!(!result.done, "{result:?}");

    let serving = docker.over_socket(&socket);
    let report = gateway.until(|report| problem(report, "Docker").is_none()).await;
    let seen_at = report.at.unwrap();
    assert_eq!(service(&report, "flash").replicas, Some(3));

    serving.abort();
    assert!(serving.await.unwrap_err().is_cancelled());
    let report = gateway.until(|report| problem(report, "Docker").is_some()).await;
    assert!(report.at.unwrap() >= seen_at, "what was seen last is still told, with its time");
    assert_eq!(service(&report, "flash").replicas, Some(3));
    let since = problem(&report, "Docker").unwrap().since;
    let later = gateway.next().await;
    assert_eq!(problem(&later, "Docker").unwrap().since, since);

    std::fs::remove_file(&socket).unwrap();
    let _serving = docker.over_socket(&socket);
    gateway.until(|report| problem(report, "Docker").is_none()).await;
}

#[tokio::test]
async fn a_gateway_that_was_away_hears_what_came_of_an_order_before() {
    let (docker, gateway) = (Docker::new(), Gateway::new());
    let (address, serving) = gateway.serve("127.0.0.1:0").await;
    let mut operator = Operator::start(&docker.over_tcp().await, &address, &[]);
    gateway.next().await;
    serving.abort();
    assert!(serving.await.unwrap_err().is_cancelled());
    // Connections that were open go on; what follows needs a new one.
    drop(gateway);
    let gateway = Gateway::new();
    let (_, _serving) = gateway.serve(&address).await;
    let result = gateway.order("flash", Action::Scale { replicas: 4 }).await;
    assert!(result.done, "{result:?}");
    assert!(operator.child.try_wait().unwrap().is_none(), "it never exits for that");
}
