#!/usr/bin/env bash
# Deploys Oneshift on Docker Swarm, and updates it: run it again after any change. See --help.
set -euo pipefail
# shellcheck disable=SC2034 # the parts use it
caller=$PWD
cd "$(dirname "$0")"
for part in command_line settings engine room images secrets rollout rollback cluster_token removal; do
    # shellcheck source=/dev/null
    source "docker/swarm/$part.sh"
done

usage() {
    cat <<'HELP'
Usage: ./deploy-swarm.sh [options]          build or pull, deploy, wait until everything runs
       ./deploy-swarm.sh build              build the images only, and print their names
       ./deploy-swarm.sh --rollback         go back to what ran before the last deployment
       ./deploy-swarm.sh down [--purge]     remove the services; --purge: the data and secrets too

  --replicas SERVICE=N     how many of workflow, git-pull or claude-exec (repeatable)
  --registry HOST/PREFIX   push the images there, and let the nodes pull them by digest;
                           needed as soon as there are several nodes
  --tag TAG                use the images of this tag from the registry instead of building
  --overlay FILE           another compose file on top of swarm.yml, such as swarm.nfs.yml (repeatable);
                           to be given at each deployment
  --advertise-addr ADDR    this machine's address for the other nodes, for a new swarm
  --stack NAME             the stack's name (oneshift)
  --env FILE               where the settings are (.env beside the script)
  --wait SECONDS           how long everything may take to run (300)
  --dry-run                say what would be done, change nothing
  --yes                    do not ask

Settings are read from .env, which is not executed: one NAME=VALUE a line, as compose reads it but
without variables in values; JSON needs no quotes. Paths in it mean the file's own folder. Secrets among
them (ANTHROPIC_API_KEY, CLAUDE_CODE_OAUTH_TOKEN, GIT_CREDENTIALS or GIT_CREDENTIALS_FILE, TOKENS_FILE,
CLUSTER_TOKEN) become Docker secrets; those that are not mentioned stay as they are. Without TOKENS_FILE
and CLUSTER_TOKEN, tokens are made at the first deployment, and the caller's is printed once.
HELP
}

# shellcheck disable=SC2034 # the parts use them
{
stack=oneshift env_file=.env env_is_named=no registry='' tag='' advertise='' wait_seconds=300
command='' dry_run=no assume_yes=no purge=no
overlays=()
declare -A replicas=([workflow]='' [git-pull]='' [claude-exec]='')
services=(gateway workflow git-pull claude-exec operator docker-proxy)
secrets=(cluster_token cluster_token_also tokens git_credentials anthropic_api_key claude_code_oauth_token)
declare -A setting=() secret_name=() in_use=() version_before=()
has_swarm=yes drain_seconds=3600 port=5000 old_cluster_token='' listed_secrets=''
}

say() { printf '%s\n' "$*" >&2; }
fail() { say "deploy-swarm: $*"; exit 1; }

# Changes something, or says what it would change.
run() {
    if [[ $dry_run == yes ]]; then
        say "would run: $*"
    else
        "$@"
    fi
}

deploy() {
    check_secret_files
    check_swarm
    prepare_images
    prepare_secrets
    pin_store
    make_room
    if [[ -n $old_cluster_token ]]; then
        change_cluster_token
    elif is_change_unfinished; then
        end_change
    else
        roll_out "the deployment"
    fi
    [[ $dry_run == no ]] || return 0
    remove_old_secrets
    say_how_to_use_it
}

say_how_to_use_it() {
    say "Everything runs. Try it:"
    say "  curl -N -X POST http://localhost:$port/api/workflow -H \"Authorization: Bearer \$ONESHIFT_TOKEN\" \\"
    say "    -d '{\"prompt\":\"Add a README file\",\"repoUrl\":\"https://github.com/you/project\"}'"
}

read_arguments "$@"
read_settings
check_settings
case $command in
    deploy) deploy ;;
    build) build ;;
    rollback) roll_back ;;
    down) down ;;
esac
