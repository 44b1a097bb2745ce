# shellcheck shell=bash disable=SC2154,SC2004 # deploy-swarm.sh declares the variables
# Part of deploy-swarm.sh: the services' images.

# The version and the commit that is built; what is not committed yet has a name of its own too, so
# that no two different images share one.
source_tag() {
    local version commit='' changes
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
    if commit=$(git rev-parse --short=12 HEAD 2>/dev/null); then
        changes=$(git status --porcelain -- Cargo.toml Cargo.lock crates docker; git diff HEAD -- Cargo.toml Cargo.lock crates docker)
        [[ -z $changes ]] || commit+=-$(printf '%s' "$changes" | sha256sum | head -c 8)
    fi
    printf '%s' "$version${commit:+-$commit}"
}

image_variable() {
    local upper=${1^^}
    printf 'ONESHIFT_IMAGE_%s' "${upper//-/_}"
}

# Sets ONESHIFT_IMAGE_… to what the nodes are to run: an id where this is the only node, else a
# digest. A tag would make Swarm ask the registry at every restart of a worker.
prepare_images() {
    local service reference image given
    if [[ -z $tag ]]; then
        tag=$(source_tag)
        [[ -n $(value_of ONESHIFT_IMAGE_GATEWAY) ]] || build_images
    fi
    for service in "${services[@]}"; do
        given=$(value_of "$(image_variable "$service")")
        image=${registry:+$registry/}oneshift-$service:$tag
        if [[ -n $given ]]; then
            reference=$given
        elif [[ $dry_run == yes ]]; then
            reference=$image
        elif [[ -n $registry ]]; then
            reference=$(published "$service" "$image")
        else
            reference=$(docker image inspect --format '{{.Id}}' "$image")
        fi
        export "$(image_variable "$service")=$reference"
    done
    if [[ -z $registry ]] && (($(docker node ls --quiet 2>/dev/null | wc -l) > 1)); then
        [[ -n $(value_of ONESHIFT_IMAGES_ARE_EVERYWHERE) ]] || fail "this swarm has several nodes, which
cannot get the images that are built here: give --registry, or load the same images on each node
(docker save, docker load) and set ONESHIFT_IMAGES_ARE_EVERYWHERE=1"
    fi
}

has_image() { docker image inspect "$1" >/dev/null 2>&1; }

has_all_images() {
    local service
    for service in "${services[@]}"; do
        has_image "${registry:+$registry/}oneshift-$service:$tag" || return 1
    done
}

build() {
    local service
    check_engine
    tag=${tag:-$(source_tag)}
    build_images
    for service in "${services[@]}"; do
        printf '%s\n' "${registry:+$registry/}oneshift-$service:$tag"
    done
}

# A tag names one state of the sources: images that are there already need not be built.
build_images() {
    has_all_images && return
    local binaries claude base service commit
    local arguments=()
    base=$(value_of ONESHIFT_BASE_IMAGE) binaries=$(value_of ONESHIFT_BINARIES_IMAGE)
    claude=$(value_of ONESHIFT_CLAUDE_IMAGE)
    commit=$(git rev-parse HEAD 2>/dev/null || echo unknown)
    if [[ -z $binaries ]]; then
        binaries=oneshift-build:$tag
        say "building the programs ($binaries); the first time this takes some minutes"
        run docker build --quiet --file docker/build.Dockerfile --tag "$binaries" .
    fi
    if [[ -z $claude ]]; then
        claude=oneshift-claude:$tag
        run docker build --quiet --file docker/claude.Dockerfile --tag "$claude" docker
    fi
    [[ -z $base ]] || arguments+=(--build-arg "BASE=$base")
    [[ -z $(value_of ONESHIFT_BUILD_NETWORK) ]] || arguments+=(--network "$(value_of ONESHIFT_BUILD_NETWORK)")
    for service in "${services[@]}"; do
        say "building ${registry:+$registry/}oneshift-$service:$tag"
        run docker build --quiet --file docker/services.Dockerfile --target "$service" \
            --build-arg "BINARIES=$binaries" --build-arg "CLAUDE=$claude" \
            --build-arg "VERSION=$tag" --build-arg "COMMIT=$commit" "${arguments[@]}" \
            --tag "${registry:+$registry/}oneshift-$service:$tag" docker >/dev/null
    done
}

# Pushes an image that was built here, or pulls one that was not; prints it by its digest.
published() {
    if has_image "$2"; then
        docker push --quiet "$2" >/dev/null || fail "$2 cannot be pushed; is this machine logged in there?"
    else
        docker pull --quiet "$2" >/dev/null || fail "$2 cannot be pulled; is the tag right?"
    fi
    docker image inspect --format '{{index .RepoDigests 0}}' "$2"
}
