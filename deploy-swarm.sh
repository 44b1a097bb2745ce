#!/usr/bin/env bash
# Deploys Oneshift on Docker Swarm, and updates it: run it again after any change. See --help.
set -euo pipefail
cd "$(dirname "$0")"
for part in settings engine images secrets rollout; do
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
  --overlay FILE           another compose file on top of swarm.yml, such as swarm.nfs.yml (repeatable)
  --advertise-addr ADDR    this machine's address for the other nodes, for a new swarm
  --stack NAME             the stack's name (oneshift)
  --env FILE               where the settings are (.env)
  --wait SECONDS           how long everything may take to run (300)
  --dry-run                say what would be done, change nothing
  --yes                    do not ask

Settings are read from .env, which is not executed: one NAME=VALUE a line, quotes optional, JSON
allowed. Secrets among them (ANTHROPIC_API_KEY, CLAUDE_CODE_OAUTH_TOKEN, GIT_CREDENTIALS or
GIT_CREDENTIALS_FILE, TOKENS_FILE, CLUSTER_TOKEN) become Docker secrets; without TOKENS_FILE and
CLUSTER_TOKEN, tokens are made at the first deployment, and the caller's is printed once.
HELP
}

# shellcheck disable=SC2034 # the parts use them
{
stack=oneshift env_file=.env registry='' tag='' advertise='' wait_seconds=300
command=deploy dry_run=no assume_yes=no purge=no
overlays=()
declare -A replicas=([workflow]='' [git-pull]='' [claude-exec]='')
services=(gateway workflow git-pull claude-exec operator docker-proxy)
declare -A setting=() secret_name=()
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

# shellcheck disable=SC2034 # the parts use them
read_arguments() {
    local value
    while (($#)); do
        case $1 in
            --help | -h) usage; exit 0 ;;
            --rollback) command=rollback ;;
            --dry-run) dry_run=yes ;;
            --yes) assume_yes=yes ;;
            --purge) purge=yes ;;
            build) command=build ;;
            down) command=down ;;
            --replicas | --registry | --tag | --overlay | --advertise-addr | --stack | --env | --wait)
                (($# > 1)) || fail "$1 needs a value; see --help"
                value=$2
                case $1 in
                    --replicas) set_replicas "$value" ;;
                    --registry) registry=${value%/} ;;
                    --tag) tag=$value ;;
                    --overlay) overlays+=("$value") ;;
                    --advertise-addr) advertise=$value ;;
                    --stack) stack=$value ;;
                    --env) env_file=$value ;;
                    --wait) wait_seconds=$value ;;
                esac
                shift
                ;;
            *) fail "there is no option $1; see --help" ;;
        esac
        shift
    done
    [[ $stack =~ ^[a-z][a-z0-9-]*$ ]] || fail "the stack's name $stack may have a-z, 0-9 and - only"
    [[ $wait_seconds =~ ^[0-9]+$ ]] || fail "--wait $wait_seconds is not a number of seconds"
    [[ -z $tag || -n $registry ]] || fail "--tag needs --registry: where are the images?"
    local overlay
    for overlay in "${overlays[@]}"; do
        [[ -r $overlay ]] || fail "the overlay $overlay cannot be read"
    done
}

set_replicas() {
    local service=${1%%=*} count=${1#*=}
    [[ -v "replicas[$service]" ]] || fail "--replicas $1: use workflow=N, git-pull=N or claude-exec=N"
    [[ $count =~ ^[0-9]+$ ]] || fail "--replicas $1: $count is not a number"
    replicas[$service]=$count
}

deploy() {
    check_swarm
    prepare_images
    prepare_secrets
    pin_store
    roll_out
    [[ $dry_run == yes ]] || remove_old_secrets
    [[ $dry_run == yes ]] || say_how_to_use_it
}

say_how_to_use_it() {
    if [[ -n ${new_token:-} ]]; then
        say "The token for callers, shown this once:"
        printf '%s\n' "$new_token"
    fi
    say "Everything runs. Try it:"
    say "  curl -N -X POST http://localhost:5000/api/workflow -H \"Authorization: Bearer \$ONESHIFT_TOKEN\" \\"
    say "    -d '{\"prompt\":\"Add a README file\",\"repoUrl\":\"https://github.com/you/project\"}'"
}

down() {
    check_swarm
    if [[ $assume_yes == no ]]; then
        local answer question="Remove the services of $stack?"
        [[ $purge == no ]] || question="Remove the services of $stack, all its jobs, its workspace and its secrets?"
        read -r -p "$question [y/N] " answer || true
        [[ $answer == [yY]* ]] || fail "nothing was removed"
    fi
    run docker stack rm "$stack"
    [[ $purge == yes ]] || { say "The data is kept: volumes ${stack}_data, ${stack}_workspace, ${stack}_cache."; return; }
    while [[ $dry_run == no && -n $(docker ps --all --quiet --filter "label=com.docker.stack.namespace=$stack") ]]; do
        sleep 1
    done
    run docker volume rm "${stack}_data" "${stack}_workspace" "${stack}_cache"
    local secret
    for secret in $(docker secret ls --format '{{.Name}}' | grep "^${stack}_" || true); do
        run docker secret rm "$secret"
    done
}

read_arguments "$@"
read_settings
case $command in
    deploy) deploy ;;
    build) build ;;
    rollback) since=$(now); check_swarm; roll_back; converge "$since" || fail "the rollback failed" ;;
    down) down ;;
esac
