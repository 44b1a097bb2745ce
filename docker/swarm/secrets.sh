# shellcheck shell=bash disable=SC2154,SC2034,SC2004 # deploy-swarm.sh declares the variables
# Part of deploy-swarm.sh: what becomes Docker secrets, versioned.

random_token() { head -c 32 /dev/urandom | sha256sum | cut -d ' ' -f 1; }

# Notes all secrets of all stacks: a label says whose and which one each is a version of.
list_secrets() {
    [[ $has_swarm == yes ]] || return 0
    listed_secrets=$(docker secret ls --format '{{.Label "oneshift.secret"}} {{.Name}}') \
        || fail "the swarm's secrets cannot be listed"
}

# The noted versions of a secret, the newest first: their names end with the time.
versions_of_secret() {
    awk -v secret="$stack/$1" '$1 == secret { print $2 }' <<<"$listed_secrets" | sort -r
}

# Whether a secret has this content. Docker never shows it, so its salted hash is a label.
has_content() {
    local salt print
    read -r salt print < <(docker secret inspect --format \
        '{{index .Spec.Labels "oneshift.salt"}} {{index .Spec.Labels "oneshift.print"}}' "$1")
    [[ $print == "$(printf '%s%s' "$salt" "$2" | sha256sum | cut -d ' ' -f 1)" ]]
}

# Makes a new version of a secret unless one has this content already; a secret in use cannot be
# changed. Notes its name for swarm.yml.
prepare_secret() {
    local name=$1 content=$2 version salt
    for version in ${in_use[$name]:-} $(versions_of_secret "$name"); do
        if has_content "$version" "$content"; then
            use_secret "$name" "$version"
            return
        fi
    done
    version=${stack}_${name}_$(date -u +%Y%m%d%H%M%S%3N)
    if [[ $dry_run == yes ]]; then
        say "would create the secret $version"
    else
        salt=$(random_token)
        printf '%s' "$content" | docker secret create \
            --label "oneshift.secret=$stack/$name" --label "oneshift.salt=$salt" \
            --label "oneshift.print=$(printf '%s%s' "$salt" "$content" | sha256sum | cut -d ' ' -f 1)" \
            "$version" - >/dev/null
    fi
    use_secret "$name" "$version"
}

use_secret() {
    secret_name[$1]=$2
    export "ONESHIFT_SECRET_${1^^}=$2"
}

# Keeps a secret of which nothing is said: the one in use, else what an earlier try has made.
keep_secret() {
    local version
    version=${in_use[$1]:-$(versions_of_secret "$1" | sed -n 1p)}
    [[ -n $version ]] || return 1
    use_secret "$1" "$version"
}

# Notes which secrets the services have now, by the names of their files; the gateway's count first.
note_secrets_in_use() {
    local service file secret
    for service in "${stack}_gateway" $(stack_services); do
        while read -r file secret; do
            [[ -z $file || -v "in_use[$file]" ]] || in_use[$file]=$secret
        done < <(docker service inspect --format \
            '{{range .Spec.TaskTemplate.ContainerSpec.Secrets}}{{println .File.Name .SecretName}}{{end}}' \
            "$service" 2>/dev/null)
    done
}

prepare_secrets() {
    local name
    list_secrets
    [[ $has_swarm == no ]] || note_secrets_in_use
    prepare_tokens
    # A secret cannot be empty; a line break counts as not set.
    if is_mentioned GIT_CREDENTIALS_FILE || is_mentioned GIT_CREDENTIALS || ! keep_secret git_credentials; then
        prepare_secret git_credentials "$(git_credentials)"$'\n'
    fi
    for name in ANTHROPIC_API_KEY CLAUDE_CODE_OAUTH_TOKEN; do
        is_mentioned "$name" || ! keep_secret "${name,,}" || continue
        prepare_secret "${name,,}" "$(value_of "$name")"$'\n'
    done
    prepare_cluster_token
}

# The callers' tokens; the first one is made up, and shown at once, lest a failure swallow it.
prepare_tokens() {
    local token
    if [[ -n $(path_of TOKENS_FILE) ]]; then
        prepare_secret tokens "$(<"$(path_of TOKENS_FILE)")"
    elif ! keep_secret tokens; then
        token=$(random_token)
        prepare_secret tokens "$(printf '[{"name":"admin","tokenSha256":"%s","scopes":["admin"]}]' \
            "$(printf '%s' "$token" | sha256sum | cut -d ' ' -f 1)")"
        [[ $dry_run == no ]] || return 0
        say "The token for callers, shown this once:"
        printf '%s\n' "$token"
    fi
}

prepare_cluster_token() {
    local token also
    token=$(value_of CLUSTER_TOKEN)
    if [[ -n $token ]]; then
        prepare_secret cluster_token "$token"
        old_cluster_token=${in_use[cluster_token]:-}
        [[ $old_cluster_token != "${secret_name[cluster_token]}" ]] || old_cluster_token=''
    elif ! keep_secret cluster_token; then
        prepare_secret cluster_token "$(random_token)"
    fi
    # A token that nobody has: of two files with the same secret docker deploys now the one and now the
    # other first, and in another order they make another container.
    also=$(versions_of_secret cluster_token_also | sed -n 1p)
    if [[ -n $also ]]; then
        use_secret cluster_token_also "$also"
    else
        prepare_secret cluster_token_also "$(random_token)"
    fi
}

git_credentials() {
    local file
    file=$(path_of GIT_CREDENTIALS_FILE)
    if [[ -n $file ]]; then
        cat "$file"
    else
        value_of GIT_CREDENTIALS
    fi
}

# Secrets that no service needs any more, nor what a service would go back to: Docker refuses to remove
# one in use, but does not think of rollbacks.
remove_old_secrets() {
    local name version needed
    list_secrets
    needed=$(stack_services | xargs docker service inspect)
    for name in "${secrets[@]}"; do
        for version in $(versions_of_secret "$name"); do
            [[ $version == "${secret_name[$name]}" || $needed =~ ${version}[^0-9] ]] \
                || docker secret rm "$version" >/dev/null 2>&1 || true
        done
    done
}
