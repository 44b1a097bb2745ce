# shellcheck shell=bash disable=SC2154 # docker declares the variables
# Part of the tests' docker: stacks and their services.
#
# A service is a folder: `spec` and `previous` are lines `image NAME`, `replicas N`, `env TEXT`,
# `secret FILE NAME` and `label TEXT`; `update` is the state of the latest update and its time. Tasks of
# an image that has `bad` in its name fail.

declare -A secrets_of=(
    [gateway]="cluster_token cluster_token_also tokens"
    [workflow]="cluster_token cluster_token_also"
    [git-pull]="cluster_token cluster_token_also git_credentials"
    [claude-exec]="cluster_token cluster_token_also anthropic_api_key claude_code_oauth_token"
    [operator]="cluster_token" [docker-proxy]=""
)
declare -A replicas_of=([workflow]=5 [git-pull]=3 [claude-exec]=3)

time_now() { date -u +%Y-%m-%dT%H:%M:%S.%N; }

# What a service is to become, by the variables that the compose files name.
wanted_spec() {
    local upper=${1^^} variable secret
    upper=${upper//-/_}
    variable=ONESHIFT_IMAGE_$upper
    echo "image ${!variable}"
    variable=ONESHIFT_REPLICAS_$upper
    echo "replicas ${!variable:-${replicas_of[$1]:-1}}"
    echo "env ${ONESHIFT_LOG:-info} ${ONESHIFT_STOP_GRACE:-}"
    for secret in ${secrets_of[$1]}; do
        variable=ONESHIFT_SECRET_${secret^^}
        [[ -e secrets/${!variable} ]] || refuse "secret not found: ${!variable}"
        echo "secret $secret ${!variable}"
    done
}

# A hook may set `refused_at`, the service at which the deployment ends, and `refusal`, the reason.
stack_deploy() {
    local stack=${words[0]} service folder spec
    needs_swarm
    for service in claude-exec docker-proxy gateway git-pull operator workflow; do
        [[ ${refused_at:-} != "$service" ]] || refuse "${refusal:-update out of sequence}"
        folder=services/${stack}_$service
        spec=$(wanted_spec "$service")
        if [[ -d $folder ]]; then
            echo "Updating service ${stack}_$service"
            change "$folder" "$spec"
        else
            echo "Creating service ${stack}_$service"
            mkdir "$folder"
            echo "$spec" >"$folder/spec"
            echo "none $(time_now)" >"$folder/update"
        fi
    done
    touch "volumes/${stack}_data" "volumes/${stack}_workspace" "volumes/${stack}_cache"
}

# As Swarm does: whatever it was replaces what the service would go back to.
change() {
    local folder=$1
    mv "$folder/spec" "$folder/previous"
    echo "$2" >"$folder/spec"
    echo "completed $(time_now)" >"$folder/update"
    case $folder in
        *_gateway | *_operator) ! grep -q '^image .*bad' "$folder/spec" || go_back "$folder" rollback_completed ;;
    esac
}

# By itself, after which there is no version before.
go_back() {
    mv "$1/previous" "$1/spec"
    sed -i "s/^[a-z]*/$2/" "$1/update"
}

stack_rm() { rm -rf "services/${words[0]}_"*; }

service_ls() {
    local folder
    needs_swarm
    for folder in "services/${filter##*=}"_*; do
        echo "${folder#services/}"
    done
}

service_inspect() {
    local service folder which=spec
    needs_swarm
    for service in "${words[@]}"; do
        folder=services/$service
        [[ -d $folder ]] || refuse "no such service: $service"
        [[ $format != *'.PreviousSpec'* ]] || which=previous
        [[ -e $folder/$which ]] || { echo; continue; }
        case $format in
            '') cat "$folder"/spec "$folder"/previous 2>/dev/null || true ;;
            *UpdateStatus*) echo "$(sed -n 's/^replicas //p' "$folder/spec") $(grep -v ^none "$folder/update")" ;;
            *Mode.Replicated.Replicas*) sed -n 's/^replicas //p' "$folder/$which" ;;
            *TaskTemplate.ForceUpdate*) echo "{$(grep -v '^replicas\|^label' "$folder/$which" | paste -s -d ,)} {}" ;;
            *ContainerSpec.Secrets*) sed -n 's/^secret //p' "$folder/spec"; echo ;;
            *StopGracePeriod*) echo null ;;
            *oneshift.previous*) sed -n 's/^label //p' "$folder/spec" ;;
            *) unknown service inspect "$format" ;;
        esac
    done
}

service_rollback() {
    local folder=services/${words[0]}
    [[ -e $folder/previous ]] \
        || refuse "rpc error: code = FailedPrecondition desc = service ${words[0]} does not have a previous spec"
    mv "$folder/spec" "$folder/later"
    mv "$folder/previous" "$folder/spec"
    mv "$folder/later" "$folder/previous"
    echo "rollback_completed $(time_now)" >"$folder/update"
}

# The file `old` says for how many more calls an old task still runs.
service_ps() {
    local service=${words[0]} slot left count
    if [[ $filter == desired-state=shutdown ]]; then
        [[ -e old ]] || return 0
        left=$(<old)
        ((left == 0)) || echo "Running 5 minutes ago ${words[-1]}.1"
        ((left == 0)) || echo $((left - 1)) >old
    elif [[ $filter == id=* ]]; then
        echo node1
    else
        count=$(sed -n 's/^replicas //p' "services/$service/spec")
        for ((slot = 1; slot <= count; slot++)); do
            echo "$service.$slot"
        done
    fi
}

service_logs() { echo "the last words of ${words[0]}"; }

# Tasks alone, of one service. Those of the service that the file `slow` names have not come up.
inspect() {
    local task service=${words[0]%.*} state=running made
    ! grep -q '^image .*bad' "services/$service/spec" || state=failed
    [[ ! -e slow || $(<slow) != "$service" ]] || state=preparing
    read -r _ made <"services/$service/update"
    for task in "${words[@]}"; do
        case $format in
            *Slot*) echo "$task ${task##*.} ${made}9 running $state" ;;
            *Status.Err*) echo "$state: the image is bad" ;;
            *) unknown inspect "$format" ;;
        esac
    done
}
