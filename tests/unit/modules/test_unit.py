"""What unit.act and unit.enable do about processes that systemd has forgotten. All else: tests/functional/node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from tests.salt_node import Node

# journalctl --unit chrony.service --output cat, systemd 252, after `systemctl disable chrony` (which has an alias) and
# daemon-reload on a node where it ran.
JOURNAL = """\
chrony.service: Found left-over process 3964 (chronyd) in control group while starting unit. Ignoring.
This usually indicates unclean termination of a previous run, or service implementation deficiencies.
Starting chrony.service - chrony, an NTP client/server...
chronyd version 4.3 starting (+CMDMON +NTP +REFCLOCK +RTC +PRIVDROP +SCFILTER +SIGND +ASYNCDNS +NTS +SECHASH +IPV6)
Fatal error : Another chronyd may already be running (pid=3964), check /run/chrony/chronyd.pid
Another chronyd may already be running (pid=3964), check /run/chrony/chronyd.pid
chrony.service: Control process exited, code=exited, status=1/FAILURE
chronyd exiting
chrony.service: Failed with result 'exit-code'.
Failed to start chrony.service - chrony, an NTP client/server.
"""
# systemctl show --property ..., systemd 252, of chrony.service.
SHOWN = """\
MainPID=0
Id=chrony.service
LoadState=loaded
ActiveState={}
SubState=dead
UnitFileState=enabled
NeedDaemonReload=no
ConditionResult=yes
ConditionTimestampMonotonic=8530452
"""
FAILED = "Job for chrony.service failed because the control process exited with error code."


class Systemd:
    """systemctl that fails so many times, forgets what it enables if it is told to, and has a journal."""

    def __init__(self, tmp_path: Path, failures: int, journal: str, forgets: bool = False) -> None:
        self.calls: list[list[str]] = []
        self.failures, self.forgets, self.forgotten = failures, forgets, False
        self.node = Node(tmp_path, {}, ["unit"])
        self.node.salt["cmd.run_all"] = self._systemctl
        self.node.salt["cmd.run_stdout"] = lambda argv, **_: "".join(
            journal.splitlines(keepends=True)[-int(argv[argv.index("--lines") + 1]) :]
        )

    def _systemctl(self, argv: list[str], **_: Any) -> dict[str, Any]:
        if argv[2] == "show":
            return {"retcode": 0, "stdout": SHOWN.format("inactive" if self.forgotten else "active"), "stderr": ""}
        self.calls.append(argv[2:])
        self.forgotten = self.forgets and argv[2] == "enable"
        self.failures -= 1
        return {"retcode": int(self.failures >= 0), "stdout": "", "stderr": FAILED if self.failures >= 0 else ""}


def test_a_start_beside_forgotten_processes_is_tried_again(tmp_path: Path) -> None:
    systemd = Systemd(tmp_path, 1, JOURNAL)
    systemd.node.salt["unit.act"]("start", "chrony.service")
    assert systemd.calls == [["start", "chrony.service"]] * 2


def test_a_second_failure_is_told(tmp_path: Path) -> None:
    systemd = Systemd(tmp_path, 2, JOURNAL)
    with pytest.raises(CommandExecutionError, match=r"(?s)control process exited.*Another chronyd may already"):
        systemd.node.salt["unit.act"]("start", "chrony.service")
    assert len(systemd.calls) == 2


@pytest.mark.parametrize(("verb", "journal"), [("restart", JOURNAL), ("start", "chronyd: no such file\n")])
def test_any_other_failure_is_told_at_once(tmp_path: Path, verb: str, journal: str) -> None:
    systemd = Systemd(tmp_path, 1, journal)
    with pytest.raises(CommandExecutionError):
        systemd.node.salt["unit.act"](verb, "chrony.service")
    assert len(systemd.calls) == 1


@pytest.mark.parametrize(("forgets", "calls"), [(False, ["enable"]), (True, ["enable", "start"])])
def test_a_unit_that_systemd_forgot_when_it_was_enabled_is_started(
    tmp_path: Path, forgets: bool, calls: list[str]
) -> None:
    systemd = Systemd(tmp_path, 0, JOURNAL, forgets)
    systemd.node.salt["unit.enable"]("chrony.service")
    assert systemd.calls == [[verb, "chrony.service"] for verb in calls]
