# shellcheck shell=bash disable=SC2154,SC2034,SC2004 # deploy-swarm.sh declares the variables
# Part of deploy-swarm.sh: a deployment, until all of it runs or has been taken back.

stack_services() {
    [[ $has_swarm == no ]] \
        || docker service ls --filter "label=com.docker.stack.namespace=$stack" --format '{{.Name}}' | sort
}

is_deployed() { [[ -n $(stack_services) ]]; }

# One round: deploy, wait, and go back if the new does not run. Says what it was if it fails.
roll_out() {
    local what=$1 since
    since=$(now)
    note_versions
    if deploy_stack; then
        converge forward "$since" && return
    elif ((${#version_before[@]})) && [[ -z $(what_is_not_back) ]]; then
        fail "$what was refused; no service is another one than before"
    fi
    ((${#version_before[@]})) || fail "$what failed; mend what is said above and run the script again"
    take_back "$what"
}

deploy_stack() {
    local overlay arguments=(--resolve-image=never --prune --compose-file swarm.yml)
    for overlay in "${overlays[@]}"; do
        arguments+=(--compose-file "$overlay")
    done
    # Nodes that have to pull need to be logged in there as this machine is. There is nothing else to
    # ask a registry for: images are named by id or digest.
    [[ -z $registry ]] || arguments+=(--with-registry-auth)
    export_settings
    export ONESHIFT_STACK=$stack
    update_stack "${arguments[@]}" "$stack"
}

# A service that changes in the same moment, as when the operator scales it, refuses the update. Those
# that were updated before it go back first: a second update would be what Docker goes back from.
update_stack() {
    local words
    export_replicas
    [[ $dry_run == no ]] || { run docker stack deploy "$@"; return; }
    for _ in 1 2 3 4 5; do
        if words=$(docker stack deploy "$@" 2>&1); then
            say "$words"
            return
        fi
        [[ $words == *"update out of sequence"* ]] || break
        undo
        sleep 1
        export_replicas
    done
    say "$words"
    return 1
}

export_replicas() {
    local service name asked
    for service in "${!replicas[@]}"; do
        name=$(replicas_variable "$service")
        asked=$(asked_replicas "$service")
        [[ -z $asked ]] || export "$name=$asked"
    done
}

# How a service is: `ready`, or `failed` with a task, or what it still lacks. One that has done a job
# since and is being replaced has come up as well: under load there may be no moment at which all run.
service_state() {
    local service=$1 aim=$2 since=$3 wanted update started
    read -r wanted update started < <(docker service inspect --format \
        '{{.Spec.Mode.Replicated.Replicas}} {{with .UpdateStatus}}{{.State}} {{if .StartedAt}}{{.StartedAt.UTC.Format "2006-01-02T15:04:05.000000000"}}{{end}}{{end}}' \
        "$service")
    # What became of an update before this one does not matter any more.
    if [[ $started > $since ]]; then
        since=$started
        case $aim-$update in
            *-updating | back-rollback_started) echo "has not replaced all its replicas yet"; return ;;
            back-rollback_completed) ;;
            *-paused | *-rollback_*) wanted=failed ;;
        esac
    fi
    # Swarm may forget a task between the two questions.
    # shellcheck disable=SC2046 # one word for each task
    { docker inspect --type task --format \
        '{{.ID}} {{.Slot}} {{.CreatedAt.UTC.Format "2006-01-02T15:04:05.000000000"}} {{.DesiredState}} {{.Status.State}}' \
        $(docker service ps --no-trunc --quiet "$service") 2>/dev/null || true; } \
        | awk -v wanted="$wanted" -v since="$since" '
            $4 == "running" && $5 == "running" || $5 == "complete" && $3 > since { up[$2] }
            ($5 == "failed" || $5 == "rejected") && $3 > since { failures++; failed = $1 }
            END {
                if (wanted == "failed" || failures >= 3) print "failed", failed
                else if (length(up) < wanted) print "runs", length(up), "of its", wanted, "replicas"
                else print "ready"
            }'
}

# Waits until every service has all its tasks; says otherwise which one does not, and why.
converge() {
    local aim=$1 since=$2 deadline=$((SECONDS + wait_seconds)) service state waiting
    [[ $dry_run == no ]] || return 0
    say "waiting until everything runs, at most $wait_seconds s"
    while true; do
        # Swarm begins an update a moment after it was told of it.
        sleep 1
        waiting=()
        for service in $(stack_services); do
            state=$(service_state "$service" "$aim" "$since")
            case $state in
                ready) ;;
                failed*) explain "$service" "${state#failed}"; return 1 ;;
                *) waiting+=("$service $state") ;;
            esac
        done
        ((${#waiting[@]})) || return 0
        if ((SECONDS > deadline)); then
            for state in "${waiting[@]}"; do
                say "after $wait_seconds s, $state"
                explain "${state%% *}" ''
            done
            return 1
        fi
    done
}

# The time, as Docker writes it too.
now() { date -u +%Y-%m-%dT%H:%M:%S.%N; }

# Says why a service's tasks do not run: what Swarm says of one, and its last words.
explain() {
    local service=$1 task=${2// /}
    [[ -n $task ]] || task=$(docker service ps --no-trunc --quiet "$service" | head -n 1)
    say "$service does not run: task $task on node $(docker service ps --filter "id=$task" \
        --format '{{.Node}}' "$service" | head -n 1), $(docker inspect --type task \
        --format '{{.Status.State}}: {{or .Status.Err .Status.Message}}' "$task" 2>&1)"
    docker service logs --raw --tail 15 "$task" 2>&1 | sed 's/^/    /' >&2 || true
}
