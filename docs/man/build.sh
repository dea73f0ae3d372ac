#!/bin/sh
# Makes the man pages. usage: build.sh COMMANDS_REFERENCE SETTINGS_MD OUTPUT_FOLDER
# The commands come from the command table, the settings from docs/settings.md, which comes from its own.
set -eu
here=$(dirname "$0")
mkdir -p "$3"
"$1" --man > "$3/commands.scd"
awk -F ' [|] ' '/^#/ && !/^# / { gsub(/`/, ""); sub(/^#+ /, ""); printf "## %s\n\n", $0 }
/^[|] `/ {
    name = $1; gsub(/[|` ]/, "", name); usual = $3; gsub(/`/, "", usual); text = $5; sub(/ [|]$/, "", text); gsub(/`/, "", text)
    allowed = $4; gsub(/`/, "", allowed)
    line = $2 (usual != "" ? ", default " usual : "") (allowed != "" && allowed !~ /^ *$/ ? ", " allowed : "") ": " text
    gsub(/[\\_*#]/, "\\\\&", line); gsub(/_/, "\\_", name)
    printf "*%s*\n\t%s\n\n", name, line
}' "$2" > "$3/settings.scd"
fill() { # TEMPLATE PART: the template with its mark replaced
    awk -v part="$2" '/^@GENERATED@$/ { while ((getline line < part) > 0) print line; next } { print }' "$1"
}
scdoc < "$here/shuntd.8.scd" > "$3/shuntd.8"
scdoc < "$here/shunt.7.scd" > "$3/shunt.7"
fill "$here/shuntctl.1.scd.in" "$3/commands.scd" | scdoc > "$3/shuntctl.1"
fill "$here/shunt.conf.5.scd.in" "$3/settings.scd" | scdoc > "$3/shunt.conf.5"
