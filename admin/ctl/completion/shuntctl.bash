# bash completion for shuntctl, made from the command table.
_shuntctl() {
    local word=${COMP_WORDS[COMP_CWORD]} words="" at=1
    [ "${COMP_WORDS[1]}" = -s ] && at=3
    if [ "$COMP_CWORD" -le "$at" ]; then
        words="-s help status start share pause resume skip abort commit plan wait report watch events top check backend weight connections kill reload upgrade log-level show"
    else
        case ${COMP_WORDS[$at]} in
        help) words=" --json" ;;
        status) words="$(_shuntctl_services) --json" ;;
        start) words="$(_shuntctl_services) to from-share reason" ;;
        share) words="$(_shuntctl_services) reason" ;;
        pause) words="$(_shuntctl_services) reason" ;;
        resume) words="$(_shuntctl_services) from-share reason" ;;
        skip) words="$(_shuntctl_services) reason" ;;
        abort) words="$(_shuntctl_services) reason" ;;
        commit) words="$(_shuntctl_services) reason" ;;
        plan) words="$(_shuntctl_services) to --json" ;;
        wait) words="$(_shuntctl_services) --json" ;;
        report) words="$(_shuntctl_services) --json" ;;
        watch) words="$(_shuntctl_services) --json" ;;
        events) words="$(_shuntctl_services) --json" ;;
        top) words="$(_shuntctl_services) --at --last --step --json" ;;
        check) words=" --json" ;;
        backend) words=" ready drain maint force-up force-down auto reason" ;;
        weight) words=" reason" ;;
        connections) words="$(_shuntctl_services) --older --idle --client --backend --limit backend client group --count-by --json" ;;
        kill) words=" --older --idle --client --rate reason" ;;
        reload) words=" reason" ;;
        upgrade) words=" reason" ;;
        log-level) words=" debug info warn error reason" ;;
        show) words=" settings metrics version confinement --json" ;;
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}
_shuntctl_services() { shuntctl status 2>/dev/null | sed -n 's/^\([^ ]*\) .* share=.*/\1/p'; }
complete -F _shuntctl shuntctl
