# shellcheck shell=bash disable=SC2154,SC2034,SC2004 # deploy-swarm.sh declares the variables
# Part of deploy-swarm.sh: whether the nodes have room for what is reserved.

# What swarm.yml reserves: a service, its replicas, thousandths of CPUs and mebibytes a line.
reservations() {
    awk '
        /^[a-z]/ { within = $1 == "services:" }
        within && /^  [a-z-]+:$/ { service = $1; sub(":", "", service) }
        within && /^ +replicas:/ { replicas = $2; gsub(/.*:-|}/, "", replicas) }
        within && /^ +reservations:/ {
            split($0, word, /[^a-zA-Z0-9.]+/)
            print service, replicas, word[4] * 1000, word[6] + 0
        }' swarm.yml
}

# CPUs (thousandths) and memory (MiB) of all nodes that take tasks.
room() {
    local nodes
    mapfile -t nodes < <([[ $has_swarm == no ]] \
        || docker node ls --format '{{.ID}} {{.Status}} {{.Availability}}' | awk '/ Ready Active$/ { print $1 }')
    {
        if ((${#nodes[@]})); then
            docker node inspect --format \
                '{{.Description.Resources.NanoCPUs}} {{.Description.Resources.MemoryBytes}}' "${nodes[@]}"
        else
            docker info --format '{{.NCPU}}000000000 {{.MemTotal}}'
        fi
    } | awk '{ cpus += $1 / 1e6; memory += $2 / 1048576 } END { printf "%d %d\n", cpus, memory }'
}

# Old and new workers are side by side during an update: what is reserved must fit twice.
make_room() {
    local overlay service count asked cpus memory
    local cpus_needed=0 memory_needed=0 cpus_there memory_there
    for overlay in "${overlays[@]}"; do
        [[ ${overlay##*/} != swarm.small.yml ]] || return 0
    done
    while read -r service count cpus memory; do
        asked=$(asked_replicas "$service")
        count=${asked:-$count}
        cpus_needed=$((cpus_needed + 2 * count * cpus))
        memory_needed=$((memory_needed + 2 * count * memory))
    done < <(reservations)
    read -r cpus_there memory_there < <(room)
    if ((cpus_there < cpus_needed || memory_there < memory_needed)); then
        say "the nodes have $((cpus_there / 1000)) CPUs and $memory_there MiB; to reserve what swarm.yml says, an update \
needs $(((cpus_needed + 999) / 1000)) and $memory_needed MiB: swarm.small.yml is added, which reserves next to nothing"
        # First, so that what the operator puts on top still wins.
        overlays=(swarm.small.yml "${overlays[@]}")
    fi
}

# How many replicas a service is to have, if anybody has said so: the caller, `.env`, or whoever scaled
# it since, by hand or by the operator.
asked_replicas() {
    if [[ -n ${replicas[$1]:-} ]]; then
        printf '%s' "${replicas[$1]}"
    elif [[ $has_swarm == yes ]]; then
        docker service inspect --format '{{.Spec.Mode.Replicated.Replicas}}' "${stack}_$1" 2>/dev/null || true
    fi
}
