# shellcheck shell=bash disable=SC2154,SC2004 # deploy-swarm.sh declares the variables
# Part of deploy-swarm.sh: the services' images.

# The version and the commit that is built; what is not committed, or has no git, has a name of its own
# too, so that no two different images share one.
source_tag() {
    local version commit changes
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
    if commit=$(git rev-parse --short=12 HEAD 2>/dev/null); then
        changes=$(git status --porcelain -- Cargo.toml Cargo.lock crates docker; git diff HEAD -- Cargo.toml Cargo.lock crates docker)
        [[ -z $changes ]] || commit+=-$(printf '%s' "$changes" | sha256sum | head -c 8)
    else
        commit=$(find -L Cargo.toml Cargo.lock crates docker -type f -print0 | sort -z \
            | xargs -0 sha256sum | sha256sum | head -c 12)
    fi
    printf '%s' "$version-$commit"
}

image_variable() {
    local upper=${1^^}
    printf 'ONESHIFT_IMAGE_%s' "${upper//-/_}"
}

image_name() { printf '%s' "${registry:+$registry/}oneshift-$1:$tag"; }

# Sets ONESHIFT_IMAGE_… to what the nodes are to run: an id where this is the only node, else a
# digest. A tag would make Swarm ask the registry at every restart of a worker.
prepare_images() {
    local service given reference
    check_ways_to_nodes
    if [[ -z $tag ]]; then
        tag=$(source_tag)
        are_all_images_given || build_images
    fi
    for service in "${services[@]}"; do
        given=$(value_of "$(image_variable "$service")")
        if [[ -n $given ]]; then
            reference=$given
        elif [[ $dry_run == yes ]]; then
            reference=$(image_name "$service")
        elif [[ -n $registry ]]; then
            reference=$(published "$(image_name "$service")")
        else
            reference=$(docker image inspect --format '{{.Id}}' "$(image_name "$service")")
        fi
        export "$(image_variable "$service")=$reference"
    done
}

check_ways_to_nodes() {
    [[ -z $registry && -z $(value_of ONESHIFT_IMAGES_ARE_EVERYWHERE) ]] || return 0
    ! has_several_nodes || fail "this swarm has several nodes, which cannot get the images that are built
here: give --registry, or load the same images on each node (docker save, docker load) and set
ONESHIFT_IMAGES_ARE_EVERYWHERE=1"
}

are_all_images_given() {
    local service
    for service in "${services[@]}"; do
        [[ -n $(value_of "$(image_variable "$service")") ]] || return 1
    done
}

has_image() { docker image inspect "$1" >/dev/null 2>&1; }

has_all_images() {
    local service
    for service in "${services[@]}"; do
        has_image "$(image_name "$service")" || return 1
    done
}

# Prints the images' names and nothing else on the standard output.
build() {
    local service
    check_engine
    tag=${tag:-$(source_tag)}
    build_images
    for service in "${services[@]}"; do
        printf '%s\n' "$(image_name "$service")"
    done
}

# A tag names one state of the sources: images that are there already need not be built.
build_images() {
    has_all_images && return
    local base binaries claude service commit
    local arguments=()
    base=$(value_of ONESHIFT_BASE_IMAGE) binaries=$(value_of ONESHIFT_BINARIES_IMAGE)
    claude=$(value_of ONESHIFT_CLAUDE_IMAGE)
    commit=$(git rev-parse HEAD 2>/dev/null || echo unknown)
    if [[ -z $binaries ]]; then
        binaries=oneshift-build:$tag
        build_image "$binaries, the programs; the first time this takes some minutes" \
            --file docker/build.Dockerfile --tag "$binaries" .
    fi
    if [[ -z $claude ]]; then
        claude=oneshift-claude:$tag
        build_image "$claude" --file docker/claude.Dockerfile --tag "$claude" docker
    fi
    [[ -z $base ]] || arguments+=(--build-arg "BASE=$base")
    [[ -z $(value_of ONESHIFT_BUILD_NETWORK) ]] || arguments+=(--network "$(value_of ONESHIFT_BUILD_NETWORK)")
    for service in "${services[@]}"; do
        build_image "$(image_name "$service")" --file docker/services.Dockerfile --target "$service" \
            --build-arg "BINARIES=$binaries" --build-arg "CLAUDE=$claude" \
            --build-arg "VERSION=$tag" --build-arg "COMMIT=$commit" "${arguments[@]}" \
            --tag "$(image_name "$service")" docker
    done
}

build_image() {
    [[ $dry_run == yes ]] || say "building $1"
    run docker build --quiet "${@:2}" >/dev/null
}

# Pushes an image that was built here, or pulls one that was not; prints it by its digest.
published() {
    local image=$1 repository digest
    if has_image "$image"; then
        docker push --quiet "$image" >/dev/null || fail "$image cannot be pushed; is this machine logged in there?"
    else
        docker pull --quiet "$image" >/dev/null || fail "$image cannot be pulled; is the tag right?"
    fi
    # The same image may be known by digests of other registries too. Docker Hub's names are short.
    repository=${image%:*}
    repository=${repository#docker.io/}
    while read -r digest; do
        [[ $digest == "$repository@"* ]] || continue
        printf '%s' "$digest"
        return
    done < <(docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$image")
    fail "$image has no digest of its registry; deploy by --tag with a registry that keeps images by digest"
}
