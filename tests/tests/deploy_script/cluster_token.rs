//! A change of the token of the cluster's inside.

use crate::machine::Machine;

/// The token that each deployment of the last run showed, and the one that it accepted as well.
fn rounds(machine: &Machine) -> Vec<(String, String)> {
    let log = machine.read("docker/rounds");
    let round = |line: &str| {
        let (shown, accepted) = line.split_once(' ').unwrap();
        (shown.to_owned(), accepted.to_owned())
    };
    log.lines().map(round).collect()
}

/// Notes the tokens of the next run's deployments, and lets something happen in one of them.
fn note_rounds(machine: &Machine, number: usize, shell: &str) {
    let _ = std::fs::remove_file(machine.path_of("docker/rounds"));
    let shown = "$(<secrets/$ONESHIFT_SECRET_CLUSTER_TOKEN)";
    let accepted = "$(<secrets/$ONESHIFT_SECRET_CLUSTER_TOKEN_ALSO)";
    for round in 1..=4 {
        let then = if round == number { shell } else { "" };
        let note = format!("echo \"{shown} {accepted}\" >>rounds\n{then}\n");
        machine.before(&format!("stack deploy {round}"), &note);
    }
}

fn round(shown: &str, accepted: &str) -> (String, String) {
    (shown.to_owned(), accepted.to_owned())
}

#[test]
fn a_change_goes_in_three_rounds_and_a_rollback_does_not_bring_the_old_token_back() {
    let (machine, _) = Machine::deployed("CLUSTER_TOKEN=old\n");
    machine.settings("CLUSTER_TOKEN=new\n");
    note_rounds(&machine, 0, "");
    machine.must(&[]);
    let rounds = rounds(&machine);
    assert_eq!(rounds[..2], [round("old", "new"), round("new", "old")]);
    assert_eq!(rounds[2].0, "new");
    assert_eq!(rounds[2].1.len(), 64, "nobody's: {rounds:?}");
    assert_eq!(rounds[2], rounds[3], "so that Docker forgets the old token");
    machine.must_fail(&["--rollback"], "there is nothing to go back to");
}

#[test]
fn the_old_token_is_removed() {
    let (machine, _) = Machine::deployed("CLUSTER_TOKEN=old\n");
    machine.settings("CLUSTER_TOKEN=new\n");
    machine.must(&[]);
    assert_eq!(machine.versions("cluster_token"), 1);
    assert_eq!(machine.secret("gateway", "cluster_token"), "new");
}

#[test]
fn a_change_that_failed_half_way_is_done_again_from_its_beginning() {
    let (machine, _) = Machine::deployed("CLUSTER_TOKEN=old\n");
    machine.settings("CLUSTER_TOKEN=new\n");
    note_rounds(&machine, 2, "refused_at=operator refusal='no such thing'");
    let words = "round 2 of the change of the cluster's token failed and was rolled back";
    machine.must_fail(&[], words);
    assert_eq!(machine.secret("gateway", "cluster_token"), "old");
    note_rounds(&machine, 3, "refuse 'that is enough'");
    machine.must_fail(&[], "round 3 of the change of the cluster's token was refused");
    assert_eq!(rounds(&machine)[..2], [round("old", "new"), round("new", "old")]);
    machine.must(&[]);
    assert_eq!(machine.secret("gateway", "cluster_token"), "new");
    assert_eq!(machine.versions("cluster_token"), 1, "no way back accepts the old one");
}

#[test]
fn workers_with_the_old_token_are_waited_for() {
    let (machine, _) = Machine::deployed("CLUSTER_TOKEN=old\n");
    machine.settings("CLUSTER_TOKEN=new\n");
    machine.write("docker/old", "3");
    let run = machine.must(&[]);
    let words = "s, for workers that still have the token of before: oneshift_workflow.1";
    assert!(run.said.contains(words), "{}", run.said);
    assert_eq!(machine.read("docker/old").trim(), "0");
}

#[test]
fn workers_of_a_node_that_is_down_are_not_waited_for_for_ever() {
    let (machine, _) = Machine::deployed("CLUSTER_TOKEN=old\nONESHIFT_DRAIN_SECONDS=0\n");
    machine.settings("CLUSTER_TOKEN=new\nONESHIFT_DRAIN_SECONDS=0\n");
    machine.write("docker/old", "1000000");
    let run = machine.must(&[]);
    assert!(run.said.contains("waiting, at most 120 s"), "{}", run.said);
    assert!(run.said.contains("going on without them"), "{}", run.said);
    assert_eq!(machine.secret("gateway", "cluster_token"), "new");
}
