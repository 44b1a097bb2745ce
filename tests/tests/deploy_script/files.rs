//! The files that Docker gets, and the commands of docs/swarm.md.

use std::fs;
use std::process::Command;

use crate::machine::{Machine, root};

#[test]
fn each_command_of_the_docs_with_the_script_is_one_that_it_knows() {
    let (machine, _) = Machine::deployed("");
    machine.write("caller/second.env", "ONESHIFT_PORT=5001\n");
    let text = fs::read_to_string(root().join("docs/swarm.md")).unwrap();
    let words = text.split(['`', '\n']).map(str::trim);
    let commands: Vec<_> = words.filter(|word| word.starts_with("./deploy-swarm.sh")).collect();
    assert!(commands.len() >= 6, "{commands:?}");
    for command in commands {
        let arguments: Vec<_> = command.split_whitespace().skip(1).collect();
        let is_rollback = arguments.contains(&"--rollback");
        let run = machine.run(&[arguments.as_slice(), &["--dry-run"]].concat());
        assert!(run.code == 0 || is_rollback, "{command}: {}", run.said);
    }
}

#[test]
fn the_source_of_an_image_has_no_secrets_and_all_that_the_build_copies() {
    let ignored = fs::read_to_string(root().join(".dockerignore")).unwrap();
    let rules: Vec<_> = ignored.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(rules[0], "*", "what is not named stays outside");
    let dockerfile = fs::read_to_string(root().join("docker/build.Dockerfile")).unwrap();
    let copies = dockerfile.lines().filter_map(|line| line.strip_prefix("COPY "));
    let mut count = 0;
    for copy in copies.filter(|copy| !copy.starts_with("--from")) {
        let mut names: Vec<_> = copy.split_whitespace().collect();
        names.pop();
        for name in names {
            assert!(rules.contains(&format!("!{name}").as_str()), "{name} is copied and ignored");
            count += 1;
        }
    }
    assert_eq!(count + 3, rules.len(), "nothing else is let in: {rules:?}");
    for kept_out in ["**/target", "**/.env*"] {
        assert!(rules.contains(&kept_out), "{kept_out}");
    }
}

#[test]
fn settings_are_not_committed() {
    let ignored = fs::read_to_string(root().join(".gitignore")).unwrap();
    assert!(ignored.lines().any(|line| line == "/.env"));
}

#[test]
fn every_image_to_build_from_has_a_full_version() {
    for name in ["build", "claude", "services"] {
        let text = fs::read_to_string(root().join(format!("docker/{name}.Dockerfile"))).unwrap();
        let defaults = text.lines().filter_map(|line| line.strip_prefix("ARG ")?.split_once('='));
        for (variable, image) in defaults.filter(|(_, value)| value.contains(':')) {
            let (_, tag) = image.rsplit_once(':').unwrap();
            let version = tag.split('-').next().unwrap();
            assert!(version.contains('.'), "{variable}={image} becomes another one with time");
        }
    }
}

#[test]
fn the_scripts_have_no_fault_that_shellcheck_finds() {
    if end_to_end::tool("shellcheck").is_none() {
        return;
    }
    let fake = "tests/tests/deploy_script/fake";
    let files = format!("shellcheck deploy-swarm.sh docker/swarm/*.sh {fake}/*");
    let output = Command::new("sh").args(["-c", &files]).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
