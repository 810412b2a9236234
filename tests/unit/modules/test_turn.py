"""turn: who may act, who waits, what a dead holder and a silent API mean. The Lease is kept as the API keeps it."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from tests.unit.modules.member import Member, pillar

ADDRESSES = {"saw-k8s-m-01": "192.168.100.151", "saw-k8s-m-02": "192.168.100.152", "saw-k8s-m-03": "192.168.100.153"}


class Cluster:
    """An API server that has one Lease, as kubectl tells of it; `clock_s` is the nodes' time."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.clock_s = 0.0
        self.silent: set[str] = set()
        self.unready: set[str] = set()
        self.members = set(ADDRESSES)
        self.before_write: Callable[[], None] = lambda: None

    def kubectl(self, _tool: str, args: list[str], stdin: str | None = None, **_options: Any) -> dict[str, Any]:
        server = next((arg.removeprefix("--server=") for arg in args if arg.startswith("--server=")), "endpoint")
        if server in self.silent or "all" in self.silent:
            refused = "was refused - did you specify the right host or port?"
            return answer(1, stderr=f"The connection to the server {server} {refused}")
        if args[:2] == ["get", "nodes"]:
            return answer(0, "".join(f"node/{name}\n" for name in sorted(self.members)))
        if args[0] == "get":
            return answer(0, json.dumps(self.lease) if self.lease else "")
        assert stdin is not None
        return self.write(args[0], json.loads(stdin))

    def write(self, verb: str, wanted: dict[str, Any]) -> dict[str, Any]:
        before, self.before_write = self.before_write, lambda: None
        before()
        if verb == "create" and self.lease:
            return answer(1, stderr="Error from server (AlreadyExists): error when creating: already exists")
        if verb == "replace" and wanted["metadata"]["resourceVersion"] != str(self.version):
            return answer(1, stderr="Error from server (Conflict): error when replacing: the object has been modified")
        self.version += 1
        self.lease = wanted | {"metadata": wanted["metadata"] | {"resourceVersion": str(self.version)}}
        return answer(0)

    def now(self) -> datetime.datetime:
        return datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC) + datetime.timedelta(seconds=self.clock_s)

    def holder(self) -> str | None:
        return self.lease["spec"]["holderIdentity"] if self.lease else None


def answer(retcode: int, stdout: str = "", stderr: str = "") -> dict[str, Any]:
    return {"retcode": retcode, "stdout": stdout, "stderr": stderr}


class Clock:
    """`time` and `datetime` of the module: sleeping takes no time and moves the clock."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.on_sleep: Callable[[], None] = lambda: None

    def monotonic(self) -> float:
        return self.cluster.clock_s

    def sleep(self, seconds: float) -> None:
        self.cluster.clock_s += seconds
        self.on_sleep()


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def node_of(cluster: Cluster, tmp_path: Path) -> Callable[..., Member]:
    """Make a control-plane member of the cluster by its name."""

    def make(name: str) -> Member:
        node = Member(tmp_path / name)
        node.opts["id"] = name
        node.pillar["saltern"]["node"] |= {"name": name, "address": ADDRESSES[name]}
        node.with_files()
        module = node._load("_modules", "turn")
        node.modules["turn"] = module
        node.salt |= {f"turn.{word}": getattr(module, word) for word in ("during", "take", "give_back", "holder")}
        node.salt["sandbox.run"] = cluster.kubectl
        node.salt["kubeadm_facts.api_server_ready"] = lambda address=None: (
            (address or ADDRESSES[name]) not in cluster.unready
        )
        clock = Clock(cluster)

        class Now(datetime.datetime):
            @classmethod
            def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
                return cluster.now()

        dates = type("dates", (), {"datetime": Now, "UTC": datetime.UTC})
        vars(module).update(time=clock, datetime=dates)
        return node

    return make


def test_the_turn_is_taken_for_the_act_and_given_back(node_of: Callable[..., Member], cluster: Cluster) -> None:
    node = node_of("saw-k8s-m-01")
    assert node.salt["turn.during"]("restart of crio", cluster.holder) == "saw-k8s-m-01"
    assert (cluster.holder(), node.salt["turn.holder"]()) == ("", None)
    assert node.salt["turn.during"]("again", cluster.holder) == "saw-k8s-m-01"


def test_a_second_node_waits_until_the_first_is_done(node_of: Callable[..., Member], cluster: Cluster) -> None:
    first, second = node_of("saw-k8s-m-01"), node_of("saw-k8s-m-02")
    first.salt["turn.take"]("restart of crio")
    assert second.salt["turn.holder"]() == {
        "node": "saw-k8s-m-01", "since": "2026-11-21T00:00:00.000000Z", "reason": "restart of crio", "expired": False
    }  # fmt: skip
    vars(second.modules["turn"])["time"].on_sleep = first.salt["turn.give_back"]
    assert second.salt["turn.during"]("restart of crio", cluster.holder) == "saw-k8s-m-02"
    assert cluster.clock_s == 2


def test_who_waits_too_long_is_told_for_whom(node_of: Callable[..., Member], cluster: Cluster) -> None:
    first, second = node_of("saw-k8s-m-01"), node_of("saw-k8s-m-02")
    first.salt["turn.take"]("restart of crio")
    acted: list[str] = []
    message = (
        r"saw-k8s-m-02: waited 60 s for the turn to act \(restart of kubelet\): saw-k8s-m-01 has it since "
        r"2026-11-21T00:00:00.000000Z \(restart of crio\). Mend that, then apply again "
        r"\(salt saw-k8s-m-02 turn.holder\)"
    )
    with pytest.raises(CommandExecutionError, match=message):
        second.salt["turn.during"]("restart of kubelet", lambda: acted.append("x"), deadline_s=60)
    assert acted == []
    assert cluster.holder() == "saw-k8s-m-01"


def test_a_dead_holders_turn_runs_out(node_of: Callable[..., Member], cluster: Cluster) -> None:
    node_of("saw-k8s-m-01").salt["turn.take"]("restart of crio")
    assert node_of("saw-k8s-m-02").salt["turn.during"]("restart of crio", cluster.holder) == "saw-k8s-m-02"
    assert 450 < cluster.clock_s < 460


def test_the_same_node_takes_up_its_own_turn_at_once(node_of: Callable[..., Member], cluster: Cluster) -> None:
    node = node_of("saw-k8s-m-01")
    node.salt["turn.take"]("killed in the middle")
    node.salt["turn.during"]("the run after it", cluster.holder)
    assert (cluster.clock_s, cluster.holder()) == (0, "")


@pytest.mark.parametrize("there", [False, True])
def test_of_two_that_write_at_once_one_wins(node_of: Callable[..., Member], cluster: Cluster, there: bool) -> None:
    first, second = node_of("saw-k8s-m-01"), node_of("saw-k8s-m-02")
    if there:
        first.salt["turn.during"]("to have a Lease", cluster.holder)
    cluster.before_write = lambda: first.salt["turn.take"]("faster")
    with pytest.raises(CommandExecutionError, match=r"saw-k8s-m-01 has it since .* \(faster\)"):
        second.salt["turn.take"]("slower", deadline_s=10)


def test_a_node_that_serves_stays_while_another_does_not(node_of: Callable[..., Member], cluster: Cluster) -> None:
    cluster.unready.add(ADDRESSES["saw-k8s-m-03"])
    node = node_of("saw-k8s-m-01")
    with pytest.raises(CommandExecutionError, match="the API server of saw-k8s-m-03 is not ready"):
        node.salt["turn.take"]("restart", deadline_s=30)
    assert cluster.holder() == "", "the one that is not well must be able to take it"
    vars(node.modules["turn"])["time"].on_sleep = cluster.unready.clear
    node.salt["turn.take"]("restart", deadline_s=30)


def test_a_node_that_is_down_is_not_waited_for_as_long_as_one_that_acts(
    node_of: Callable[..., Member], cluster: Cluster
) -> None:
    """A state run must end while somebody still waits for it; the next one goes on when the node is back."""
    cluster.unready.add(ADDRESSES["saw-k8s-m-03"])
    began = cluster.clock_s
    with pytest.raises(CommandExecutionError, match=r"waited 15\d s for the turn"):
        node_of("saw-k8s-m-01").salt["turn.take"]("restart")
    assert cluster.clock_s - began < 160


def test_a_node_that_does_not_serve_mends_itself_whoever_else_does_not(
    node_of: Callable[..., Member], cluster: Cluster
) -> None:
    cluster.unready |= {ADDRESSES["saw-k8s-m-01"], ADDRESSES["saw-k8s-m-02"]}
    assert node_of("saw-k8s-m-01").salt["turn.during"]("restart", cluster.holder) == "saw-k8s-m-01"


def test_a_row_that_has_not_joined_yet_is_not_waited_for(node_of: Callable[..., Member], cluster: Cluster) -> None:
    cluster.unready.add(ADDRESSES["saw-k8s-m-03"])
    cluster.members.discard("saw-k8s-m-03")
    node_of("saw-k8s-m-01").salt["turn.take"]("restart", deadline_s=30)


def test_another_api_server_is_asked_when_the_endpoint_is_silent(
    node_of: Callable[..., Member], cluster: Cluster
) -> None:
    cluster.silent |= {"endpoint", "https://192.168.100.151:6443"}
    assert node_of("saw-k8s-m-01").salt["turn.during"]("restart", cluster.holder) == "saw-k8s-m-01"


def test_without_any_api_server_there_is_nothing_to_protect(node_of: Callable[..., Member], cluster: Cluster) -> None:
    cluster.silent.add("all")
    assert node_of("saw-k8s-m-01").salt["turn.during"]("restart", lambda: "acted") == "acted"
    assert 20 <= cluster.clock_s < 30


def test_an_answer_that_is_a_refusal_is_no_silence(node_of: Callable[..., Member]) -> None:
    node = node_of("saw-k8s-m-01")
    node.salt["sandbox.run"] = lambda *_args, **_options: answer(1, stderr="Error from server (Forbidden): no")
    with pytest.raises(CommandExecutionError, match=r"kubectl get lease saltern-control-plane-turn: .*Forbidden"):
        node.salt["turn.during"]("restart", lambda: "acted")


def test_a_node_that_is_not_well_afterwards_keeps_the_turn(node_of: Callable[..., Member], cluster: Cluster) -> None:
    node = node_of("saw-k8s-m-01")

    def kill_kubelet() -> None:
        node.answers(kubelet_answers=False)

    with pytest.raises(CommandExecutionError, match="180 s after: restart of crio: its kubelet does not answer"):
        node.salt["turn.during"]("restart of crio", kill_kubelet)
    assert cluster.holder() == "saw-k8s-m-01"


def test_what_was_silent_before_is_not_waited_for(node_of: Callable[..., Member], cluster: Cluster) -> None:
    """A kubelet that was stopped by hand is started by a later state, not by the restart of CRI-O."""
    node = node_of("saw-k8s-m-01")
    node.answers(kubelet_answers=False)
    cluster.unready.add(ADDRESSES["saw-k8s-m-01"])
    node.salt["turn.during"]("restart of crio", cluster.holder)
    assert (cluster.clock_s, cluster.holder()) == (0, "")


def test_a_slow_api_server_is_waited_for(node_of: Callable[..., Member], cluster: Cluster) -> None:
    node = node_of("saw-k8s-m-01")
    vars(node.modules["turn"])["time"].on_sleep = cluster.unready.clear
    node.salt["turn.during"]("restart of kube-apiserver", lambda: cluster.unready.add(ADDRESSES["saw-k8s-m-01"]))
    assert (cluster.clock_s, cluster.holder()) == (2, "")


@pytest.mark.parametrize("reason", ["no member", "half a member", "worker"])
def test_who_is_no_part_of_the_control_plane_takes_no_turn(
    node_of: Callable[..., Member], cluster: Cluster, tmp_path: Path, reason: str
) -> None:
    node = node_of("saw-k8s-m-01")
    if reason == "no member":
        (node.sandbox / "etc/kubernetes/kubelet.conf").unlink()
    elif reason == "half a member":
        node.unfinished("join")
    else:
        node.pillar["saltern"]["node"] = pillar("worker")["saltern"]["node"]
    assert node.salt["turn.during"]("restart", cluster.holder) is None
    assert cluster.lease is None
