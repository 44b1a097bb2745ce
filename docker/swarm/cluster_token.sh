# shellcheck shell=bash disable=SC2154,SC2034,SC2004 # deploy-swarm.sh declares the variables
# Part of deploy-swarm.sh: another token for the inside of a cluster that works.

# Goes over to the new token in three rounds, so that at no time anybody shows a token that somebody
# else does not accept yet. Workers that still do a job are waited for. The old token is the one in use,
# not the newest before: so a change that failed half-way is done again from its beginning.
change_cluster_token() {
    local old=$old_cluster_token new=${secret_name[cluster_token]} patience
    # A minute more, for the engine to do it.
    patience=$(($(longest_grace) + 60))
    say "changing the cluster's token from $old to $new, in three rounds"
    use_cluster_tokens "$old" "$new"
    roll_out "round 1 of the change of the cluster's token"
    await_old_workers
    use_cluster_tokens "$new" "$old"
    roll_out "round 2 of the change of the cluster's token"
    await_old_workers
    end_change
}

end_change() {
    use_cluster_tokens "${secret_name[cluster_token]}" "${secret_name[cluster_token_also]}"
    roll_out "round 3 of the change of the cluster's token"
    # Changes nothing but what Docker would go back to, which still accepts the old token.
    roll_out "the end of the change of the cluster's token"
}

# Whether an earlier change has come as far as its third round, and no further.
is_change_unfinished() {
    local also=${in_use[cluster_token_also]:-}
    [[ $also =~ ^${stack}_cluster_token_[0-9]+$ && $also != "${in_use[cluster_token]}" ]]
}

# The token that is shown, and the other one that is accepted.
use_cluster_tokens() { export ONESHIFT_SECRET_CLUSTER_TOKEN=$1 ONESHIFT_SECRET_CLUSTER_TOKEN_ALSO=$2; }

# Waits until the containers of the round before have ended: Swarm lets none live for longer than its
# grace. Only of a node that is down it does not know; nobody there does anything.
await_old_workers() {
    local seconds old said=''
    [[ $dry_run == no ]] || return 0
    for ((seconds = patience; seconds > 0; seconds--)); do
        if old=$(old_workers); then
            [[ -n $old ]] || return 0
            if [[ $old != "$said" ]]; then
                said=$old
                say "waiting, at most $seconds s, for workers that still have the token of before: ${old//$'\n'/, }"
            fi
        fi
        sleep 1
    done
    say "going on without them: Swarm has ended them by now, unless their node is down"
}

# The tasks that are to end and have not yet.
old_workers() {
    stack_services | xargs docker service ps --filter desired-state=shutdown \
        --format '{{.CurrentState}} {{.Name}}' | awk '$1 == "Running" { print $NF }' | sort
}

# How many seconds a worker may go on after it was told to stop, before this deployment or after it.
longest_grace() {
    local nanoseconds before
    nanoseconds=$(docker service inspect --format \
        '{{json .Spec.TaskTemplate.ContainerSpec.StopGracePeriod}}' "${stack}_claude-exec")
    before=$((${nanoseconds/null/0} / 1000000000))
    printf '%s' $((before > drain_seconds + 60 ? before : drain_seconds + 60))
}
