//! What the caller may say.

use crate::machine::Machine;

#[test]
fn what_makes_no_sense_is_refused_before_docker_is_asked() {
    let machine = Machine::new();
    for (arguments, words) in [
        (vec!["--replicas", "workflow=0"], "without any, jobs would wait for ever"),
        (vec!["--replicas", "workflow=many"], "many is not a number"),
        (vec!["--replicas", "gateway=2"], "use workflow=N, git-pull=N or claude-exec=N"),
        (vec!["--replicas", "workflow"], "use workflow=N, git-pull=N or claude-exec=N"),
        (vec!["--purge"], "--purge goes with down only"),
        (vec!["build", "--purge"], "--purge goes with down only"),
        (vec!["down", "build"], "build is one command too many"),
        (vec!["down", "--rollback"], "--rollback is one command too many"),
        (vec!["--tag", "1"], "--tag needs --registry"),
        (vec!["--wait", "long"], "--wait long is not a number of seconds"),
        (vec!["--stack", "Oneshift"], "the stack's name Oneshift must begin with a-z"),
        (vec!["--overlay", "swarm.other.yml"], "the overlay swarm.other.yml cannot be read"),
        (vec!["--env", "missing"], "missing of --env is not there"),
        (vec!["--env"], "--env needs a value"),
        (vec!["--fast"], "there is no option --fast"),
    ] {
        let run = machine.must_fail(&arguments, words);
        assert_eq!(run.calls, "", "{arguments:?}");
    }
}

#[test]
fn replicas_that_are_set_are_checked_too() {
    let machine = Machine::new();
    machine.settings("ONESHIFT_REPLICAS_WORKFLOW=0\n");
    machine.must_fail(&[], "ONESHIFT_REPLICAS_WORKFLOW: use a number from 1 to 9999");
}

#[test]
fn replicas_are_what_was_asked_for_or_what_they_were() {
    let machine = Machine::new();
    machine.settings("ONESHIFT_REPLICAS_GIT_PULL=4\n");
    machine.must(&["--replicas", "workflow=9"]);
    assert_eq!(machine.of("workflow", "replicas"), "9");
    assert_eq!(machine.of("git-pull", "replicas"), "4");
    machine.must(&[]);
    assert_eq!(machine.of("workflow", "replicas"), "9", "whoever scaled it meant it");
}

#[test]
fn files_of_the_command_line_are_in_the_callers_folder() {
    let machine = Machine::new();
    machine.write("caller/mine.env", "ONESHIFT_LOG=debug\n");
    let overlay = machine.write("caller/mine.yml", "services: {}\n");
    let run = machine.must(&["--env", "mine.env", "--overlay", "mine.yml"]);
    assert!(machine.of("gateway", "env").starts_with("debug"));
    assert!(run.calls.contains(&format!("--compose-file {}", overlay.display())), "{}", run.calls);
}

#[test]
fn overlays_beside_the_script_are_found_from_anywhere() {
    let machine = Machine::new();
    let run = machine.must(&["--overlay", "swarm.host-ports.yml"]);
    let overlay = machine.path_of("checkout/swarm.host-ports.yml");
    assert!(run.calls.contains(&format!("--compose-file {}", overlay.display())), "{}", run.calls);
}

#[test]
fn a_second_stack_has_a_port_of_its_own() {
    let machine = Machine::new();
    machine.settings("ONESHIFT_PORT=5001\n");
    let run = machine.must(&["--stack", "second"]);
    assert!(run.said.contains("http://localhost:5001/api/workflow"), "{}", run.said);
    assert!(machine.path_of("docker/services/second_gateway").is_dir());
    machine.settings("ONESHIFT_PORT=70000\n");
    machine.must_fail(&[], "ONESHIFT_PORT 70000 is not a port");
}
