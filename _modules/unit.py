"""systemd units: the facts of several in one call, and verbs.

Salt's own ``service`` module asks systemd five times a unit; a node's run looks at all of its units at once.
"""

from salt.exceptions import CommandExecutionError

PROPERTIES = (
    "Id",
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "NeedDaemonReload",
    "ConditionResult",
    "ConditionTimestampMonotonic",
    "MainPID",
)
# What other families call Debian's units.
NAMES = {"RedHat": {"chrony.service": "chronyd.service"}}
# A start that takes longer has failed, whatever systemd still hopes for (crio.service has no limit of its own).
ACT_LIMIT_S = 120
# What systemd notes when it starts a unit whose processes are there already; and among how many lines that is.
LEFT_OVER, LEFT_OVER_LINES = "Found left-over process", 30


def local_names(units, family=None):
    """What this node's distribution calls units.

    units: Debian's names; family: the grain ``os_family``, this node's by default. Returns a list.

    CLI Example:

    .. code-block:: bash

        salt '*' unit.local_names '[chrony.service]'
    """
    names = NAMES.get(family or __grains__["os_family"], {})
    return [names.get(unit, unit) for unit in units]


def facts(units):
    """What systemd knows of units.

    units: list of names with their suffix.
    Returns ``{unit: {"loaded": bool, "masked": bool, "active": bool, "state": str, "enabled": bool, "stale": bool,
    "barred": bool, "pid": int}}``; state: e.g. ``active (running)``; enabled: starts at boot (static and aliased units
    count); stale: its files changed since systemd read them; barred: at its last start a condition of the unit itself
    did not hold; pid: of its main process, 0 without one.
    Raises CommandExecutionError when systemd does not answer.

    CLI Example:

    .. code-block:: bash

        salt '*' unit.facts '[crio.service, kubelet.service]'
    """
    if not units:
        # Without a name systemctl tells of systemd itself.
        return {}
    done = _systemctl(["show", "--property", ",".join(PROPERTIES), *units])
    blocks = parse_show(done)
    if len(blocks) != len(units):
        raise CommandExecutionError(
            f"systemctl show told of {len(blocks)} units, asked for {len(units)}: {', '.join(units)}"
        )
    return {unit: describe(block) for unit, block in zip(units, blocks, strict=True)}


def parse_show(text):
    """The answer of ``systemctl show`` for several units: a list of ``{property: value}``, in the order asked.

    CLI Example:

    .. code-block:: bash

        salt '*' unit.parse_show "Id=crio.service"
    """
    blocks = [block for block in text.strip().split("\n\n") if block.strip()]
    return [dict(row.partition("=")[::2] for row in block.splitlines()) for block in blocks]


def describe(properties):
    """The facts of one unit from its properties.

    CLI Example:

    .. code-block:: bash

        salt '*' unit.describe '{LoadState: loaded, ActiveState: active, SubState: running, UnitFileState: enabled,
        NeedDaemonReload: "no", MainPID: "12"}'
    """
    return {
        "loaded": properties["LoadState"] == "loaded",
        # A mask made without a daemon-reload shows in the one, a mask of before in the other.
        "masked": "masked" in properties["LoadState"] or properties["UnitFileState"].startswith("masked"),
        "active": properties["ActiveState"] in ("active", "reloading"),
        "state": f"{properties['ActiveState']} ({properties['SubState']})",
        # enabled-runtime is gone after a boot.
        "enabled": properties["UnitFileState"] in ("enabled", "static", "alias", "generated", "indirect"),
        "stale": properties["NeedDaemonReload"] == "yes",
        # A unit that was never started shows ConditionResult=no too, with no time of the check.
        "barred": properties["ConditionResult"] == "no" and properties["ConditionTimestampMonotonic"] != "0",
        "pid": int(properties["MainPID"] or 0),
    }


def daemon_reload():
    """Have systemd read its unit files again.

    CLI Example:

    .. code-block:: bash

        salt '*' unit.daemon_reload
    """
    _systemctl(["daemon-reload"])


def enable(unit):
    """Have a unit start at boot.

    CLI Example:

    .. code-block:: bash

        salt '*' unit.enable crio.service
    """
    ran = facts([unit])[unit]["active"]
    _systemctl(["enable", unit])
    # systemd (252) loses sight of a unit that runs when one of its aliases (chronyd of chrony) comes or goes and the
    # unit files are read again: the state of the alias, which was none, becomes that of the unit.
    if ran and not facts([unit])[unit]["active"]:
        act("start", unit)


def disable(unit):
    """Keep a unit from starting at boot.

    CLI Example:

    .. code-block:: bash

        salt '*' unit.disable crio.service
    """
    _systemctl(["disable", unit])


def unmask(unit):
    """Take a mask off a unit, one that lasts until the next boot too.

    CLI Example:

    .. code-block:: bash

        salt '*' unit.unmask nftables.service
    """
    for scope in ([], ["--runtime"]):
        _systemctl(["unmask", *scope, unit])


def act(verb, unit):
    """Start, stop, restart or reload a unit, and wait for it.

    Raises CommandExecutionError with systemd's words and the unit's last journal lines, for there the cause is.

    CLI Example:

    .. code-block:: bash

        salt '*' unit.act restart crio.service
    """
    try:
        _acted(verb, unit)
    except CommandExecutionError as err:
        raise CommandExecutionError(f"{err}\n{journal(unit)}".rstrip()) from err


def _acted(verb, unit):
    """One call of systemctl; two for a unit whose processes outlived what systemd knows of it.

    So it is where an alias came or went (see :func:`enable`). The program, started beside itself, gives up; with that
    failed start systemd ends the left-over processes too, so the next start succeeds.
    """
    try:
        _systemctl([verb, unit], limit_s=ACT_LIMIT_S)
    except CommandExecutionError:
        if verb != "start" or LEFT_OVER not in journal(unit, LEFT_OVER_LINES):
            raise
        _systemctl([verb, unit], limit_s=ACT_LIMIT_S)


def journal(unit, lines=8):
    """The last journal lines of a unit, text.

    CLI Example:

    .. code-block:: bash

        salt '*' unit.journal crio.service
    """
    argv = ["journalctl", "--unit", unit, "--lines", str(lines), "--no-pager", "--output", "cat"]
    return __salt__["cmd.run_stdout"](argv, python_shell=False, ignore_retcode=True)


def _systemctl(arguments, limit_s=60):
    """Run systemctl; its output. Raises CommandExecutionError."""
    argv = ["systemctl", "--no-pager", *arguments]
    done = __salt__["cmd.run_all"](argv, python_shell=False, ignore_retcode=True, timeout=limit_s)
    if done["retcode"]:
        raise CommandExecutionError(f"{' '.join(argv)}: {done['stderr'] or done['stdout']}")
    return done["stdout"]
