# shellcheck shell=bash disable=SC2154,SC2034,SC2004 # deploy-swarm.sh declares the variables
# Part of deploy-swarm.sh: the way back. Docker remembers one specification of each service besides
# the latest, and every change replaces it: also one of the replicas, also one that changes nothing.

# What a service runs, without its number of replicas; `which` is Spec or PreviousSpec. Only of what we
# set: docker shows the defaults of the rest in Spec, and does not in PreviousSpec.
version_of() {
    local service=$1 which=$2 format
    format='{{.TaskTemplate.ForceUpdate}} {{with .TaskTemplate.ContainerSpec}}{{json .Image}} {{json .Command}}'
    format+=' {{json .Args}} {{json .Env}} {{json .Mounts}} {{json .Secrets}} {{json .Healthcheck}}{{end}}'
    format+=' {{range .TaskTemplate.Networks}}{{json .}}{{end}}'
    format+=' {{with .TaskTemplate.Resources}}{{with .Limits}}{{json .}}{{end}}{{with .Reservations}}{{json .}}{{end}}{{end}}'
    format+=' {{with .TaskTemplate.Placement}}{{range .Constraints}}{{json .}}{{end}}{{end}}'
    format+=' {{with .EndpointSpec}}{{range .Ports}}{{json .}}{{end}}{{end}}'
    docker service inspect --format "{{with .$which}}$format{{end}}" "$service"
}

# Notes what all services run now.
note_versions() {
    local service
    version_before=()
    for service in $(stack_services); do
        version_before[$service]=$(version_of "$service" Spec)
    done
}

# Takes back what has changed since the versions were noted, as far as Docker remembers it.
undo() {
    local service
    for service in $(stack_services); do
        [[ -v "version_before[$service]" ]] || continue
        [[ $(version_of "$service" Spec) != "${version_before[$service]}" ]] || continue
        [[ $(version_of "$service" PreviousSpec) == "${version_before[$service]}" ]] || continue
        undo_service "$service"
    done
}

undo_service() {
    local words
    say "rolling back $1"
    words=$(docker service rollback --detach "$1" 2>&1) || say "$1 is not rolled back: $words"
}

# Prints a sentence for each service that is not what was noted.
what_is_not_back() {
    local service present
    present=$(stack_services)
    for service in "${!version_before[@]}"; do
        if ! grep -Fqx "$service" <<<"$present"; then
            printf '%s\n' "$service is gone, since the new swarm.yml and overlays do not have it"
        elif [[ $(version_of "$service" Spec) != "${version_before[$service]}" ]]; then
            printf '%s\n' "$service is still what was deployed: $(advice "$service")"
        fi
    done
    for service in $present; do
        [[ -v "version_before[$service]" ]] \
            || printf '%s\n' "$service is new and stays; without it: docker service rm $service"
    done
}

# What to do about a service that Docker cannot take back.
advice() {
    local name=${1#"${stack}_"}
    if is_scaled_since "$1"; then
        printf '%s' "it was scaled meanwhile, which is all that Docker remembers; to take it back nevertheless, \
POST /api/cluster/services/$name/rollback"
    else
        printf '%s' "Docker does not remember what it was before; deploy that again (its sources, or --tag)"
    fi
}

# The operator leaves a note of the version that its scaling made Docker forget.
is_scaled_since() {
    [[ -n $(docker service inspect --format '{{index .Spec.Labels "oneshift.previous"}}' "$1") ]]
}

# Ends a deployment that failed: takes it back, waits until that runs, and says how far it came.
take_back() {
    local what=$1 since lost runs=yes
    since=$(now)
    undo
    converge back "$since" || runs=no
    lost=$(what_is_not_back)
    [[ -z $lost ]] || { say "$lost"; fail "$what failed and could not be rolled back completely"; }
    [[ $runs == yes ]] || fail "$what failed and was rolled back, but what was there before does not run either"
    fail "$what failed and was rolled back; jobs in the queue are kept"
}

# Goes back to what ran before the last deployment, when somebody asks for it.
roll_back() {
    local service since lost='' going=() staying=()
    check_swarm
    is_deployed || fail "there is no stack $stack here that could be rolled back"
    for service in $(stack_services); do
        case $(way_back "$service") in
            docker) going+=("$service") ;;
            operator) staying+=("$service stays as it is: $(advice "$service")") ;;
        esac
    done
    ((${#going[@]} + ${#staying[@]})) || fail "there is nothing to go back to: Docker remembers the last change only"
    since=$(now)
    for service in "${going[@]}"; do
        version_before[$service]=$(version_of "$service" PreviousSpec)
        if [[ $dry_run == yes ]]; then
            say "would roll back $service"
        else
            undo_service "$service"
        fi
    done
    ((${#staying[@]} == 0)) || say "$(printf '%s\n' "${staying[@]}")"
    [[ $dry_run == no ]] || return 0
    converge back "$since" || fail "the rollback failed"
    for service in "${going[@]}"; do
        [[ $(version_of "$service" Spec) == "${version_before[$service]}" ]] || lost+=" $service"
    done
    [[ -z $lost ]] || fail "the rollback failed for$lost: run the script of the version before instead"
    ((${#staying[@]} == 0)) || fail "the rollback is not complete"
    say "Rolled back: ${going[*]}"
}

# Who knows the version of a service before this one: `docker`, the `operator`, or `nobody`. A change of
# the replicas alone is gone back from as well.
way_back() {
    local now previous
    now=$(version_of "$1" Spec)
    previous=$(version_of "$1" PreviousSpec)
    if [[ -z $previous ]]; then
        echo nobody
    elif [[ $now != "$previous" ]]; then
        echo docker
    elif is_scaled_since "$1"; then
        echo operator
    elif [[ $(replicas_of "$1" Spec) != "$(replicas_of "$1" PreviousSpec)" ]]; then
        echo docker
    else
        echo nobody
    fi
}

replicas_of() {
    docker service inspect --format "{{with .$2}}{{.Mode.Replicated.Replicas}}{{end}}" "$1"
}
