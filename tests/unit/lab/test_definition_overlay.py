"""What the lab tells the product about its machine."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from lab import overlay
from lab.paths import CHECKOUT
from saltern import definition
from tests.unit.lab.test_host import ORDINARY

SUMS = {"sha256": {"amd64": "a" * 64, "any": "b" * 64}}


@pytest.mark.parametrize("cgroup_version", [1, 2])
def test_the_product_accepts_the_overlay(tmp_path: Path, cgroup_version: int) -> None:
    host = replace(ORDINARY, cgroup_version=cgroup_version)
    pins = yaml.safe_load((CHECKOUT / "pillar/versions.sls").read_text())["artefacts"]
    overlay.write(tmp_path, "cluster.sls", overlay.cluster(host, ["cilium-cli"], ["ssh-ed25519 AAAA lab"]))
    overlay.write(tmp_path, "versions.sls", {"artefacts": dict.fromkeys(pins, SUMS)})
    cluster = definition.load([CHECKOUT / "pillar", tmp_path])
    assert str(cluster.artefacts.mirror).rstrip("/") == "http://192.168.100.1:8080"
    assert cluster.artefacts.disabled == ["cilium-cli"]
    assert {mirror.registry for mirror in cluster.registries.mirrors} == {"registry.k8s.io", "quay.io"}
    assert cluster.kubelet.config == ({"failCgroupV1": False} if cgroup_version == 1 else {})
    assert cluster.kubeadm.ignore_preflight_errors == (["SystemVerification"] if cgroup_version == 1 else [])


def test_an_ordinary_machine_gets_no_exception() -> None:
    assert {"kubelet", "kubeadm"}.isdisjoint(overlay.cluster(ORDINARY, [], []))


def test_a_file_is_written_when_it_differs_only(tmp_path: Path) -> None:
    assert overlay.write(tmp_path / "pillar", "cluster.sls", {"artefacts": {"disabled": []}})
    assert not overlay.write(tmp_path / "pillar", "cluster.sls", {"artefacts": {"disabled": []}})
    assert overlay.write(tmp_path / "pillar", "cluster.sls", {"artefacts": {"disabled": ["k9s"]}})
    assert "{%" not in (tmp_path / "pillar/cluster.sls").read_text()
