# shellcheck shell=bash disable=SC2154,SC2034,SC2004 # deploy-swarm.sh declares the variables
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
    [[ $command == deploy ]] || fail "there is no swarm on this machine"
    [[ -n $advertise ]] || find_address
    say "there is no swarm here yet: this machine, at $advertise, becomes its first manager"
    run docker swarm init --advertise-addr "$advertise" >/dev/null
    # A dry run goes on without one.
    [[ $dry_run == no ]] || has_swarm=no
}

# Finds out where other nodes reach this machine. Sets `advertise`.
find_address() {
    local addresses=()
    command -v ip >/dev/null \
        || fail "without ip (iproute2) this machine's addresses are not known: say with --advertise-addr which
one other nodes reach it at, or 127.0.0.1 if there will never be any"
    mapfile -t addresses < <(own_addresses)
    case ${#addresses[@]} in
        0)
            say "this machine has no address but its loopback's: other nodes will not be able to join"
            advertise=127.0.0.1
            ;;
        1) advertise=${addresses[0]} ;;
        *) choose_address "${addresses[@]}" ;;
    esac
}

choose_address() {
    local address answer=''
    [[ -t 0 && $assume_yes == no ]] || fail "this machine has several addresses ($*); say with --advertise-addr
which one the other nodes reach it at"
    say "This machine has several addresses:"
    for address in "$@"; do
        say "  $address"
    done
    read -r -p "At which one do the other nodes reach it? " answer || true
    for address in "$@"; do
        [[ $answer != "$address" ]] || advertise=$answer
    done
    [[ -n $advertise ]] || fail "${answer:-nothing} is none of this machine's addresses; nothing was changed"
}

# The machine's own global addresses, those of Docker's bridges left out.
own_addresses() {
    ip -4 -o address show scope global \
        | awk '$2 !~ /^(docker|br-|veth)/ { sub("/.*", "", $4); print $4 }'
}

nodes() { [[ $has_swarm == no ]] || docker node ls --quiet; }

# Whether images and volumes may be on other machines as well.
has_several_nodes() { (($(nodes | wc -l) > 1)); }

# The node that keeps the store: whichever has the label, else this one.
pin_store() {
    local node
    for node in $(nodes); do
        [[ $(docker node inspect --format '{{index .Spec.Labels "oneshift.store"}}' "$node") != true ]] || return 0
    done
    say "the store's volume belongs on this node: it gets the label oneshift.store"
    run docker node update --label-add oneshift.store=true \
        "$(docker info --format '{{.Swarm.NodeID}}')" >/dev/null
}
