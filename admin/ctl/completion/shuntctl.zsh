#compdef shuntctl
# zsh completion for shuntctl, made from the command table.
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
local -a known to
local at=2
to=()
known=(
    'help:lists the commands, or explains one'
    'status:everything at a glance'
    'start:begins a migration by the service'\''s plan'
    'share:sets the share of new connections by hand'
    'pause:freezes the plan where it is'
    'resume:goes on with a paused plan'
    'skip:ends the present hold and takes the next step now'
    'abort:rolls the migration back at once'
    'commit:ends a migration that waits for it'
    'plan:dry run: the steps, how long they take, what would stand in the way'
    'wait:answers when the migration is completed, rolled back or paused'
    'report:the whole story of a migration, from the journal'
    'watch:follows what happens, one line a change'
    'events:what happened, who asked, why'
    'top:what each group did, second by second, within the last hour'
    'check:checks one backend now and shows what was said'
    'backend:sets the operator state of one backend'
    'weight:sets the weight of one backend'
    'connections:lists the open connections, or counts them'
    'kill:closes one connection, or all that are meant'
    'reload:reads the configuration again, all of it or nothing'
    'upgrade:replaces the running program by the one in its file now'
    'log-level:sets the least important log lines that are written'
    'show:shows what is in force now'
)
while (( at < CURRENT )); do
    case $words[at] in
    -s) to=(-s "${(Q)words[at + 1]}"); (( at += 2 )) ;;
    -s?*) to=("${(Q)words[at]}"); (( at += 1 )) ;;
    --json) (( at += 1 )) ;;
    *) break ;;
    esac
done
if [[ $words[CURRENT-1] == -s ]]; then
    _files
    return
fi
if (( CURRENT <= at )); then
    _describe command known
    compadd -- -s --json
    return
fi
case $words[at] in
help) compadd -- ${known%%:*} --json ;;
status) compadd -- $(_shuntctl_places 1) --json ;;
start) compadd -- $(_shuntctl_places 1) $(_shuntctl_places 0) to from-share force reason ;;
share) compadd -- $(_shuntctl_places 1) reason ;;
pause) compadd -- $(_shuntctl_places 1) reason ;;
resume) compadd -- $(_shuntctl_places 1) from-share reason ;;
skip) compadd -- $(_shuntctl_places 1) reason ;;
abort) compadd -- $(_shuntctl_places 1) reason ;;
commit) compadd -- $(_shuntctl_places 1) reason ;;
plan) compadd -- $(_shuntctl_places 1) $(_shuntctl_places 0) to --json ;;
wait) compadd -- $(_shuntctl_places 1) --json ;;
report) compadd -- $(_shuntctl_places 1) --json ;;
watch) compadd -- $(_shuntctl_places 1) --json ;;
events) compadd -- $(_shuntctl_places 1) --json ;;
top) compadd -- $(_shuntctl_places 1) --at --last --step --json ;;
check) compadd -- $(_shuntctl_places 3) --json ;;
backend) compadd -- $(_shuntctl_places 3) ready drain maint force-up force-down auto reason ;;
weight) compadd -- $(_shuntctl_places 3) reason ;;
connections) compadd -- $(_shuntctl_places 1) --older --idle --client --backend --limit backend client group --count-by --json ;;
kill) compadd -- $(_shuntctl_places 2) $(_shuntctl_places 3) --older --idle --client --rate reason ;;
reload) compadd --  reason ;;
upgrade) compadd --  reason ;;
log-level) compadd --  debug info warn error reason ;;
show) compadd --  settings metrics version confinement --json ;;
esac
