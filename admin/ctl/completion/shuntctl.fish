# fish completion for shuntctl, made from the command table.
# Names as status shows them: 0 groups alone, 1 services, 2 SERVICE/GROUP, 3 SERVICE/GROUP/BACKEND.
function __shuntctl_places
    set -l typed (commandline -opc)
    set -l to (string match -- '-s?*' $typed)
    if set -l at (contains -i -- -s $typed); and test $at -lt (count $typed)
        set to -s $typed[(math $at + 1)]
    end
    LC_ALL=C.UTF-8 shuntctl $to status 2>/dev/null | awk -v depth=$argv[1] '
        # only what needs no quotes is offered
        function tell(level, text) { if (level == depth && text !~ /[^][A-Za-z0-9._:\/@%-]/) print text }
        /^(├─|└─) / { group = $2; tell(0, group); tell(2, service "/" group); next }
        /^│  (├─|└─) / { tell(3, service "/" group "/" $3); next }
        /^   (├─|└─) / { tell(3, service "/" group "/" $2); next }
        /^[^ ]+ .* share=/ { service = $1; tell(1, service) }'
end
function __shuntctl_names
    printf '%s\n' help status start share pause resume skip abort commit plan wait report watch events top check backend weight connections kill reload upgrade log-level show
end
# The command among the words before the cursor; nothing: there is none yet.
function __shuntctl_command
    set -l typed (commandline -opc)
    set -l at 2
    while test $at -le (count $typed)
        switch $typed[$at]
            case -s
                set at (math $at + 2)
            case '-s*' --json
                set at (math $at + 1)
            case '*'
                echo $typed[$at]
                return
        end
    end
end
function __shuntctl_at
    set -l found (__shuntctl_command)
    test "$found" = "$argv[1]"
end
complete -c shuntctl -f
complete -c shuntctl -s s -r -F -d 'the admin socket'
complete -c shuntctl -n '__shuntctl_at ""' -l json -d 'JSON instead of text'
complete -c shuntctl -n '__shuntctl_at ""' -a help -d 'lists the commands, or explains one'
complete -c shuntctl -n '__shuntctl_at help' -a '(__shuntctl_names) --json'
complete -c shuntctl -n '__shuntctl_at ""' -a status -d 'everything at a glance'
complete -c shuntctl -n '__shuntctl_at status' -a '(__shuntctl_places 1) --json'
complete -c shuntctl -n '__shuntctl_at ""' -a start -d 'begins a migration by the service'\''s plan'
complete -c shuntctl -n '__shuntctl_at start' -a '(__shuntctl_places 1) (__shuntctl_places 0) to from-share force reason'
complete -c shuntctl -n '__shuntctl_at ""' -a share -d 'sets the share of new connections by hand'
complete -c shuntctl -n '__shuntctl_at share' -a '(__shuntctl_places 1) reason'
complete -c shuntctl -n '__shuntctl_at ""' -a pause -d 'freezes the plan where it is'
complete -c shuntctl -n '__shuntctl_at pause' -a '(__shuntctl_places 1) reason'
complete -c shuntctl -n '__shuntctl_at ""' -a resume -d 'goes on with a paused plan'
complete -c shuntctl -n '__shuntctl_at resume' -a '(__shuntctl_places 1) from-share reason'
complete -c shuntctl -n '__shuntctl_at ""' -a skip -d 'ends the present hold and takes the next step now'
complete -c shuntctl -n '__shuntctl_at skip' -a '(__shuntctl_places 1) reason'
complete -c shuntctl -n '__shuntctl_at ""' -a abort -d 'rolls the migration back at once'
complete -c shuntctl -n '__shuntctl_at abort' -a '(__shuntctl_places 1) reason'
complete -c shuntctl -n '__shuntctl_at ""' -a commit -d 'ends a migration that waits for it'
complete -c shuntctl -n '__shuntctl_at commit' -a '(__shuntctl_places 1) reason'
complete -c shuntctl -n '__shuntctl_at ""' -a plan -d 'dry run: the steps, how long they take, what would stand in the way'
complete -c shuntctl -n '__shuntctl_at plan' -a '(__shuntctl_places 1) (__shuntctl_places 0) to --json'
complete -c shuntctl -n '__shuntctl_at ""' -a wait -d 'answers when the migration is completed, rolled back or paused'
complete -c shuntctl -n '__shuntctl_at wait' -a '(__shuntctl_places 1) --json'
complete -c shuntctl -n '__shuntctl_at ""' -a report -d 'the whole story of a migration, from the journal'
complete -c shuntctl -n '__shuntctl_at report' -a '(__shuntctl_places 1) --json'
complete -c shuntctl -n '__shuntctl_at ""' -a watch -d 'follows what happens, one line a change'
complete -c shuntctl -n '__shuntctl_at watch' -a '(__shuntctl_places 1) --json'
complete -c shuntctl -n '__shuntctl_at ""' -a events -d 'what happened, who asked, why'
complete -c shuntctl -n '__shuntctl_at events' -a '(__shuntctl_places 1) --json'
complete -c shuntctl -n '__shuntctl_at ""' -a top -d 'what each group did, second by second, within the last hour'
complete -c shuntctl -n '__shuntctl_at top' -a '(__shuntctl_places 1) --at --last --step --json'
complete -c shuntctl -n '__shuntctl_at ""' -a check -d 'checks one backend now and shows what was said'
complete -c shuntctl -n '__shuntctl_at check' -a '(__shuntctl_places 3) --json'
complete -c shuntctl -n '__shuntctl_at ""' -a backend -d 'sets the operator state of one backend'
complete -c shuntctl -n '__shuntctl_at backend' -a '(__shuntctl_places 3) ready drain maint force-up force-down auto reason'
complete -c shuntctl -n '__shuntctl_at ""' -a weight -d 'sets the weight of one backend'
complete -c shuntctl -n '__shuntctl_at weight' -a '(__shuntctl_places 3) reason'
complete -c shuntctl -n '__shuntctl_at ""' -a connections -d 'lists the open connections, or counts them'
complete -c shuntctl -n '__shuntctl_at connections' -a '(__shuntctl_places 1) --older --idle --client --backend --limit backend client group --count-by --json'
complete -c shuntctl -n '__shuntctl_at ""' -a kill -d 'closes one connection, or all that are meant'
complete -c shuntctl -n '__shuntctl_at kill' -a '(__shuntctl_places 2) (__shuntctl_places 3) --older --idle --client --rate reason'
complete -c shuntctl -n '__shuntctl_at ""' -a reload -d 'reads the configuration again, all of it or nothing'
complete -c shuntctl -n '__shuntctl_at reload' -a ' reason'
complete -c shuntctl -n '__shuntctl_at ""' -a upgrade -d 'replaces the running program by the one in its file now'
complete -c shuntctl -n '__shuntctl_at upgrade' -a ' reason'
complete -c shuntctl -n '__shuntctl_at ""' -a log-level -d 'sets the least important log lines that are written'
complete -c shuntctl -n '__shuntctl_at log-level' -a ' debug info warn error reason'
complete -c shuntctl -n '__shuntctl_at ""' -a show -d 'shows what is in force now'
complete -c shuntctl -n '__shuntctl_at show' -a ' settings metrics version confinement --json'
