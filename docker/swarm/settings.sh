# shellcheck shell=bash disable=SC2154,SC2034,SC2004 # deploy-swarm.sh declares the variables
# Part of deploy-swarm.sh: what the operator has set.

# What this script itself reads; the variables of swarm.yml and of the overlays come to it.
known_settings=(ANTHROPIC_API_KEY CLAUDE_CODE_OAUTH_TOKEN CLUSTER_TOKEN GIT_CREDENTIALS GIT_CREDENTIALS_FILE
    TOKENS_FILE ONESHIFT_BASE_IMAGE ONESHIFT_BINARIES_IMAGE ONESHIFT_BUILD_NETWORK ONESHIFT_CLAUDE_IMAGE
    ONESHIFT_IMAGES_ARE_EVERYWHERE)

# Reads NAME=VALUE lines without executing anything of them. What the caller exported wins.
read_settings() {
    local line number=0 name value
    if [[ ! -e $env_file ]]; then
        [[ $env_is_named == no ]] || fail "the file $env_file of --env is not there"
        return 0
    fi
    [[ -r $env_file && ! -d $env_file ]] || fail "$env_file cannot be read"
    mapfile -t -O "${#known_settings[@]}" known_settings < <(variables_of swarm.yml "${overlays[@]}")
    while IFS= read -r line || [[ -n $line ]]; do
        number=$((number + 1))
        line=${line%$'\r'}
        [[ $line =~ ^[[:space:]]*(#.*)?$ ]] && continue
        [[ $line =~ ^[[:space:]]*(export[[:space:]]+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)$ ]] \
            || fail "$env_file, line $number: is not NAME=VALUE"
        name=${BASH_REMATCH[2]}
        read_value "${BASH_REMATCH[3]}" "$env_file, line $number"
        setting[$name]=$value
        warn_if_unread "$name" "$env_file, line $number"
    done <"$env_file"
}

# Takes a value as compose does: single quotes are literal, in double ones \" and \\ stand for " and \,
# and ` #` begins a comment, but not in JSON. Sets `value`.
read_value() {
    local text=$1 where=$2 rest=''
    local single="^'([^']*)'(.*)$" double='^"(([^"\]|\\.)*)"(.*)$'
    value=${text#"${text%%[![:space:]]*}"}
    if [[ $value =~ $single ]]; then
        value=${BASH_REMATCH[1]} rest=${BASH_REMATCH[2]}
    elif [[ $value =~ $double ]]; then
        rest=${BASH_REMATCH[3]}
        value=$(printf '%s' "${BASH_REMATCH[1]}" | sed 's/\\\(["\\]\)/\1/g')
    else
        case $value in
            \'* | \"*) fail "$where: the closing quote is missing" ;;
            '{'* | '['*) ;;
            *)
                value=${text%%[[:space:]]#*}
                value=${value#"${value%%[![:space:]]*}"}
                ;;
        esac
        value=${value%"${value##*[![:space:]]}"}
    fi
    [[ $rest =~ ^[[:space:]]*$ || $rest =~ ^[[:space:]]+# ]] \
        || fail "$where: there is text after the closing quote"
}

# Names the variables of compose files, one a line.
variables_of() { grep -ohE '\$\{?[A-Za-z_][A-Za-z0-9_]*' "$@" | tr -d '$''{' | sort -u; }

# Names a setting that does nothing: misspelt, or for somebody else.
warn_if_unread() {
    local name=$1 where=$2 overlay
    case $name in
        ONESHIFT_STACK) say "$where: ONESHIFT_STACK does nothing here; use --stack"; return ;;
        ONESHIFT_SECRET_*) say "$where: $name does nothing; the script sets it"; return ;;
        ONESHIFT_* | ANTHROPIC_* | CLAUDE_* | GIT_* | TOKENS_* | CLUSTER_* | DOCKER_HOST) ;;
        *) return ;;
    esac
    [[ " ${known_settings[*]} " != *" $name "* ]] || return 0
    for overlay in swarm.*.yml; do
        if [[ $'\n'$(variables_of "$overlay")$'\n' == *$'\n'"$name"$'\n'* ]]; then
            say "$where: $name does nothing without --overlay $overlay"
            return
        fi
    done
    if grep -q "^| .*\`$name\`.* |" README.md 2>/dev/null; then
        say "$where: $name does nothing here: swarm.yml passes it on to no service, but an overlay can"
    else
        say "$where: nothing reads $name; is it spelt right?"
    fi
}

# A setting's value: of the caller's environment, else of the file.
value_of() {
    if [[ -n ${!1:-} ]]; then
        printf '%s' "${!1}"
    else
        printf '%s' "${setting[$1]:-}"
    fi
}

is_mentioned() { [[ -n ${!1:-} || -v "setting[$1]" ]]; }

# The path that a setting names, in the folder where it was named.
path_of() {
    if [[ -n ${!1:-} ]]; then
        in_folder "$caller" "${!1}"
    elif [[ -n ${setting[$1]:-} ]]; then
        in_folder "$(dirname "$env_file")" "${setting[$1]}"
    fi
}

is_secret() {
    case $1 in
        ANTHROPIC_API_KEY | CLAUDE_CODE_OAUTH_TOKEN | GIT_CREDENTIALS | CLUSTER_TOKEN) ;;
        *) return 1 ;;
    esac
}

# What can be said before anything is done.
check_settings() {
    local service name value
    for service in "${!replicas[@]}"; do
        name=$(replicas_variable "$service")
        value=$(value_of "$name")
        [[ -z $value ]] || check_count "$name" "$value"
        replicas[$service]=${replicas[$service]:-$value}
    done
    value=$(value_of ONESHIFT_PORT)
    port=${value:-5000}
    [[ $port =~ ^[1-9][0-9]{0,4}$ && $port -lt 65536 ]] || fail "ONESHIFT_PORT $port is not a port"
    value=$(value_of ONESHIFT_DRAIN_SECONDS)
    [[ ${value:=3600} =~ ^[0-9]{1,8}$ ]] || fail "ONESHIFT_DRAIN_SECONDS $value is not a number of seconds"
    drain_seconds=$((10#$value))
    # Whoever has drained still has to report: Swarm's patience is a minute longer.
    [[ -n $(value_of ONESHIFT_STOP_GRACE) ]] || setting[ONESHIFT_STOP_GRACE]=$((drain_seconds + 60))s
}

replicas_variable() {
    local upper=${1^^}
    printf 'ONESHIFT_REPLICAS_%s' "${upper//-/_}"
}

check_secret_files() {
    local name path
    for name in TOKENS_FILE GIT_CREDENTIALS_FILE; do
        path=$(path_of "$name")
        [[ -z $path || -f $path && -r $path ]] || fail "$name: the file $path cannot be read"
        [[ $name != TOKENS_FILE || -z $path || -s $path ]] || fail "$name: the file $path is empty"
    done
}

# Gives docker what the compose files ask for.
export_settings() {
    local name
    for name in $(variables_of swarm.yml "${overlays[@]}"); do
        [[ ! -v "setting[$name]" || -n ${!name:-} ]] || is_secret "$name" \
            || export "$name=${setting[$name]}"
    done
}
