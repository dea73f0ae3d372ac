#compdef shuntctl
# zsh completion for shuntctl, made from the command table.
local -a commands services
commands=(
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
if (( CURRENT == 2 )); then
    _describe command commands
    return
fi
services=(${(f)"$(shuntctl status 2>/dev/null | sed -n 's/^\([^ ]*\) .* share=.*/\1/p')"})
case $words[2] in
help) compadd -- --json ;;
status) compadd -- $services --json ;;
start) compadd -- $services to from-share force reason ;;
share) compadd -- $services reason ;;
pause) compadd -- $services reason ;;
resume) compadd -- $services from-share reason ;;
skip) compadd -- $services reason ;;
abort) compadd -- $services reason ;;
commit) compadd -- $services reason ;;
plan) compadd -- $services to --json ;;
wait) compadd -- $services --json ;;
report) compadd -- $services --json ;;
watch) compadd -- $services --json ;;
events) compadd -- $services --json ;;
top) compadd -- $services --at --last --step --json ;;
check) compadd -- --json ;;
backend) compadd -- ready drain maint force-up force-down auto reason ;;
weight) compadd -- reason ;;
connections) compadd -- $services --older --idle --client --backend --limit backend client group --count-by --json ;;
kill) compadd -- --older --idle --client --rate reason ;;
reload) compadd -- reason ;;
upgrade) compadd -- reason ;;
log-level) compadd -- debug info warn error reason ;;
show) compadd -- settings metrics version confinement --json ;;
esac
