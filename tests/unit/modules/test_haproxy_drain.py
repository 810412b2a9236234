"""Servers that are sent nothing new for a while: which, for how long, what ends it. HAProxy's words are 2.6.12's."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from tests.salt_node import Node

CAPTURED = Path(__file__).parent / "captured" / "haproxy-2.6.12-show-stat.csv"
SOCKET = "/run/haproxy-stats.sock"
FIRST, SECOND, THIRD = (f"saw-k8s-m-0{number}" for number in (1, 2, 3))
NOT_LOADED = "Failed to stop saltern-drain-saw-k8s-m-01.service: Unit saltern-drain-saw-k8s-m-01.service not loaded."
# To "set server" on a socket of level operator, and what it answers when it has done so.
DENIED, DONE = "Permission denied\n\n", "\n"


class Balancer(Node):
    """A load balancer whose HAProxy and systemd remember what they were told."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, {}, ["haproxy", "haproxy_drain"], minion_id="saw-k8s-ha-01")
        self.log: list[str] = []
        self.keepers: dict[str, list[str]] = {}
        self.answer, self.refusal = DONE, ""
        found = self.salt["haproxy.parse_stat"](CAPTURED.read_text())
        self.rows = [row for row in found if row["backend"] == "kubernetes-api"]
        self.salt |= {"haproxy.servers": lambda path: self.rows, "haproxy.ask": self.ask, "cmd.run_all": self.command}

    def ask(self, path: str, command: str) -> str:
        self.log.append(command)
        return self.answer

    def command(self, argv: list[str], **_: Any) -> dict[str, Any]:
        if argv[0] == "systemd-run":
            self.log.append("keeper")
            unit = next(word for word in argv if word.startswith("--unit=")).removeprefix("--unit=")
            self.keepers[unit] = argv
            return {"retcode": 1 if self.refusal else 0, "stdout": "", "stderr": self.refusal}
        assert argv[:2] == ["systemctl", "stop"]
        there = self.keepers.pop(argv[2], None)
        self.log += ["stop"] if there else []
        return {"retcode": 0 if there else 5, "stdout": "", "stderr": "" if there else NOT_LOADED}

    def status(self, name: str, status: str) -> None:
        for row in self.rows:
            if row["server"] == name:
                row["status"] = status

    def drain(self, *names: str) -> dict[str, str]:
        told: dict[str, str] = self.salt["haproxy_drain.drain"](SOCKET, list(names))
        return told

    def resume(self, *names: str) -> list[str]:
        held: list[str] = self.salt["haproxy_drain.resume"](SOCKET, list(names))
        return held


@pytest.fixture
def balancer(tmp_path: Path) -> Balancer:
    return Balancer(tmp_path)


def test_a_drain_has_its_end_before_it_begins(balancer: Balancer) -> None:
    assert balancer.drain(FIRST) == {FIRST: "kubernetes-api: sent nothing new for 180 s"}
    assert balancer.log == ["keeper", f"set server kubernetes-api/{FIRST} state drain"]
    argv = balancer.keepers[f"saltern-drain-{FIRST}.service"]
    how = ["--quiet", "--collect", "--property=Restart=on-failure", f"--unit=saltern-drain-{FIRST}.service"]
    assert argv[:5] == ["systemd-run", *how]
    assert argv[5:7] == [sys.executable, "-SEc"]
    assert argv[8:] == [SOCKET, "180", f"set server kubernetes-api/{FIRST} state ready"]


def test_a_server_of_two_backends_leaves_both(balancer: Balancer) -> None:
    balancer.rows += [row | {"backend": "ingress"} for row in balancer.rows]
    balancer.drain(FIRST)
    both = f"set server kubernetes-api/{FIRST} state drain; set server ingress/{FIRST} state drain"
    assert balancer.log == ["keeper", both]


@pytest.mark.parametrize("leaving", [(FIRST,), (FIRST, SECOND)])
def test_the_last_that_is_up_goes_on(balancer: Balancer, leaving: tuple[str, ...]) -> None:
    balancer.status(THIRD, "DOWN")
    if len(leaving) == 1:
        balancer.status(SECOND, "DRAIN")
    told = balancer.drain(*leaving)
    assert told == dict.fromkeys(leaving, "kubernetes-api: is UP, and nobody else is up")
    assert balancer.log == []


@pytest.mark.parametrize("status", ["DOWN", "MAINT", "DRAIN"])
def test_what_is_out_already_is_left_as_it_is(balancer: Balancer, status: str) -> None:
    balancer.status(FIRST, status)
    assert balancer.drain(FIRST) == {FIRST: f"kubernetes-api: is {status}, left as it is"}
    assert balancer.log == []


def test_a_name_that_is_no_server_is_told(balancer: Balancer) -> None:
    assert balancer.drain("saw-k8s-w-01") == {"saw-k8s-w-01": "is no server of it"}


def test_a_drain_of_an_earlier_run_ends_before_a_new_one_begins(balancer: Balancer) -> None:
    balancer.drain(FIRST)
    balancer.log.clear()
    balancer.drain(FIRST)
    assert balancer.log == ["stop", "keeper", f"set server kubernetes-api/{FIRST} state drain"]


def test_the_end_of_a_drain_of_ours(balancer: Balancer) -> None:
    balancer.drain(FIRST)
    assert balancer.resume(FIRST, SECOND) == [FIRST]
    assert balancer.log[2:] == ["stop"]


def test_a_server_whose_keeper_did_not_say_so_is_ready_all_the_same(balancer: Balancer) -> None:
    balancer.drain(FIRST)
    balancer.status(FIRST, "DRAIN")
    balancer.resume(FIRST)
    assert balancer.log[2:] == ["stop", f"set server kubernetes-api/{FIRST} state ready"]


def test_what_somebody_drained_by_hand_stays_so(balancer: Balancer) -> None:
    balancer.status(FIRST, "DRAIN")
    assert balancer.resume(FIRST) == []
    assert balancer.log == []


def test_a_socket_of_an_older_configuration_is_told_and_leaves_no_keeper(balancer: Balancer) -> None:
    balancer.answer = DENIED
    told = rf"saw-k8s-ha-01: HAProxy does not set {FIRST} to drain: Permission denied \(.*state.apply haproxy\)"
    with pytest.raises(CommandExecutionError, match=told):
        balancer.drain(FIRST)
    assert balancer.keepers == {}


def test_without_a_keeper_nothing_is_drained(balancer: Balancer) -> None:
    balancer.refusal = "Failed to start transient service unit: Connection timed out"
    with pytest.raises(CommandExecutionError, match=r"was not drained: systemd-run: .* Connection timed out"):
        balancer.drain(FIRST)
    assert balancer.log == ["keeper"]


def test_a_keeper_that_cannot_be_stopped_is_an_error(balancer: Balancer) -> None:
    failed = {"retcode": 1, "stdout": "", "stderr": "Failed to connect to bus: No such file or directory"}
    balancer.salt["cmd.run_all"] = lambda argv, **_: failed
    with pytest.raises(CommandExecutionError, match=r"systemctl stop saltern-drain-.*: Failed to connect to bus"):
        balancer.resume(FIRST)
