"""
Have HAProxy send servers nothing new before they go, for a while that ends by itself.

HAProxy's state "drain" (management guide, 9.3: "set server ... state"): connections that are open stay, new ones go to
other servers. No configuration shows it, so no state would mend what a run that was killed left. Hence each drain has a
keeper, a unit of its own (``systemctl list-units 'saltern-drain-*'``): when it ends, whatever ended it, the server may
have connections again, if its checks say that it is well. A reload of HAProxy ends a drain, too.
"""

import sys

from salt.exceptions import CommandExecutionError

# How long one lasts. It has to outlive the time between the order and the moment at which HAProxy's checks have found
# the server gone: a restart waits up to a minute for its answer to leave (os_restart.ANSWER_S), a container is given
# half a minute to end.
HOLD_S = 180
UNIT = "saltern-drain-{}.service"
NOT_LOADED = 5  # systemctl(1), exit status of stop: there is no such unit
WELL = ("UP", "no check")
# Arguments: HAProxy's socket, seconds, the command that ends the drain.
KEEPER = """\
import signal, socket, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
path, hold_s, command = sys.argv[1:]
try:
    time.sleep(float(hold_s))
finally:
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(5)
        line.connect(path)
        line.sendall(f"{command}\\n".encode())
        line.recv(1024)
"""


def drain(socket_path, names, hold_s=HOLD_S):
    """
    Have the running HAProxy send servers no new connections, unless nobody else of their backend is up.

    A server that is down already, or that somebody has drained by hand, is left as it is.

    socket_path
        HAProxy's statistics socket.

    names
        The servers, of whatever backends.

    hold_s
        Seconds until they are sent connections again by themselves.

    Returns ``{name: what was done}``.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-ha-01 haproxy_drain.drain /run/haproxy-stats.sock '[saw-k8s-m-01]'
    """
    # The end of an earlier drain must not be that of this one.
    __salt__["haproxy_drain.resume"](socket_path, names)
    found = __salt__["haproxy.servers"](socket_path)
    return {name: _drain(socket_path, name, found, names, hold_s) for name in names}


def _drain(socket_path, name, found, leaving, hold_s):
    rows = [row for row in found if row["server"] == name]
    chosen = [row for row in rows if _is_well(row) and _others(row, found, leaving)]
    if chosen:
        _hold(socket_path, name, chosen, hold_s)
    told = [
        f"{row['backend']}: "
        + (f"sent nothing new for {hold_s} s" if row in chosen else f"is {row['status']}, and nobody else is up")
        if _is_well(row)
        else f"{row['backend']}: is {row['status']}, left as it is"
        for row in rows
    ]
    return "; ".join(told) or "is no server of it"


def _is_well(row):
    return row["status"].startswith(WELL)


def _others(row, found, leaving):
    """Who has a server's connections instead."""
    return [
        other["server"]
        for other in found
        if other["backend"] == row["backend"] and other["server"] not in leaving and _is_well(other)
    ]


def _hold(socket_path, name, rows, hold_s):
    """First the keeper, then the drain: what dies in between leaves none without an end."""
    unit, program = UNIT.format(name), [sys.executable, "-SEc", KEEPER, str(socket_path), str(hold_s)]
    # One that is killed, or finds no HAProxy, begins anew.
    how = ["--quiet", "--collect", "--property=Restart=on-failure", f"--unit={unit}"]
    argv = ["systemd-run", *how, *program, _command(rows, "ready")]
    done = __salt__["cmd.run_all"](argv, python_shell=False, ignore_retcode=True)
    if done["retcode"]:
        said = done["stderr"] or done["stdout"]
        raise CommandExecutionError(f"{__opts__['id']}: {name} was not drained: systemd-run: {said}")
    try:
        _tell(socket_path, rows, "drain")
    except CommandExecutionError:
        __salt__["haproxy_drain.resume"](socket_path, [name])
        raise


def _command(rows, state):
    """What HAProxy has to be told: commands are separated by semicolons."""
    return "; ".join(f"set server {row['backend']}/{row['server']} state {state}" for row in rows)


def _tell(socket_path, rows, state):
    """HAProxy answers nothing when it has done so."""
    said = " ".join(__salt__["haproxy.ask"](socket_path, _command(rows, state)).split())
    if said:
        raise CommandExecutionError(
            f"{__opts__['id']}: HAProxy does not set {rows[0]['server']} to {state}: {said} "
            f"(a configuration of before servers could be drained is renewed by: salt {__opts__['id']} state.apply "
            "haproxy)"
        )


def resume(socket_path, names):
    """
    End drains of ours before their time; what somebody has drained by hand stays so.

    socket_path
        HAProxy's statistics socket.

    names
        The servers.

    Returns the names of those that had been drained.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-ha-01 haproxy_drain.resume /run/haproxy-stats.sock '[saw-k8s-m-01]'
    """
    held = [name for name in names if _stop(UNIT.format(name))]
    # The keepers have said so already, unless they were stopped before they listened to signals.
    rows = [row for row in __salt__["haproxy.servers"](socket_path) if row["server"] in held] if held else []
    drained = [row for row in rows if row["status"].startswith("DRAIN")]
    if drained:
        _tell(socket_path, drained, "ready")
    return held


def _stop(unit):
    """Stop a keeper. Returns whether there was one."""
    done = __salt__["cmd.run_all"](["systemctl", "stop", unit], python_shell=False, ignore_retcode=True)
    if done["retcode"] not in (0, NOT_LOADED):
        said = done["stderr"] or done["stdout"]
        raise CommandExecutionError(f"{__opts__['id']}: systemctl stop {unit}: {said}")
    return not done["retcode"]
