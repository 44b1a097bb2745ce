# shellcheck shell=bash disable=SC2154,SC2004 # deploy-swarm.sh declares the variables
# Part of deploy-swarm.sh: what the operator has set.

# Reads NAME=VALUE lines without executing anything of them. What the caller exported wins.
read_settings() {
    local line name value number=0
    [[ -e $env_file ]] || return 0
    [[ -r $env_file ]] || fail "$env_file cannot be read"
    while IFS= read -r line || [[ -n $line ]]; do
        number=$((number + 1))
        line=${line%$'\r'}
        [[ $line =~ ^[[:space:]]*(#.*)?$ ]] && continue
        [[ $line =~ ^[[:space:]]*(export[[:space:]]+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)$ ]] \
            || fail "$env_file, line $number: is not NAME=VALUE"
        name=${BASH_REMATCH[2]} value=${BASH_REMATCH[3]}
        value=${value#"${value%%[![:space:]]*}"}
        value=${value%"${value##*[![:space:]]}"}
        if [[ $value =~ ^\"(.*)\"$ || $value =~ ^\'(.*)\'$ ]]; then
            value=${BASH_REMATCH[1]}
        fi
        setting[$name]=$value
    done <"$env_file"
}

# A setting's value: of the caller's environment, else of the file.
value_of() {
    if [[ -n ${!1:-} ]]; then
        printf '%s' "${!1}"
    else
        printf '%s' "${setting[$1]:-}"
    fi
}
