//! How `.env` is read.

use crate::machine::{Machine, root};

/// A value as it stands in `.env`, and as it is meant.
const VALUES: [(&str, &str); 13] = [
    ("plain  ", "plain"),
    ("  two words", "two words"),
    ("a#b", "a#b"),
    ("a # comment", "a"),
    (" # comment", ""),
    ("#first", "#first"),
    ("'single # quoted \\\" $HOME' # comment", "single # quoted \\\" $HOME"),
    (r#""double # \"quoted\" \\ $HOME"  # comment"#, r#"double # "quoted" \ $HOME"#),
    (r#""ends with \\""#, r"ends with \"),
    (r#"["sh", "-c", "x # y"]"#, r#"["sh", "-c", "x # y"]"#),
    (r#"{"a": "b # c"}"#, r#"{"a": "b # c"}"#),
    ("windows\r", "windows"),
    ("$(touch x) `id`", "$(touch x) `id`"),
];

#[test]
fn values_are_what_compose_takes_them_for() {
    let machine = Machine::new();
    let (mut settings, mut overlay, mut expected) = (String::new(), String::new(), Vec::new());
    for (number, (value, meant)) in VALUES.iter().enumerate() {
        settings.push_str(&format!("VALUE_{number}={value}\n"));
        overlay.push_str(&format!("x-{number}: ${{VALUE_{number}}}\n"));
        expected.push(format!("VALUE_{number}={meant}"));
    }
    machine.settings(&settings);
    machine.write("caller/values.yml", &overlay);
    machine.before("stack deploy 1", "env >environment\n");
    machine.must(&["--overlay", "values.yml"]);
    let environment = machine.read("docker/environment");
    for line in expected {
        assert!(environment.lines().any(|it| it == line), "{line} is not in {environment}");
    }
}

#[test]
fn lines_that_cannot_be_understood_are_named() {
    let machine = Machine::new();
    for (line, words) in [
        ("ANTHROPIC_API_KEY", "line 2: is not NAME=VALUE"),
        ("ANTHROPIC_API_KEY=\"a\" b", "line 2: there is text after the closing quote"),
        ("ANTHROPIC_API_KEY='it's'", "line 2: there is text after the closing quote"),
        ("ANTHROPIC_API_KEY=\"{\"a\":1}\"", "line 2: there is text after the closing quote"),
        ("ANTHROPIC_API_KEY=\"a", "line 2: the closing quote is missing"),
        ("ANTHROPIC_API_KEY='a", "line 2: the closing quote is missing"),
    ] {
        machine.settings(&format!("# settings\n{line}\n"));
        let run = machine.must_fail(&[], words);
        assert_eq!(run.calls, "", "{line}");
    }
}

#[test]
fn settings_that_nothing_reads_are_named_and_others_are_not() {
    let machine = Machine::new();
    machine.settings(
        "ONESHIFT_DRIAN_SECONDS=1\nONESHIFT_LOG=info\nONESHIFT_NFS_SERVER=nas\n\
         ONESHIFT_AGENT_ENV=9\nONESHIFT_STACK=other\nEDITOR=vi\nCLUSTER_TOKEN=x\n\
         ANTHROPIC_API_KEY_FILE=/key\nONESHIFT_BUILD_NETWORK=host\nONESHIFT_REPLICAS_WORKFLOW=5\n",
    );
    let run = machine.must(&["--dry-run"]);
    for words in [
        "line 1: nothing reads ONESHIFT_DRIAN_SECONDS",
        "line 3: ONESHIFT_NFS_SERVER does nothing without --overlay swarm.nfs.yml",
        "line 4: ONESHIFT_AGENT_ENV does nothing here: swarm.yml passes it on to no service",
        "line 5: ONESHIFT_STACK does nothing here; use --stack",
        "line 8: nothing reads ANTHROPIC_API_KEY_FILE",
    ] {
        assert!(run.said.contains(words), "{words} is not in {}", run.said);
    }
    for line in [2, 6, 7, 9, 10] {
        assert!(!run.said.contains(&format!("line {line}:")), "{}", run.said);
    }
    let run = machine.must(&["--dry-run", "--overlay", "swarm.nfs.yml"]);
    assert!(!run.said.contains("line 3:"), "{}", run.said);
}

#[test]
fn the_script_knows_the_names_of_what_it_reads() {
    let folder = root().join("docker/swarm");
    let mut text = String::new();
    for file in std::fs::read_dir(folder).unwrap() {
        text.push_str(&std::fs::read_to_string(file.unwrap().path()).unwrap());
    }
    let (_, known) = text.split_once("known_settings=(").unwrap();
    let known: Vec<_> = known.split(')').next().unwrap().split_whitespace().collect();
    let swarm = std::fs::read_to_string(root().join("swarm.yml")).unwrap();
    for reader in ["value_of ", "path_of ", "is_mentioned "] {
        for found in text.split(reader).skip(1) {
            let end = found.find(|c: char| !c.is_ascii_uppercase() && c != '_').unwrap();
            let name = &found[..end];
            let is_known = known.contains(&name) || swarm.contains(&format!("${{{name}"));
            assert!(
                name.is_empty() || is_known,
                "{name} is read, and a setting of it is warned of"
            );
        }
    }
}

#[test]
fn what_the_caller_exported_wins() {
    let mut machine = Machine::new();
    machine.settings("ONESHIFT_LOG=debug\n");
    machine.export("ONESHIFT_LOG", "trace");
    machine.must(&[]);
    assert!(machine.of("gateway", "env").starts_with("trace"));
}

#[test]
fn only_what_the_compose_files_name_reaches_docker() {
    let machine = Machine::new();
    machine
        .settings("FAKE_API_VERSION=1.24\nDOCKER_HOST=tcp://elsewhere:2375\nrefused_at=gateway\n");
    machine.before("stack deploy 1", "env >environment\n");
    machine.must(&[]);
    let environment = machine.read("docker/environment");
    for name in ["FAKE_API_VERSION=", "DOCKER_HOST=", "refused_at="] {
        assert!(!environment.contains(name), "{environment}");
    }
}

#[test]
fn workers_get_a_minute_more_than_they_may_drain() {
    let machine = Machine::new();
    for (settings, grace) in [
        ("", "3660s"),
        ("ONESHIFT_DRAIN_SECONDS=90\n", "150s"),
        ("ONESHIFT_DRAIN_SECONDS=90\nONESHIFT_STOP_GRACE=5m\n", "5m"),
    ] {
        machine.settings(settings);
        machine.must(&[]);
        assert_eq!(machine.of("workflow", "env"), format!("info {grace}"));
    }
    machine.settings("ONESHIFT_DRAIN_SECONDS=1h\n");
    machine.must_fail(&[], "ONESHIFT_DRAIN_SECONDS 1h is not a number of seconds");
}
