//! Machines without a swarm, and their addresses.

use end_to_end::tool;

use crate::machine::Machine;

#[test]
fn a_fresh_machine_gets_a_swarm_and_everything() {
    let machine = Machine::new();
    let run = machine.must(&[]);
    assert!(run.called("swarm init --advertise-addr 10.0.0.5"), "{}", run.calls);
    assert!(run.said.contains("Everything runs. Try it:"), "{}", run.said);
    assert_eq!(machine.of("workflow", "replicas"), "5");
}

#[test]
fn a_dry_run_on_a_fresh_machine_goes_through_and_changes_nothing() {
    let machine = Machine::new();
    machine.settings("CLUSTER_TOKEN=x\n");
    let run = machine.must(&["--dry-run"]);
    for words in [
        "would run: docker swarm init --advertise-addr 10.0.0.5",
        "would create the secret oneshift_tokens_",
        "would run: docker stack deploy",
    ] {
        assert!(run.said.contains(words), "{words} is not in {}", run.said);
    }
    assert!(run.changed_nothing(), "{}", run.calls);
    assert_eq!(run.printed, "");
    assert!(!machine.path_of("docker/nodes").exists());
}

#[test]
fn a_dry_run_of_an_update_changes_nothing() {
    let (machine, _) = Machine::deployed("CLUSTER_TOKEN=old\n");
    machine.settings("CLUSTER_TOKEN=new\nANTHROPIC_API_KEY=sk-1\n");
    let run = machine.must(&["--dry-run"]);
    assert!(
        run.said.contains("would create the secret oneshift_anthropic_api_key_"),
        "{}",
        run.said
    );
    assert!(run.said.contains("in three rounds"), "{}", run.said);
    assert!(run.changed_nothing(), "{}", run.calls);
}

#[test]
fn an_address_that_is_not_clear_has_to_be_said() {
    let machine = Machine::new();
    machine.write("docker/addresses", "10.0.0.5\n192.168.1.7\n");
    let run = machine.must_fail(&[], "several addresses (10.0.0.5 192.168.1.7)");
    assert!(run.said.contains("--advertise-addr"), "{}", run.said);
    assert!(run.changed_nothing(), "{}", run.calls);
    let run = machine.must(&["--advertise-addr", "192.168.1.7"]);
    assert!(run.called("swarm init --advertise-addr 192.168.1.7"), "{}", run.calls);
}

#[test]
fn at_a_terminal_the_address_is_asked_for() {
    if tool("script").is_none() {
        return;
    }
    let machine = Machine::new();
    machine.write("docker/addresses", "10.0.0.5\n192.168.1.7\n");
    let run = machine.run_typing("", "10.9.9.9");
    assert_ne!(run.code, 0, "{}", run.said);
    assert!(run.said.contains("10.9.9.9 is none of this machine's addresses"), "{}", run.said);
    let run = machine.run_typing("", "192.168.1.7");
    assert_eq!(run.code, 0, "{}", run.said);
    assert!(run.called("swarm init --advertise-addr 192.168.1.7"), "{}", run.calls);
    assert!(run.said.contains("At which one do the other nodes reach it?"), "{}", run.said);
}

#[test]
fn a_machine_whose_addresses_are_not_known_is_not_taken_for_a_loner() {
    let mut machine = Machine::new();
    machine.without("ip");
    let run =
        machine.must_fail(&[], "without ip (iproute2) this machine's addresses are not known");
    assert!(run.changed_nothing(), "{}", run.calls);
    machine.must(&["--advertise-addr", "127.0.0.1"]);
}

#[test]
fn a_machine_without_an_address_is_told_that_it_stays_alone() {
    let machine = Machine::new();
    machine.write("docker/addresses", "");
    let run = machine.must(&[]);
    assert!(run.said.contains("other nodes will not be able to join"), "{}", run.said);
    assert!(run.called("swarm init --advertise-addr 127.0.0.1"), "{}", run.calls);
}

#[test]
fn an_engine_that_is_too_old_or_missing_is_named() {
    let mut machine = Machine::new();
    machine.export("FAKE_API_VERSION", "1.40");
    machine.must_fail(
        &[],
        "the Docker engine speaks API 1.40; 1.41 (Docker 20.10) or newer is needed",
    );
    machine.without("docker");
    machine.must_fail(&[], "docker is not installed");
}
