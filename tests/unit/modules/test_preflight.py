"""What stands in the way of a node: real sockets, real locks, the pillar of the definition."""

from __future__ import annotations

import fcntl
import multiprocessing
import socket
from pathlib import Path

import pytest

from saltern import node_pillar
from tests.salt_node import Node
from tests.unit.modules.member import CLUSTER

MODULES = ["preflight", "ports"]


def node(root: Path, name: str = "saw-k8s-m-01") -> Node:
    """A node of the table that is no member of a cluster, with nothing in its way."""
    made = Node(root, node_pillar.build(CLUSTER, name), MODULES, minion_id=name)
    answers = {"unfinished": None, "member_files": {"kubelet_conf": False}, "ports_taken": []}
    for fact, value in answers.items():
        made.salt[f"kubeadm_facts.{fact}"] = lambda value=value: value
    made.salt["ports.holders"] = lambda ports: {}
    preflight = vars(made.modules["preflight"])
    preflight["_unreachable"] = lambda host, port, what: None
    preflight["memory_mib"] = lambda text: 8000
    preflight["package_lock"] = lambda: []
    return made


def what(found: list[dict[str, str]]) -> list[str]:
    return [finding["what"] for finding in found]


def test_nothing_in_the_way(tmp_path):
    report = node(tmp_path).salt["preflight.findings"]()
    assert report["findings"] == []
    assert report["epoch_s"] > 1.7e9


def test_ports_that_kubernetes_needs(tmp_path):
    made = node(tmp_path)
    taken = "port 6443, which kube-apiserver needs, is taken by nginx (PID 7)"
    made.salt["kubeadm_facts.ports_taken"] = lambda: [taken]
    (found,) = made.salt["preflight.findings"]()["findings"]
    assert found["what"] == taken
    assert "saw-k8s-m-01" in found["remedy"]


@pytest.mark.parametrize("begun", [{"unfinished": "init"}, {"member_files": {"kubelet_conf": True}}])
def test_a_member_is_not_held_to_what_only_a_bring_up_needs(tmp_path, begun):
    made = node(tmp_path)
    made.salt["kubeadm_facts.ports_taken"] = lambda: pytest.fail("its own components hold them")
    for fact, value in begun.items():
        made.salt[f"kubeadm_facts.{fact}"] = lambda value=value: value
    assert made.salt["preflight.findings"]()["findings"] == []


def test_a_load_balancers_port_held_by_another_program(tmp_path):
    made = node(tmp_path, "saw-k8s-ha-01")
    made.salt["ports.holders"] = lambda ports: dict.fromkeys(ports, "nginx (PID 7)")
    found = made.salt["preflight.ports"]("load_balancer")
    assert "port 6443, which HAProxy needs, is taken by nginx (PID 7)" in what(found)


def test_a_load_balancers_port_held_by_its_own_haproxy(tmp_path):
    made = node(tmp_path, "saw-k8s-ha-01")
    made.salt["ports.holders"] = lambda ports: {6443: "haproxy (PID 7)"}
    assert made.salt["preflight.ports"]("load_balancer") == []


def test_too_little_memory_and_disk(tmp_path, monkeypatch):
    made = node(tmp_path)
    vars(made.modules["preflight"])["memory_mib"] = lambda text: 1000
    monkeypatch.setitem(vars(made.modules["preflight"])["DISK_MIB"], "control_plane", 10**9)
    found = made.salt["preflight.resources"]("control_plane")
    assert what(found)[0] == "1000 MiB of memory" and what(found)[-1].endswith("MiB free")
    assert found[0]["why"] == "control_plane needs 1700 MiB"


def test_what_the_definition_ignores_is_no_finding(tmp_path):
    made = node(tmp_path)
    vars(made.modules["preflight"])["memory_mib"] = lambda text: 1000
    made.pillar["saltern"]["kubeadm"]["ignore_preflight_errors"] = ["Mem"]
    assert made.salt["preflight.resources"]("control_plane") == []


def test_memory_from_the_kernels_words(tmp_path):
    module = Node(tmp_path, {}, ["preflight"]).modules["preflight"]
    assert module.memory_mib("MemTotal:       24689104 kB\nMemFree:        22000000 kB\n") == 24110


def hold(path: str, ready: multiprocessing.Event, done: multiprocessing.Event) -> None:
    """Lock a file as dpkg does, until told to end."""
    with Path(path).open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        ready.set()
        done.wait(30)


@pytest.fixture
def held(tmp_path):
    """A lock file that another process holds; call it to let go."""
    path = tmp_path / "lock-frontend"
    path.touch()
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=hold, args=(str(path), ready, done))
    process.start()
    assert ready.wait(30)
    yield str(path)
    done.set()
    process.join()


def test_a_package_manager_at_work(tmp_path, held):
    module = Node(tmp_path, {}, ["preflight"]).modules["preflight"]
    (found,) = module.package_lock(wait_s=0, paths=[held])
    assert found["what"] == "a package manager is at work" and found["where"] == held


def test_no_package_manager_at_work(tmp_path):
    module = Node(tmp_path, {}, ["preflight"]).modules["preflight"]
    (tmp_path / "free").touch()
    assert module.package_lock(wait_s=0, paths=[str(tmp_path / "free"), str(tmp_path / "absent")]) == []


def test_a_server_that_does_not_answer(tmp_path):
    made = node(tmp_path)
    with socket.socket() as closed, socket.create_server(("127.0.0.1", 0)) as open_server:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: refuses
        refused, port = closed.getsockname()[1], open_server.getsockname()[1]
        made.pillar["saltern"]["artefacts"] = [
            {"url": f"http://127.0.0.1:{refused}/kubeadm"}, {"url": f"http://127.0.0.1:{port}/kubelet"},
        ]  # fmt: skip
        made.pillar["saltern"]["crio"]["registries"] = {
            "allowed": ["registry.k8s.io"],
            "mirrors": [{"registry": "registry.k8s.io", "mirror": f"127.0.0.1:{refused}", "insecure": True}],
        }
        fresh = Node(tmp_path / "fresh", made.pillar, ["preflight"])
        (found,) = fresh.salt["preflight.sources"]()
    assert found["what"].startswith(f"127.0.0.1:{refused} does not answer (")
    assert found["why"] == "images of registry.k8s.io come from there"
    assert "registries.mirrors" in found["remedy"]
