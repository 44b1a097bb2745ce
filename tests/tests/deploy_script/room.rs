//! Whether an update fits on the nodes.

use crate::machine::Machine;

const GIB: u64 = 1 << 30;

/// A machine whose swarm has such nodes: CPUs, GiB, and how they are.
fn with_nodes(nodes: &[(u64, u64, &str)]) -> Machine {
    let machine = Machine::new();
    let line = |(number, (cpus, memory, state)): (usize, &(u64, u64, &str))| {
        format!("node{} {state} {cpus}000000000 {}\n", number + 1, memory * GIB)
    };
    let text: String = nodes.iter().enumerate().map(line).collect();
    machine.write("docker/nodes", &text);
    machine
}

/// Whether a deployment would add the overlay, and what it says.
fn plan(machine: &Machine, arguments: &[&str]) -> (bool, String) {
    machine.settings("ONESHIFT_IMAGES_ARE_EVERYWHERE=1\n");
    let said = machine.must(&[&["--dry-run"], arguments].concat()).said;
    let is_added = said.contains("swarm.small.yml is added");
    assert_eq!(is_added, said.contains("--compose-file swarm.small.yml"), "{said}");
    (is_added, said)
}

#[test]
fn what_is_reserved_must_fit_twice() {
    // 5 × 0.25 + 3 × 0.25 + 3 × 0.5 + 0.35 CPUs, and 3,760 MiB.
    for (cpus, memory, is_small) in [(8, 8, false), (7, 8, true), (8, 7, true), (2, 24, true)] {
        let machine = with_nodes(&[(cpus, memory, "Ready Active")]);
        let (is_added, said) = plan(&machine, &[]);
        assert_eq!(is_added, is_small, "{cpus} CPUs, {memory} GiB: {said}");
        let words = format!("the nodes have {cpus} CPUs and {} MiB", memory * 1024);
        assert!(!is_small || said.contains(&words), "{said}");
        assert!(!is_small || said.contains("an update needs 8 and 7520 MiB"), "{said}");
    }
}

#[test]
fn nodes_count_together_if_they_take_tasks() {
    let two = [(4, 8, "Ready Active"), (4, 8, "Ready Active")];
    assert!(!plan(&with_nodes(&two), &[]).0);
    for state in ["Ready Drain", "Ready Pause", "Down Active"] {
        let nodes = [(4, 8, "Ready Active"), (4, 8, state)];
        assert!(plan(&with_nodes(&nodes), &[]).0, "{state}");
    }
}

#[test]
fn more_replicas_need_more_room() {
    let machine = with_nodes(&[(8, 64, "Ready Active")]);
    assert!(!plan(&machine, &[]).0);
    assert!(plan(&machine, &["--replicas", "workflow=6"]).0);
    machine.must(&["--replicas", "workflow=6"]);
    assert!(plan(&machine, &[]).0, "there are six now");
}

#[test]
fn an_overlay_that_is_there_is_not_added_again() {
    let machine = with_nodes(&[(2, 2, "Ready Active")]);
    let run = machine.must(&["--overlay", "swarm.small.yml"]);
    assert!(!run.said.contains("is added"), "{}", run.said);
    assert_eq!(run.calls.matches("swarm.small.yml").count(), 1, "{}", run.calls);
}

#[test]
fn other_overlays_come_after_it() {
    let machine = with_nodes(&[(2, 2, "Ready Active")]);
    let run = machine.must(&["--overlay", "swarm.host-ports.yml"]);
    let (small, ports) =
        (run.calls.find("swarm.small.yml"), run.calls.find("swarm.host-ports.yml"));
    assert!(small.is_some() && small < ports, "{}", run.calls);
}
