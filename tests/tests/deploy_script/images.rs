//! What is built, pushed and named.

use crate::machine::{Machine, SERVICES};

#[test]
fn building_prints_the_names_of_the_images_and_nothing_else() {
    let machine = Machine::new();
    let run = machine.must(&["build"]);
    let names: Vec<_> = run.printed.lines().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(names, SERVICES.map(|service| format!("oneshift-{service}")));
    assert!(run.said.contains("building oneshift-build:"), "{}", run.said);
}

#[test]
fn a_dry_build_builds_nothing() {
    let machine = Machine::new();
    let run = machine.must(&["build", "--dry-run"]);
    assert!(run.changed_nothing(), "{}", run.calls);
    assert!(!run.said.contains("building "), "{}", run.said);
}

#[test]
fn one_node_runs_images_by_id() {
    let machine = Machine::new();
    machine.must(&[]);
    let image = machine.of("gateway", "image");
    assert!(image.starts_with("sha256:id-of-oneshift-gateway:"), "{image}");
}

#[test]
fn what_is_built_already_is_not_built_again() {
    let machine = Machine::new();
    machine.must(&["build"]);
    assert!(!machine.must(&[]).called("build"));
}

#[test]
fn sources_that_differ_make_images_of_another_name() {
    let machine = Machine::new();
    let before = machine.must(&["build"]).printed;
    machine.write("checkout/crates/gateway/src/main.rs", "fn main() {}\n");
    assert_ne!(machine.must(&["build"]).printed, before);
}

#[test]
fn images_are_given_by_setting() {
    let variable = |service: &str| service.to_uppercase().replace('-', "_");
    let given = SERVICES.map(|it| format!("ONESHIFT_IMAGE_{}=my-{it}@sha256:1\n", variable(it)));
    let machine = Machine::new();
    machine.settings(&given.concat());
    assert!(!machine.must(&[]).called("build"));
    assert_eq!(machine.of("claude-exec", "image"), "my-claude-exec@sha256:1");
    machine.settings(&given[0]);
    assert!(machine.must(&[]).called("build"), "the other images have to come from somewhere");
    assert_eq!(machine.of("gateway", "image"), "my-gateway@sha256:1");
}

#[test]
fn images_of_a_registry_are_named_by_its_own_digest_and_nodes_are_logged_in() {
    for (registry, repository) in [
        ("registry.example.org:5000/oneshift", "registry.example.org:5000/oneshift"),
        ("docker.io/me/", "me"),
    ] {
        let machine = Machine::new();
        let elsewhere = "echo a.example.org/oneshift-gateway@sha256:other";
        machine.before("push 1", &format!("{elsewhere} >\"$(image_file \"${{words[0]}}\")\"\n"));
        let run = machine.must(&["--registry", registry]);
        let image = machine.of("gateway", "image");
        assert_eq!(image, format!("{repository}/oneshift-gateway@sha256:digest"));
        assert!(run.calls.contains(" --with-registry-auth "), "{}", run.calls);
    }
}

#[test]
fn an_image_without_a_digest_of_the_registry_is_not_deployed() {
    let machine = Machine::new();
    machine.before("push 1", "pull() { :; }\n");
    let words = "has no digest of its registry";
    let run = machine.must_fail(&["--registry", "registry.example.org"], words);
    assert!(!run.called("stack deploy"), "{}", run.calls);
}

#[test]
fn a_tag_is_pulled_and_not_built() {
    let machine = Machine::new();
    let run = machine.must(&["--registry", "registry.example.org/oneshift", "--tag", "1.2.3"]);
    assert!(run.called("pull --quiet registry.example.org/oneshift/oneshift-gateway:1.2.3"));
    assert!(!run.called("build"), "{}", run.calls);
    let image = machine.of("gateway", "image");
    assert_eq!(image, "registry.example.org/oneshift/oneshift-gateway@sha256:digest");
}

#[test]
fn several_nodes_need_a_way_to_get_the_images_before_they_are_built() {
    let machine = Machine::new();
    machine.write("docker/nodes", "a Ready Active 9e9 9e9\nb Ready Active 9e9 9e9\n");
    let run = machine.must_fail(&[], "this swarm has several nodes, which");
    assert!(run.changed_nothing(), "{}", run.calls);
}
