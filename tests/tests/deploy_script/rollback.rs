//! Deployments that fail, and the way back.

use crate::machine::Machine;

/// Everything deployed with one log setting, and another one set.
fn changed() -> Machine {
    let (machine, _) = Machine::deployed("ONESHIFT_LOG=before\n");
    machine.settings("ONESHIFT_LOG=after\n");
    machine
}

/// How a service logs.
fn log(machine: &Machine, service: &str) -> String {
    machine.of(service, "env").split(' ').next().unwrap().to_owned()
}

#[test]
fn a_bad_image_is_named_and_everything_goes_back() {
    let (machine, _) = Machine::deployed("");
    machine.settings("ONESHIFT_IMAGE_WORKFLOW=bad\nONESHIFT_LOG=after\n");
    let run = machine.must_fail(&[], "the deployment failed and was rolled back");
    for words in ["oneshift_workflow does not run: task ", "the last words of oneshift_workflow"] {
        assert!(run.said.contains(words), "{}", run.said);
    }
    assert_ne!(machine.of("workflow", "image"), "bad");
    assert_eq!(log(&machine, "gateway"), "info");
}

#[test]
fn what_swarm_took_back_itself_is_not_taken_forward_again() {
    let (machine, _) = Machine::deployed("");
    machine.settings("ONESHIFT_IMAGE_GATEWAY=bad\n");
    machine.must_fail(&[], "the deployment failed and was rolled back");
    assert_ne!(machine.of("gateway", "image"), "bad");
}

#[test]
fn a_first_deployment_that_fails_is_left_to_be_mended() {
    let machine = Machine::new();
    machine.settings("ONESHIFT_IMAGE_WORKFLOW=bad\n");
    machine.must_fail(&[], "mend what is said above and run the script again");
    machine.settings("");
    machine.must(&[]);
}

#[test]
fn a_deployment_that_is_refused_half_way_goes_back() {
    let machine = changed();
    machine.before("stack deploy 1", "refused_at=operator refusal='a bad day'\n");
    let run = machine.must_fail(&[], "the deployment failed and was rolled back");
    assert!(run.said.contains("a bad day"), "{}", run.said);
    assert_eq!(log(&machine, "claude-exec"), "before");
    assert_eq!(log(&machine, "workflow"), "before");
}

#[test]
fn a_deployment_that_met_another_change_goes_on_and_can_still_be_rolled_back() {
    let machine = changed();
    machine.before("stack deploy 1", "refused_at=gateway\n");
    machine.before("stack deploy 2", "refused_at=workflow\n");
    machine.must(&[]);
    for service in ["claude-exec", "gateway", "workflow"] {
        assert_eq!(log(&machine, service), "after");
    }
    machine.must(&["--rollback"]);
    for service in ["claude-exec", "gateway", "workflow"] {
        assert_eq!(log(&machine, service), "before", "{service}");
    }
}

#[test]
fn a_service_that_was_scaled_meanwhile_keeps_its_replicas_and_the_deployment_goes_on() {
    let machine = changed();
    machine.before(
        "stack deploy 1",
        "sed -i 's/^replicas.*/replicas 8/' services/oneshift_workflow/spec\nrefused_at=workflow\n",
    );
    machine.must(&[]);
    assert_eq!(machine.of("workflow", "replicas"), "8");
}

#[test]
fn what_cannot_be_taken_back_is_named_with_what_to_do() {
    let (machine, _) = Machine::deployed("ONESHIFT_LOG=before\n");
    machine.settings("ONESHIFT_LOG=after\nONESHIFT_IMAGE_WORKFLOW=bad\n");
    // The operator scales while the deployment is waited for, and leaves its note.
    machine.before(
        "service logs 1",
        "cd services/oneshift_git-pull; cp spec previous; echo 'label {}' >>spec; cd ../..\n",
    );
    let run =
        machine.must_fail(&[], "the deployment failed and could not be rolled back completely");
    let words = "oneshift_git-pull is still what was deployed: it was scaled meanwhile";
    assert!(run.said.contains(words), "{}", run.said);
    assert!(run.said.contains("POST /api/cluster/services/git-pull/rollback"), "{}", run.said);
    assert_eq!(log(&machine, "gateway"), "before");
    assert_eq!(log(&machine, "git-pull"), "after");
}

#[test]
fn a_rollback_that_docker_refuses_is_not_claimed() {
    let (machine, _) = Machine::deployed("ONESHIFT_LOG=before\n");
    machine.settings("ONESHIFT_LOG=after\nONESHIFT_IMAGE_WORKFLOW=bad\n");
    machine.before("service rollback 2", "refuse 'the swarm has no leader'\n");
    let run =
        machine.must_fail(&[], "the deployment failed and could not be rolled back completely");
    assert!(
        run.said
            .contains("is not rolled back: Error response from daemon: the swarm has no leader")
    );
    assert!(run.said.contains("is still what was deployed"), "{}", run.said);
}

#[test]
fn a_rollback_by_hand_says_what_went_back() {
    let machine = changed();
    machine.must(&["--replicas", "workflow=7"]);
    let run = machine.must(&["--rollback"]);
    assert!(run.said.contains("Rolled back: oneshift_claude-exec"), "{}", run.said);
    assert_eq!(log(&machine, "workflow"), "before");
    assert_eq!(machine.of("workflow", "replicas"), "5");
}

#[test]
fn a_dry_rollback_changes_nothing() {
    let machine = changed();
    machine.must(&[]);
    let run = machine.must(&["--rollback", "--dry-run"]);
    assert!(run.said.contains("would roll back oneshift_workflow"), "{}", run.said);
    assert!(run.changed_nothing(), "{}", run.calls);
    assert_eq!(log(&machine, "workflow"), "after");
}

#[test]
fn there_may_be_nothing_to_go_back_to() {
    let machine = Machine::new();
    machine.must_fail(&["--rollback"], "there is no swarm on this machine");
    machine.must(&[]);
    machine.must_fail(&["--rollback"], "there is nothing to go back to");
    machine.must_fail(&["--rollback", "--stack", "other"], "there is no stack other here");
    machine.must(&[]);
    machine.must_fail(&["--rollback"], "there is nothing to go back to");
}

#[test]
fn a_service_that_the_operator_scaled_since_is_the_operators_to_take_back() {
    let machine = changed();
    machine.must(&[]);
    let folder = "docker/services/oneshift_git-pull";
    let spec = machine.read(&format!("{folder}/spec"));
    machine.write(&format!("{folder}/previous"), &spec);
    machine.write(&format!("{folder}/spec"), &format!("{spec}label {{}}\n"));
    let run = machine.must_fail(&["--rollback"], "the rollback is not complete");
    assert!(run.said.contains("POST /api/cluster/services/git-pull/rollback"), "{}", run.said);
    assert_eq!(log(&machine, "gateway"), "before");
}

#[test]
fn a_service_that_does_not_come_up_in_time_is_named() {
    let machine = changed();
    machine.write("docker/slow", "oneshift_gateway");
    let run = machine.must_fail(&["--wait", "0"], "what was there before does not run either");
    let words = "after 0 s, oneshift_gateway runs 0 of its 1 replicas";
    assert!(run.said.contains(words), "{}", run.said);
    assert!(run.said.contains("oneshift_gateway does not run: task "), "{}", run.said);
}
