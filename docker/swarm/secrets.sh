# shellcheck shell=bash disable=SC2154,SC2004 # deploy-swarm.sh declares the variables
# Part of deploy-swarm.sh: what becomes Docker secrets, versioned.

random_token() { head -c 32 /dev/urandom | sha256sum | cut -d ' ' -f 1; }

newest_secret() {
    docker secret ls --filter "label=oneshift.secret=$stack/$1" --format '{{.Name}}' 2>/dev/null | sort | tail -n 1
}

# Whether a secret has this content. Docker never shows it, so its salted hash is a label.
has_content() {
    local salt print
    read -r salt print < <(docker secret inspect --format \
        '{{index .Spec.Labels "oneshift.salt"}} {{index .Spec.Labels "oneshift.print"}}' "$1")
    [[ $print == "$(printf '%s%s' "$salt" "$2" | sha256sum | cut -d ' ' -f 1)" ]]
}

# Makes a new version of a secret unless the newest one has this content already; a secret in use
# cannot be changed. Notes its name for swarm.yml.
prepare_secret() {
    local name=$1 content=$2 current salt
    current=$(newest_secret "$name")
    if [[ -z $current ]] || ! has_content "$current" "$content"; then
        current=${stack}_${name}_$(date -u +%Y%m%d%H%M%S)
        salt=$(random_token)
        if [[ $dry_run == yes ]]; then
            say "would create the secret $current"
        else
            printf '%s' "$content" | docker secret create \
                --label "oneshift.secret=$stack/$name" --label "oneshift.salt=$salt" \
                --label "oneshift.print=$(printf '%s%s' "$salt" "$content" | sha256sum | cut -d ' ' -f 1)" \
                "$current" - >/dev/null
        fi
    fi
    use_secret "$name" "$current"
}

use_secret() {
    secret_name[$1]=$2
    export "ONESHIFT_SECRET_${1^^}=$2"
}

prepare_secrets() {
    local cluster tokens
    tokens=$(value_of TOKENS_FILE)
    if [[ -n $tokens ]]; then
        prepare_secret tokens "$(<"$tokens")"
    elif [[ -n $(newest_secret tokens) ]]; then
        use_secret tokens "$(newest_secret tokens)"
    else
        new_token=$(random_token)
        prepare_secret tokens "$(printf '[{"name":"admin","tokenSha256":"%s","scopes":["admin"]}]' \
            "$(printf '%s' "$new_token" | sha256sum | cut -d ' ' -f 1)")"
    fi
    # A secret cannot be empty; a line break counts as not set.
    prepare_secret git_credentials "$(git_credentials)"$'\n'
    prepare_secret anthropic_api_key "$(value_of ANTHROPIC_API_KEY)"$'\n'
    prepare_secret claude_code_oauth_token "$(value_of CLAUDE_CODE_OAUTH_TOKEN)"$'\n'
    cluster=$(value_of CLUSTER_TOKEN)
    if [[ -n $cluster ]]; then
        change_cluster_token "$cluster"
    elif [[ -n $(newest_secret cluster_token) ]]; then
        use_secret cluster_token "$(newest_secret cluster_token)"
    else
        prepare_secret cluster_token "$(random_token)"
    fi
    export ONESHIFT_SECRET_CLUSTER_TOKEN_ALSO=$ONESHIFT_SECRET_CLUSTER_TOKEN
}

git_credentials() {
    local file
    file=$(value_of GIT_CREDENTIALS_FILE)
    if [[ -n $file ]]; then
        cat "$file"
    else
        value_of GIT_CREDENTIALS
    fi
}

# Secrets that no deployment needs any more; Docker itself refuses to remove one in use.
remove_old_secrets() {
    local name secret
    for name in "${!secret_name[@]}"; do
        while read -r secret; do
            [[ $secret == "${secret_name[$name]}" ]] || docker secret rm "$secret" >/dev/null 2>&1 || true
        done < <(docker secret ls --filter "label=oneshift.secret=$stack/$name" --format '{{.Name}}')
    done
}

# Goes over to another cluster token in three rounds, so that at no time anybody shows a token that
# somebody else does not accept yet. Workers that still do a job are waited for.
change_cluster_token() {
    local old
    old=$(newest_secret cluster_token)
    prepare_secret cluster_token "$1"
    local new=${secret_name[cluster_token]}
    [[ -n $old && $old != "$new" ]] && is_deployed || return 0
    say "changing the cluster's token from $old to $new"
    export ONESHIFT_SECRET_CLUSTER_TOKEN=$old ONESHIFT_SECRET_CLUSTER_TOKEN_ALSO=$new
    roll_out && wait_for_old_workers
    export ONESHIFT_SECRET_CLUSTER_TOKEN=$new ONESHIFT_SECRET_CLUSTER_TOKEN_ALSO=$old
    roll_out && wait_for_old_workers
    export ONESHIFT_SECRET_CLUSTER_TOKEN=$new
}

wait_for_old_workers() {
    local service
    [[ $dry_run == no ]] || return 0
    for service in $(stack_services); do
        while docker service ps --filter desired-state=shutdown --format '{{.CurrentState}}' "$service" \
            | grep --quiet '^Running'; do
            sleep 1
        done
    done
}
