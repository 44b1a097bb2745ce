# shellcheck shell=bash disable=SC2154,SC2004 # deploy-swarm.sh declares the variables
# Part of deploy-swarm.sh: the engine and its swarm.

check_engine() {
    command -v docker >/dev/null || fail "docker is not installed: see https://docs.docker.com/engine/install"
    local version
    version=$(docker version --format '{{.Server.APIVersion}}' 2>&1) \
        || fail "the Docker engine does not answer: $version"
    [[ $(printf '%s\n' 1.41 "$version" | sort --version-sort | head -n 1) == 1.41 ]] \
        || fail "the Docker engine speaks API $version; 1.41 (Docker 20.10) or newer is needed"
}

check_swarm() {
    local state
    check_engine
    state=$(docker info --format '{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}')
    case $state in
        'active true') ;;
        'inactive false') start_swarm ;;
        'active false') fail "this node is a worker of a swarm; run the script on one of its managers" ;;
        *) fail "this node's swarm is ${state% *}; bring it in order first: docker info" ;;
    esac
}

start_swarm() {
    local addresses
    [[ $command == deploy ]] || fail "there is no swarm on this machine"
    if [[ -z $advertise ]]; then
        mapfile -t addresses < <(own_addresses)
        case ${#addresses[@]} in
            0) advertise=127.0.0.1 ;;
            1) advertise=${addresses[0]} ;;
            *) fail "this machine has several addresses (${addresses[*]}); say with --advertise-addr
which one the other nodes reach it at" ;;
        esac
    fi
    say "making a swarm of this machine at $advertise"
    run docker swarm init --advertise-addr "$advertise" >/dev/null
}

# The machine's own global addresses, those of Docker's bridges left out.
own_addresses() {
    ip -4 -o address show scope global 2>/dev/null \
        | awk '$2 !~ /^(docker|br-|veth)/ { sub("/.*", "", $4); print $4 }'
}
