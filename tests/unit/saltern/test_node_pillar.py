"""The pillar of each role: what is in it, and what is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from saltern import node_pillar
from tests.unit.saltern.definitions import shipped

LOAD_BALANCER, CONTROL_PLANE, WORKER = "saw-k8s-ha-01", "saw-k8s-m-02", "saw-k8s-w-03"
COMMON = {"cluster", "node", "nodes", "operator", "paths", "os", "artefacts"}


def pillar(tmp_path, name: str, cluster: Any = None, versions: Any = None, **build: Any) -> dict[str, Any]:
    return node_pillar.build(shipped(tmp_path, cluster, versions), name, **build)["saltern"]


def test_an_unknown_minion_gets_nothing(tmp_path):
    assert node_pillar.build(shipped(tmp_path), "stranger") == {}


@pytest.mark.parametrize(
    ("name", "own"),
    [
        (LOAD_BALANCER, {"haproxy"}),  # keepalived: test_keepalived_pillar.py
        (WORKER, {"crio", "kubelet", "kubeadm"}),
        (CONTROL_PLANE, {"crio", "kubelet", "kubeadm", "charts", "verification", "marks"}),
    ],
)
def test_a_role_knows_its_own_parts_only(tmp_path, name, own):
    assert set(pillar(tmp_path, name)) == COMMON | own


def test_a_worker_learns_how_to_join_and_no_more(tmp_path):
    kubeadm = pillar(tmp_path, WORKER)["kubeadm"]
    assert set(kubeadm) == {"join", "cluster", "kubelet", "ignore_preflight_errors"}
    assert not {"etcd", "apiServer", "controllerManager"} & set(kubeadm["cluster"])


@pytest.mark.parametrize("name", [LOAD_BALANCER, CONTROL_PLANE, WORKER])
def test_a_pillar_is_of_plain_types(tmp_path, name):
    """Salt serialises it: an address or a tuple would arrive as something else, or not at all."""
    built = pillar(tmp_path, name)
    assert json.loads(json.dumps(built)) == built


def texts(value: Any) -> Iterator[str]:
    """Every key and text below a value."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield str(key)
            yield from texts(below)
    elif isinstance(value, list):
        for below in value:
            yield from texts(below)
    else:
        yield str(value)


@pytest.mark.parametrize("name", [LOAD_BALANCER, CONTROL_PLANE, WORKER])
def test_there_is_no_secret_in_a_pillar(tmp_path, name):
    words = ("password", "certificatekey", "bootstraptokens", "cacerthashes", "private", "ssh_keys")
    assert [text for text in texts(pillar(tmp_path, name)) if any(word in text.lower() for word in words)] == []


def test_the_outline_of_the_cluster(tmp_path):
    assert pillar(tmp_path, WORKER)["cluster"] == {
        "name": "saw-k8s",
        "endpoint": {"address": "192.168.100.150", "port": 6443},
        "service_cidr": "10.0.0.0/14",
        "pod_cidr": "10.4.0.0/14",
        "kubernetes_version": "1.36.4",
        "dns_address": "10.0.0.10",
    }


def test_the_node_knows_itself_and_the_table(tmp_path):
    built = pillar(tmp_path, WORKER)
    assert built["node"] == {
        "name": WORKER,
        "role": "worker",
        "address": "192.168.100.156",
        "prefix_length": 24,
        "gateway": "192.168.100.1",
        "dns": ["192.168.100.1"],
        "arch": "amd64",
        "cpus": 2,
        "memory_gib": 16,
        "disk_gib": 20,
    }
    assert [row["name"] for row in built["nodes"]] == list(shipped(tmp_path).nodes)
    assert built["nodes"][0] == {"name": LOAD_BALANCER, "role": "load_balancer", "address": "192.168.100.150"}


def test_the_operators_home(tmp_path):
    assert pillar(tmp_path, WORKER)["operator"] == {"user": "k8s", "group": "k8s", "home": "/home/k8s"}
    root = {"operator": {"user": "root", "group": "root"}}
    assert pillar(tmp_path / "root", WORKER, root)["operator"]["home"] == "/root"


def test_the_kubelet_is_the_sandboxs(tmp_path):
    assert pillar(tmp_path, WORKER, {"paths": {"sandbox": "/srv/box"}})["kubelet"] == {
        "binary": "/srv/box/bin/kubelet",
        "unit": "/etc/systemd/system/kubelet.service",
        "drop_in": "/etc/systemd/system/kubelet.service.d/10-kubeadm.conf",
        "config_path": "/var/lib/kubelet/config.yaml",
        "environment_path": "/srv/box/etc/default/kubelet",
    }


def test_nothing_but_the_sandbox_root_names_the_sandbox(tmp_path):
    """Every path follows from paths.sandbox: with another root the default one is nowhere."""
    built = pillar(tmp_path, CONTROL_PLANE, {"paths": {"sandbox": "/srv/box"}})
    assert [text for text in texts(built) if "/opt/sandbox" in text] == []


def test_the_architecture_is_the_rows_unless_the_caller_says_otherwise(tmp_path):
    sums = {name: {"sha256": {"arm64": "a" * 64}} for name in ("crio", "kubelet", "kubeadm", "kubectl")}
    arm = {"nodes": {WORKER: {"arch": "arm64"}}}
    built = pillar(tmp_path, WORKER, arm, {"artefacts": sums})
    assert all("arm64" in item["url"] and item["sha256"] == "a" * 64 for item in built["artefacts"])
    asked = pillar(tmp_path / "asked", WORKER, arm, {"artefacts": sums}, arch="amd64")
    assert all("amd64" in item["url"] for item in asked["artefacts"])
