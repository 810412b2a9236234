#!/bin/bash
# Prepares this machine for the lab (packages, Python environment) and runs one command of it. Silent when all is there.
#   lab/setup.sh up|start|down|env|build [options]     the lab
#   lab/setup.sh exec PROGRAM [arguments]              a program of the Python environment (pytest, ruff, ...)
set -euo pipefail

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${SALTERN_CACHE:-/var/cache/saltern}
requirements=("$checkout"/requirements/{product,lab,test}.txt)

die() {
    echo "lab: $*" >&2
    exit 1
}

check_machine() {
    local remedy="Type: sudo make $1"
    case $1 in
    start) remedy="Type: sudo make lab-start" ;;
    exec) remedy="Type the same again as root" ;; # one of several make targets, or none
    esac
    [ "$(id -u)" -eq 0 ] || die "not root: the lab makes namespaces, mounts and cgroups. $remedy"
    local id="" version=""
    [ -r /etc/os-release ] && id=$(. /etc/os-release && echo "${ID:-}") && version=$(. /etc/os-release && echo "${VERSION_ID:-}")
    [ "$id $version" = "debian 12" ] || die "this is ${id:-an unknown system} ${version:-}, the lab needs Debian 12." \
        "For a real Proxmox VE from any machine with Python 3.11: docs/production.md"
}

missing_packages() {
    local wanted
    mapfile -t wanted < <(grep -v '^#' "$checkout/requirements/debian.txt")
    comm -23 <(printf '%s\n' "${wanted[@]}" | sort) \
        <(dpkg-query --show --showformat '${db:Status-Status} ${Package}\n' "${wanted[@]}" 2>/dev/null |
            sed -n 's/^installed //p' | sort)
}

# Debian starts what it installs. The lab runs its own instances in its own network: nothing may listen on this machine.
install_packages() {
    local missing guard=/usr/sbin/policy-rc.d guarded=""
    mapfile -t missing < <(missing_packages)
    [ ${#missing[@]} -gt 0 ] || return 0
    echo "lab: installing ${#missing[@]} Debian packages: ${missing[*]}" >&2
    if [ ! -e "$guard" ]; then
        guarded=yes
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$guard"
        chmod 0755 "$guard"
    fi
    local log
    log=$(mktemp)
    { apt-get --quiet update && DEBIAN_FRONTEND=noninteractive apt-get --quiet --yes --no-install-recommends install "${missing[@]}"; } \
        >"$log" 2>&1 || die "apt could not install ${missing[*]}: $(tail -n 3 "$log" | tr '\n' ' ')(all of it: $log)"
    rm -f "$log"
    [ -z "$guarded" ] || rm -f "$guard"
    trap - EXIT
    local package unit
    for package in "${missing[@]}"; do
        case $package in
        nginx-light) unit=nginx.service ;;
        docker-registry) unit=docker-registry.service ;;
        haproxy) unit=haproxy.service ;;
        *) continue ;;
        esac
        systemctl --quiet --root=/ disable "$unit"
    done
}

python_command() {
    local python
    python=$(command -v python3) || die "python3 is missing: apt-get install python3 python3-venv"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "$python is older than Python 3.11: put a newer python3 first in PATH"
    echo "$python"
}

# The environment is named by what goes into it; a file in it says that it is complete.
ensure_environment() {
    local python=$1 environment=$2
    [ ! -e "$environment/complete" ] || return 0
    mkdir -p "$cache"
    exec 9>"$cache/.venv.lock"
    flock 9
    if [ ! -e "$environment/complete" ]; then
        echo "lab: making the Python environment (once, a minute or two)" >&2
        rm -rf "$environment"
        "$python" -m venv "$environment"
        "$environment/bin/pip" install --quiet --disable-pip-version-check "${requirements[@]/#/--requirement=}" ||
            die "pip could not install the pinned packages: see above; then type the command again"
        touch "$environment/complete"
    fi
    exec 9>&-
}

environment_name() {
    { "$1" --version && cat "${requirements[@]}"; } | sha256sum | cut -c 1-12
}

# What ends or only shows a lab needs no set-up: any environment that an earlier command has made will do.
existing_environment() {
    local newest
    [ -e "$1/complete" ] && echo "$1" && return
    newest=$(find "$cache" -mindepth 2 -maxdepth 2 -path "$cache/venv-*" -name complete -printf '%T@ %h\n' 2>/dev/null |
        sort -rn | head -n 1 | cut -d ' ' -f 2-)
    echo "$newest"
}

main() {
    [ $# -gt 0 ] || die "which command? up, start, down, env, build, or exec PROGRAM"
    local python environment
    case $1 in
    down | env)
        environment=$(existing_environment "$cache/venv-$(environment_name "$(python_command)")")
        if [ -z "$environment" ]; then
            [ "$1" = down ] || die "there is no lab: type make up"
            echo "lab: there was none" >&2
            exit 0
        fi
        ;;
    *)
        check_machine "$1"
        install_packages
        python=$(python_command)
        environment=$cache/venv-$(environment_name "$python")
        ensure_environment "$python" "$environment"
        ;;
    esac
    export PYTHONPATH="$checkout" PYTHONDONTWRITEBYTECODE=1
    if [ "$1" = exec ]; then
        local program=$2
        shift 2
        exec env PATH="$environment/bin:$PATH" "$program" "$@"
    fi
    exec "$environment/bin/python" -m lab "$@"
}

main "$@"
