//! The end of a stack.

use crate::machine::Machine;

#[test]
fn data_and_secrets_are_kept() {
    let (machine, _) = Machine::deployed("");
    machine.must(&["down", "--yes"]);
    assert!(machine.path_of("docker/volumes/oneshift_data").exists());
    assert_eq!(machine.versions("tokens"), 1);
    assert_eq!(machine.spec("gateway"), "");
    assert_eq!(machine.must(&[]).printed, "", "the token of before still counts");
}

#[test]
fn a_purge_takes_volumes_and_secrets_of_this_stack_alone() {
    let (machine, _) = Machine::deployed("");
    machine.must(&["--stack", "oneshift-two"]);
    machine.write("docker/secrets/oneshift_mine", "x");
    machine.write("docker/secrets/oneshift_mine.labels", "made=by hand\n");
    machine.remove("docker/volumes/oneshift_workspace");
    let run = machine.must(&["down", "--purge", "--yes"]);
    for gone in ["volumes/oneshift_data", "volumes/oneshift_cache"] {
        assert!(!machine.path_of(&format!("docker/{gone}")).exists(), "{gone}: {}", run.said);
    }
    for name in ["tokens", "cluster_token", "cluster_token_also", "git_credentials"] {
        assert_eq!(machine.versions(name), 0, "{name}");
    }
    assert!(machine.path_of("docker/secrets/oneshift_mine").exists());
    assert!(machine.path_of("docker/volumes/oneshift-two_data").exists());
    machine.must(&["--stack", "oneshift-two"]);
}

#[test]
fn a_purge_goes_on_after_a_volume_in_use_and_says_so() {
    let (machine, _) = Machine::deployed("");
    machine.write("docker/volumes/oneshift_data.in-use", "");
    machine.must_fail(&["down", "--purge", "--yes"], "could not be removed: oneshift_data");
    assert!(!machine.path_of("docker/volumes/oneshift_cache").exists());
    assert_eq!(machine.versions("tokens"), 0);
}

#[test]
fn containers_are_waited_for_before_their_volumes_go() {
    let (machine, _) = Machine::deployed("");
    machine.write("docker/containers", "abc\n");
    machine.before("ps 2", "echo abc >containers\n");
    let run = machine.must(&["down", "--purge", "--yes"]);
    assert!(
        run.said.contains("waiting until the containers of oneshift have ended"),
        "{}",
        run.said
    );
    assert_eq!(run.calls.matches("docker ps").count(), 3, "{}", run.calls);
}

#[test]
fn volumes_of_other_nodes_are_theirs_to_remove() {
    let (machine, _) = Machine::deployed("");
    machine.write("docker/nodes", "node1 Ready Active 9 9\nnode2 Ready Active 9 9\n");
    let run = machine.must(&["down", "--purge", "--yes"]);
    let words = "On each of them: docker volume rm oneshift_data oneshift_workspace oneshift_cache";
    assert!(run.said.contains(words), "{}", run.said);
}

#[test]
fn nobody_is_asked_where_nobody_answers() {
    let (machine, _) = Machine::deployed("");
    let run = machine
        .must_fail(&["down"], "nothing was removed: nobody answers here; --yes does without");
    assert!(run.changed_nothing(), "{}", run.calls);
    let run = machine.must(&["down", "--purge", "--dry-run"]);
    assert!(run.said.contains("would run: docker stack rm oneshift"), "{}", run.said);
    assert!(run.said.contains("would run: docker volume rm oneshift_data"), "{}", run.said);
    assert!(run.changed_nothing(), "{}", run.calls);
}

#[test]
fn without_a_yes_nothing_is_removed() {
    if end_to_end::tool("script").is_none() {
        return;
    }
    let (machine, _) = Machine::deployed("");
    let run = machine.run_typing("down", "no");
    assert!(run.code != 0 && run.changed_nothing(), "{}", run.calls);
    let run = machine.run_typing("down --purge", "yes");
    assert_eq!(run.code, 0, "{}", run.said);
    assert_eq!(machine.versions("tokens"), 0);
}
