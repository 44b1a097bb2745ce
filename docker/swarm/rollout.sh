# shellcheck shell=bash disable=SC2154,SC2004 # deploy-swarm.sh declares the variables
# Part of deploy-swarm.sh: a deployment, until all of it runs or has been taken back.

is_deployed() { [[ -n $(docker service ls --quiet --filter "label=com.docker.stack.namespace=$stack") ]]; }

stack_services() {
    docker service ls --filter "label=com.docker.stack.namespace=$stack" --format '{{.Name}}' | sort
}

# The node that keeps the store: whichever has the label, else this one.
pin_store() {
    local node
    for node in $(docker node ls --quiet 2>/dev/null); do
        [[ $(docker node inspect --format '{{index .Spec.Labels "oneshift.store"}}' "$node") == true ]] && return
    done
    say "the store's volume is on this node from now on (label oneshift.store)"
    run docker node update --label-add oneshift.store=true \
        "$(docker info --format '{{.Swarm.NodeID}}')" >/dev/null
}

deploy_stack() {
    local service name arguments=(--compose-file swarm.yml) overlay
    for overlay in "${overlays[@]}"; do
        arguments+=(--compose-file "$overlay")
    done
    for service in "${!replicas[@]}"; do
        name=ONESHIFT_REPLICAS_${service^^}
        name=${name//-/_}
        # What was scaled by hand, or by the operator, stays unless something else is asked for.
        [[ -n ${replicas[$service]} ]] || replicas[$service]=$(value_of "$name")
        [[ -n ${replicas[$service]} ]] || replicas[$service]=$(docker service inspect \
            --format '{{.Spec.Mode.Replicated.Replicas}}' "${stack}_$service" 2>/dev/null || true)
        [[ -z ${replicas[$service]} ]] || export "$name=${replicas[$service]}"
    done
    for name in "${!setting[@]}"; do
        is_secret "$name" || [[ -n ${!name:-} ]] || export "$name=${setting[$name]}"
    done
    export ONESHIFT_STACK=$stack
    # Images are named by id or digest: there is nothing to ask a registry for.
    update_stack --resolve-image=never --prune "${arguments[@]}" "$stack"
}

# A service that changes in the same moment, as when the operator scales it, refuses the update.
update_stack() {
    local words
    [[ $dry_run == no ]] || { run docker stack deploy "$@"; return; }
    for _ in 1 2 3 4 5; do
        if words=$(docker stack deploy "$@" 2>&1); then
            say "$words"
            return
        fi
        [[ $words == *"update out of sequence"* ]] || break
        sleep 1
    done
    fail "$words"
}

is_secret() {
    case $1 in
        ANTHROPIC_API_KEY | CLAUDE_CODE_OAUTH_TOKEN | GIT_CREDENTIALS | CLUSTER_TOKEN | TOKENS_FILE) ;;
        *) return 1 ;;
    esac
}

# How a service is: `ready`, or `failed` with a task, or how many of its replicas have come up. One
# that has done a job since and is being replaced has come up as well: under load there may be no
# moment at which all of them run.
service_state() {
    local service=$1 since=$2 wanted update started
    read -r wanted update started < <(docker service inspect --format \
        '{{.Spec.Mode.Replicated.Replicas}} {{with .UpdateStatus}}{{.State}} {{if .StartedAt}}{{.StartedAt.UTC.Format "2006-01-02T15:04:05.000000000"}}{{end}}{{end}}' \
        "$service")
    # What became of an update before this one does not matter any more.
    if [[ $started > $since ]]; then
        since=$started
        case $command-$update in
            *-updating | rollback-rollback_started) echo "not all replicas replaced"; return ;;
            rollback-rollback_completed) ;;
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
                else if (length(up) < wanted) print length(up), "of", wanted
                else print "ready"
            }'
}

# Waits until every service has all its tasks; says otherwise which one does not, and why.
converge() {
    local since=$1 deadline=$((SECONDS + wait_seconds)) service state waiting
    [[ $dry_run == no ]] || return 0
    while true; do
        # Swarm begins an update a moment after it was told of it.
        sleep 1
        waiting=()
        for service in $(stack_services); do
            state=$(service_state "$service" "$since")
            case $state in
                ready) ;;
                failed*) explain "$service" "${state#failed}"; return 1 ;;
                *) waiting+=("$service has $state") ;;
            esac
        done
        ((${#waiting[@]})) || return 0
        if ((SECONDS > deadline)); then
            say "after $wait_seconds s: ${waiting[*]}"
            for service in $(stack_services); do
                [[ $(service_state "$service" "$since") == ready ]] || explain "$service" ''
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

roll_back() {
    local service
    for service in $(stack_services); do
        if [[ $(docker service inspect --format '{{if .PreviousSpec}}yes{{end}}' "$service") == yes ]]; then
            say "rolling back $service"
            run docker service rollback --detach "$service" >/dev/null 2>&1 || true
        fi
    done
}

# One round: deploy, wait, and go back if the new does not run.
roll_out() {
    local since was_there=no
    since=$(now)
    is_deployed && was_there=yes
    deploy_stack
    converge "$since" && return
    if [[ $was_there == yes ]]; then
        roll_back
        fail "the deployment failed and was rolled back; jobs in the queue are kept"
    fi
    fail "the deployment failed; mend what is said above and run the script again"
}
