#!/bin/sh
# systemd of a simulated node: every unit that is asked for is there, enabled and active, and nothing has to be done
# to have it so. Nothing else is answered.
set -eu
properties=
units=
wanted=
for word in "$@"; do
    case $word in
        show | --no-pager | --property) ;;
        --version) exec echo "systemd 252 (simulated)" ;;
        start | restart | reload | enable | daemon-reload) exit 0 ;;
        --property=*) properties=${word#--property=} ;;
        *.service | *.mount | *.swap) units="$units $word" ;;
        *,*) properties=$word ;;
        *)
            echo "systemctl of a simulated node: $word is not simulated" >&2
            exit 1
            ;;
    esac
done
value() {
    case $1 in
        Id) echo "$2" ;;
        LoadState) echo loaded ;;
        ActiveState) echo active ;;
        SubState) echo running ;;
        UnitFileState) echo enabled ;;
        NeedDaemonReload) echo no ;;
        ConditionResult) echo yes ;;
        ConditionTimestampMonotonic) echo 1000000 ;;
        MainPID) echo 0 ;;
        *) echo ;;
    esac
}
for unit in $units; do
    [ -z "$wanted" ] || echo
    wanted=yes
    echo "$properties" | tr , '\n' | while read -r property; do
        echo "$property=$(value "$property" "$unit")"
    done
done
