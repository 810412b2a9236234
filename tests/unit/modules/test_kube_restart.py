"""A restarted node serves again once everything on it is of after the restart; what is older is not believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from tests.unit.modules.test_kube_node import NODE, WEB, Api, node, pod

OLD, NEW = "cri-o://0a1b2c3d4e5f60718293a4b5c6d7e8f9", "cri-o://9f8e7d6c5b4a39281706f5e4d3c2b1a0"
OLD_ID = "0a1b2c3d4e5f6"
AGENT = {"k8s-app": "cilium"}


def running(name: str, container: str | None = NEW, ready: bool = True, **rest: Any) -> dict[str, Any]:
    """A pod of a daemon set, as the API shows it."""
    made = pod(name, ("DaemonSet", "of"), namespace="kube-system", **rest)
    status = {"name": "c", "ready": ready, "started": True, "state": {"running": {}}}
    made["status"] |= {
        "conditions": [{"type": "Ready", "status": str(ready)}],
        "containerStatuses": [status | ({"containerID": container} if container else {})],
    }
    return made


def agent(**rest: Any) -> dict[str, Any]:
    return running("cilium-x", labels=AGENT, **rest)


def cluster(directory: Path, *pods: dict[str, Any], **of_node: Any) -> Api:
    api = Api(directory, nodes=[node(**of_node)], pods=list(pods))
    module = api._load("_modules", "kube_restart")
    module.POLL_S = 0.01
    names = ("before", "take_back", "missing", "containers")
    api.salt |= {f"kube_restart.{name}": getattr(module, name) for name in names}
    return api


def missing(api: Api, *args: Any) -> list[str]:
    return api.salt["kube_restart.missing"](NODE, *args)


def test_before_a_restart_what_stays_is_noted(tmp_path: Path) -> None:
    static = running("etcd-x", OLD, metadata={"annotations": {"kubernetes.io/config.mirror": "ab"}})
    broken = running("log-x", None, ready=False)
    api = cluster(tmp_path, agent(container=OLD), static, broken, WEB)
    assert api.salt["kube_restart.before"](NODE) == {"containers": [OLD_ID], "unready": ["kube-system/log-x"]}


def test_a_node_whose_pods_are_new_and_ready_serves_again(tmp_path: Path) -> None:
    api = cluster(tmp_path, agent(), running("speaker-x"), ours=True, unschedulable=True)
    assert missing(api, [OLD_ID]) == []
    told = api.salt["kube_restart.take_back"](NODE, [OLD_ID], [], 1)
    assert told == f"{NODE}: serves again and takes pods"
    assert api.patches()[NODE]["spec"] == {"unschedulable": None}


def test_an_operators_own_cordon_stays(tmp_path: Path) -> None:
    api = cluster(tmp_path, agent(), unschedulable=True)
    assert api.salt["kube_restart.take_back"](NODE) == f"{NODE}: serves again; its cordon is not ours and stays"
    assert api.changes() == []


def test_what_the_api_shows_of_before_the_restart_is_not_believed(tmp_path: Path) -> None:
    """For most of a minute all looks well: the Node Ready, its pods running."""
    api = cluster(tmp_path, agent(container=OLD), running("speaker-x"))
    assert missing(api, [OLD_ID]) == ["kube-system/cilium-x: the kubelet still shows a container of before the restart"]
    assert missing(api) == []


def test_all_that_is_missing_is_named(tmp_path: Path) -> None:
    api = cluster(tmp_path, running("speaker-x", ready=False), ready=False)
    assert missing(api) == [
        "the Node is not Ready: Kubelet stopped (journalctl -u kubelet)",
        "no agent of Cilium runs on it",
        f"kube-system/speaker-x on {NODE}: c runs but is not ready",
    ]
    assert missing(cluster(tmp_path / "gone", name="another")) == ["the cluster has no Node of this name"]


def test_a_pod_that_was_not_ready_before_is_not_waited_for_unless_it_is_the_agent(tmp_path: Path) -> None:
    api = cluster(tmp_path, agent(ready=False), running("log-x", ready=False))
    unready = ["kube-system/log-x", "kube-system/cilium-x"]
    assert missing(api, [], unready) == [f"kube-system/cilium-x on {NODE}: c runs but is not ready"]


def test_a_pod_that_is_being_deleted_is_not_waited_for(tmp_path: Path) -> None:
    leaving = running("speaker-y", OLD, ready=False, metadata={"deletionTimestamp": "2026-01-31T12:00:00Z"})
    assert missing(cluster(tmp_path, agent(), leaving), [OLD_ID]) == []


def test_one_that_is_not_well_in_time_stays_cordoned_and_is_told(tmp_path: Path) -> None:
    pods = [running(f"log-{number}", ready=False) for number in range(7)]
    api = cluster(tmp_path, agent(), *pods, ours=True, unschedulable=True)
    with pytest.raises(CommandExecutionError, match=rf"{NODE}: does not serve 0 s after its restart: .*; and 2 more$"):
        api.salt["kube_restart.take_back"](NODE, deadline_s=0)
    assert api.changes() == []


def test_it_is_waited_for(tmp_path: Path) -> None:
    api = cluster(tmp_path, agent(), ours=True, unschedulable=True)
    answers = [["the Node is not Ready"], ["kube-system/cilium-x: still old"], []]
    api.salt["kube_restart.missing"] = lambda *_: answers.pop(0)
    assert api.salt["kube_restart.take_back"](NODE).endswith("takes pods")
    assert answers == []
