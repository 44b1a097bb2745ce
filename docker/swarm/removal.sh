# shellcheck shell=bash disable=SC2154,SC2034,SC2004 # deploy-swarm.sh declares the variables
# Part of deploy-swarm.sh: the end of a stack.

down() {
    check_swarm
    [[ $assume_yes == yes || $dry_run == yes ]] || ask_for_consent
    run docker stack rm "$stack"
    if [[ $purge == no ]]; then
        say "The data is kept: the volumes ${stack}_data, ${stack}_workspace and ${stack}_cache, and the secrets."
    else
        await_containers
        remove_secrets
        remove_volumes
    fi
}

ask_for_consent() {
    local answer='' question="Remove the services of $stack?"
    [[ $purge == no ]] || question="Remove the services of $stack, all its jobs, its workspace and its secrets?"
    read -r -p "$question [y/N] " answer || fail "nothing was removed: nobody answers here; --yes does without"
    [[ $answer == [yY]* ]] || fail "nothing was removed"
}

await_containers() {
    local of_stack="label=com.docker.stack.namespace=$stack"
    [[ $dry_run == no && -n $(docker ps --all --quiet --filter "$of_stack") ]] || return 0
    say "waiting until the containers of $stack have ended; workers may finish their jobs first"
    while [[ -n $(docker ps --all --quiet --filter "$of_stack") ]]; do
        sleep 1
    done
}

# By their label: another stack's name may begin like this one's.
remove_secrets() {
    local name version
    list_secrets
    for name in "${secrets[@]}"; do
        for version in $(versions_of_secret "$name"); do
            run docker secret rm "$version"
        done
    done
}

remove_volumes() {
    local name volume volumes=() left=()
    for name in data workspace cache; do
        volume=${stack}_$name
        volumes+=("$volume")
        # One that no task of this node has used is not here.
        docker volume inspect "$volume" >/dev/null 2>&1 || continue
        run docker volume rm "$volume" || left+=("$volume")
    done
    if has_several_nodes; then
        say "Other nodes have volumes of their own. On each of them: docker volume rm ${volumes[*]}"
    fi
    ((${#left[@]} == 0)) || fail "these volumes could not be removed: ${left[*]}"
}
