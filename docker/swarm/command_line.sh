# shellcheck shell=bash disable=SC2154,SC2034,SC2004 # deploy-swarm.sh declares the variables
# Part of deploy-swarm.sh: what the caller has asked for.

read_arguments() {
    local value
    while (($#)); do
        case $1 in
            --help | -h) usage; exit 0 ;;
            build | down) set_command "$1" "$1" ;;
            --rollback) set_command rollback "$1" ;;
            --dry-run) dry_run=yes ;;
            --yes) assume_yes=yes ;;
            --purge) purge=yes ;;
            --replicas | --registry | --tag | --overlay | --advertise-addr | --stack | --env | --wait)
                (($# > 1)) || fail "$1 needs a value; see --help"
                value=$2
                case $1 in
                    --replicas) set_replicas "$value" ;;
                    --registry) registry=${value%/} ;;
                    --tag) tag=$value ;;
                    --overlay) add_overlay "$value" ;;
                    --advertise-addr) advertise=$value ;;
                    --stack) stack=$value ;;
                    --env) env_file=$(in_folder "$caller" "$value") env_is_named=yes ;;
                    --wait) wait_seconds=$value ;;
                esac
                shift
                ;;
            *) fail "there is no option $1; see --help" ;;
        esac
        shift
    done
    command=${command:-deploy}
    check_arguments
}

check_arguments() {
    # Docker allows 64 characters for the name of a secret, which begins with the stack's.
    [[ $stack =~ ^[a-z][a-z0-9-]{0,19}$ ]] \
        || fail "the stack's name $stack must begin with a-z and have a-z, 0-9 and - only, at most 20 of them"
    [[ $wait_seconds =~ ^[0-9]+$ ]] || fail "--wait $wait_seconds is not a number of seconds"
    [[ -z $tag || -n $registry ]] || fail "--tag needs --registry: where are the images?"
    [[ $purge == no || $command == down ]] || fail "--purge goes with down only"
}

set_command() {
    [[ -z $command ]] || fail "$2 is one command too many; see --help"
    command=$1
}

set_replicas() {
    local service=${1%%=*} count=${1#*=}
    [[ $1 == *=* && -v "replicas[$service]" ]] \
        || fail "--replicas $1: use workflow=N, git-pull=N or claude-exec=N"
    check_count "--replicas $1" "$count"
    replicas[$service]=$count
}

check_count() {
    [[ $2 =~ ^[0-9]+$ ]] || fail "$1: $2 is not a number"
    [[ $2 =~ ^[1-9][0-9]{0,3}$ ]] || fail "$1: use a number from 1 to 9999; without any, jobs would wait for ever"
}

# From where the script was called, or one of those beside the script.
add_overlay() {
    local path
    path=$(in_folder "$caller" "$1")
    [[ -e $path || $1 == */* || ! -e $1 ]] || path=$PWD/$1
    [[ -f $path && -r $path ]] || fail "the overlay $1 cannot be read"
    overlays+=("$path")
}

# A path as it is meant in a folder.
in_folder() {
    if [[ $2 == /* ]]; then
        printf '%s' "$2"
    else
        printf '%s' "$1/$2"
    fi
}
