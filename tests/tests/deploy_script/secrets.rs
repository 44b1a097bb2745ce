//! Secrets, their versions, and the callers' first token.

use crate::machine::Machine;

#[test]
fn the_first_token_is_printed_once_also_when_the_deployment_fails() {
    let machine = Machine::new();
    machine.before("stack deploy 1", "refuse 'no space left on device'\n");
    let run = machine.must_fail(&[], "no space left on device");
    assert_eq!(run.printed.trim().len(), 64, "{}", run.printed);
    assert!(run.said.contains("mend what is said above and run the script again"), "{}", run.said);
    let again = machine.must(&[]);
    assert_eq!(again.printed, "");
    assert_eq!(machine.versions("tokens"), 1);
}

#[test]
fn files_of_secrets_are_in_the_folder_of_the_file_that_names_them() {
    let machine = Machine::new();
    machine.write("settings/tokens.json", "[]\n");
    machine.write("settings/git/logins", "https://me:secret@example.org\n");
    machine.write("settings/env", "TOKENS_FILE=tokens.json\nGIT_CREDENTIALS_FILE=git/logins\n");
    machine.must(&["--env", "../settings/env"]);
    assert_eq!(machine.secret("gateway", "tokens"), "[]");
    let logins = machine.secret("git-pull", "git_credentials");
    assert_eq!(logins, "https://me:secret@example.org\n");
}

#[test]
fn a_file_that_is_exported_is_in_the_callers_folder() {
    let mut machine = Machine::new();
    machine.write("caller/tokens.json", "[]\n");
    machine.export("TOKENS_FILE", "tokens.json");
    machine.must(&[]);
    assert_eq!(machine.secret("gateway", "tokens"), "[]");
}

#[test]
fn a_missing_file_is_named_before_anything_is_changed() {
    let machine = Machine::new();
    machine.write("checkout/empty", "");
    for (line, words) in [
        ("TOKENS_FILE=tokens.json", "TOKENS_FILE: the file ./tokens.json cannot be read"),
        ("TOKENS_FILE=empty", "TOKENS_FILE: the file ./empty is empty"),
        ("GIT_CREDENTIALS_FILE=/none", "GIT_CREDENTIALS_FILE: the file /none cannot be read"),
    ] {
        machine.settings(&format!("{line}\n"));
        let run = machine.must_fail(&[], words);
        assert_eq!(run.calls, "");
    }
}

#[test]
fn a_secret_that_is_not_mentioned_stays_and_an_empty_one_goes() {
    let (machine, _) = Machine::deployed("ANTHROPIC_API_KEY=sk-1\nGIT_CREDENTIALS=https://a:b@c\n");
    machine.settings("");
    machine.must(&[]);
    assert_eq!(machine.secret("claude-exec", "anthropic_api_key"), "sk-1\n");
    assert_eq!(machine.secret("git-pull", "git_credentials"), "https://a:b@c\n");
    machine.settings("ANTHROPIC_API_KEY=\nGIT_CREDENTIALS=\n");
    machine.must(&[]);
    assert_eq!(machine.secret("claude-exec", "anthropic_api_key"), "\n");
    assert_eq!(machine.secret("git-pull", "git_credentials"), "\n");
}

#[test]
fn a_secret_that_is_not_mentioned_stays_what_is_in_use() {
    let (machine, _) = Machine::deployed("ANTHROPIC_API_KEY=sk-1\n");
    machine.settings("ANTHROPIC_API_KEY=sk-2\n");
    machine.before("stack deploy 1", "refuse 'some reason'\n");
    machine.must_fail(&[], "the deployment was refused; no service is another one than before");
    machine.settings("");
    machine.must(&[]);
    assert_eq!(machine.secret("claude-exec", "anthropic_api_key"), "sk-1\n");
}

#[test]
fn a_secret_is_not_made_again_while_it_is_the_same() {
    let (machine, _) = Machine::deployed("ANTHROPIC_API_KEY=sk-1\n");
    let before = machine.spec("claude-exec");
    let run = machine.must(&[]);
    assert!(!run.called("secret create"), "{}", run.calls);
    assert_eq!(machine.spec("claude-exec"), before);
}

#[test]
fn a_rollback_finds_the_secret_of_before() {
    let (machine, _) = Machine::deployed("ANTHROPIC_API_KEY=sk-1\n");
    machine.settings("ANTHROPIC_API_KEY=sk-2\n");
    machine.must(&[]);
    assert_eq!(machine.secret("claude-exec", "anthropic_api_key"), "sk-2\n");
    machine.must(&["--rollback"]);
    assert_eq!(machine.secret("claude-exec", "anthropic_api_key"), "sk-1\n");
}

#[test]
fn what_only_older_deployments_needed_is_removed() {
    let (machine, _) = Machine::deployed("ANTHROPIC_API_KEY=sk-1\n");
    for key in ["sk-2", "sk-3", "sk-4"] {
        machine.settings(&format!("ANTHROPIC_API_KEY={key}\n"));
        machine.must(&[]);
        assert_eq!(machine.versions("anthropic_api_key"), 2, "this one and the one before");
    }
    machine.must(&[]);
    assert_eq!(machine.versions("anthropic_api_key"), 1, "nothing needs the one before any more");
}

#[test]
fn no_token_is_made_while_the_secrets_cannot_be_listed() {
    let (machine, _) = Machine::deployed("");
    machine.before("secret ls 1", "refuse 'the swarm has no leader'\n");
    let run = machine.must_fail(&[], "the swarm's secrets cannot be listed");
    assert_eq!(run.printed, "");
    assert!(run.changed_nothing(), "{}", run.calls);
}

#[test]
fn the_two_cluster_tokens_are_never_the_same_secret() {
    let (machine, _) = Machine::deployed("CLUSTER_TOKEN=one\n");
    for service in ["gateway", "workflow", "git-pull", "claude-exec"] {
        let of = |file| machine.of(service, &format!("secret {file}"));
        assert_ne!(of("cluster_token"), of("cluster_token_also"), "docker would mix them up");
    }
}
