# bash completion for shuntctl, made from the command table.
# Names as status shows them: 0 groups alone, 1 services, 2 SERVICE/GROUP, 3 SERVICE/GROUP/BACKEND.
_shuntctl_places() {
    LC_ALL=C.UTF-8 shuntctl "${to[@]}" status 2>/dev/null | awk -v depth="$1" '
        # only what needs no quotes is offered
        function tell(level, text) { if (level == depth && text !~ /[^][A-Za-z0-9._:\/@%-]/) print text }
        /^(├─|└─) / { group = $2; tell(0, group); tell(2, service "/" group); next }
        /^│  (├─|└─) / { tell(3, service "/" group "/" $3); next }
        /^   (├─|└─) / { tell(3, service "/" group "/" $2); next }
        /^[^ ]+ .* share=/ { service = $1; tell(1, service) }'
}
_shuntctl() {
    local line=${COMP_LINE:0:COMP_POINT} words="" at=1 names
    local -a typed to=()
    read -ra typed <<< "$line"
    case $line in *[[:blank:]]) typed+=("") ;; esac
    local last=$((${#typed[@]} - 1))
    local word=${typed[last]}
    while [ "$at" -lt "$last" ]; do
        case ${typed[at]} in
        -s) to=(-s "${typed[at + 1]}"); at=$((at + 2)) ;;
        -s?*) to=("${typed[at]}"); at=$((at + 1)) ;;
        --json) at=$((at + 1)) ;;
        *) break ;;
        esac
    done
    names="help status start share pause resume skip abort commit plan wait report watch events top check backend weight connections kill reload upgrade log-level show"
    if [ "${typed[last - 1]}" = -s ]; then
        COMPREPLY=($(compgen -f -- "$word"))
        return
    fi
    if [ "$last" -le "$at" ]; then
        words="-s --json $names"
    else
        case ${typed[at]} in
        help) words="$names --json" ;;
        status) words="$(_shuntctl_places 1) --json" ;;
        start) words="$(_shuntctl_places 1) $(_shuntctl_places 0) to from-share force reason" ;;
        share) words="$(_shuntctl_places 1) reason" ;;
        pause) words="$(_shuntctl_places 1) reason" ;;
        resume) words="$(_shuntctl_places 1) from-share reason" ;;
        skip) words="$(_shuntctl_places 1) reason" ;;
        abort) words="$(_shuntctl_places 1) reason" ;;
        commit) words="$(_shuntctl_places 1) reason" ;;
        plan) words="$(_shuntctl_places 1) $(_shuntctl_places 0) to --json" ;;
        wait) words="$(_shuntctl_places 1) --json" ;;
        report) words="$(_shuntctl_places 1) --json" ;;
        watch) words="$(_shuntctl_places 1) --json" ;;
        events) words="$(_shuntctl_places 1) --json" ;;
        top) words="$(_shuntctl_places 1) --at --last --step --json" ;;
        check) words="$(_shuntctl_places 3) --json" ;;
        backend) words="$(_shuntctl_places 3) ready drain maint force-up force-down auto reason" ;;
        weight) words="$(_shuntctl_places 3) reason" ;;
        connections) words="$(_shuntctl_places 1) --older --idle --client --backend --limit backend client group --count-by --json" ;;
        kill) words="$(_shuntctl_places 2) $(_shuntctl_places 3) --older --idle --client --rate reason" ;;
        reload) words=" reason" ;;
        upgrade) words=" reason" ;;
        log-level) words=" debug info warn error reason" ;;
        show) words=" settings metrics version confinement --json" ;;
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    case $COMP_WORDBREAKS in *:*) COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*:}"}"}") ;; esac
}
complete -F _shuntctl shuntctl
