"""Kubeconfigs that name the load balancer, by the real kubeadm; no API server is needed for it."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.functional.kubernetes.conftest import tool
from tests.salt_node import Node
from tests.unit.modules.member import ENDPOINT, MODULES, pillar

OWN = "https://192.168.100.151:6443"


@pytest.fixture
def beginner(tmp_path: Path) -> Node:
    """A control-plane node on which no cluster has begun, with the real kubeadm and kubectl."""
    own: dict[str, Any] = pillar("control_plane")
    own["saltern"]["kubeadm"]["cluster"]["certificatesDir"] = f"{tmp_path}/sandbox/etc/kubernetes/pki"
    node = Node(tmp_path, own, MODULES)
    for name in ("kubeadm", "kubectl"):
        (node.sandbox / "bin" / name).symlink_to(tool(name))
    vars(node.modules["kubeadm_run"])["RUN_DIRECTORY"] = str(tmp_path / "run")
    return node


def begin(node: Node) -> Path:
    """Make the kubeconfigs as init does: those of ours first, then kubeadm's own phase. Returns their directory."""
    etc = node.sandbox / "etc" / "kubernetes"
    node.modules["kubeadm"]._make_endpoint_kubeconfigs(None)
    documents = node.salt["kubeadm_config.init_documents"](settings(node), "abcdef.0123456789abcdef")
    node.salt["kubeadm_run.run"](["init", "phase", "kubeconfig", "all", f"--kubeconfig-dir={etc}"], documents)
    return etc


def settings(node: Node) -> dict[str, Any]:
    """Pillar saltern:kubeadm."""
    found: dict[str, Any] = node.pillar["saltern"]["kubeadm"]
    return found


def servers(node: Node) -> dict[str, str]:
    """Which server each kubeconfig names."""
    found: dict[str, str] = node.salt["kubeadm_facts.member_files"]()["servers"]
    return found


def test_kubeadm_keeps_the_kubeconfigs_that_were_made_for_it(beginner: Node) -> None:
    beginner.modules["kubeadm"]._make_endpoint_kubeconfigs(None)
    etc = beginner.sandbox / "etc" / "kubernetes"
    made = {name: (etc / name).read_bytes() for name in ("controller-manager.conf", "scheduler.conf")}
    begin(beginner)
    assert {name: (etc / name).read_bytes() for name in made} == made
    assert servers(beginner) == {
        "admin.conf": ENDPOINT,
        "super-admin.conf": ENDPOINT,
        "controller-manager.conf": ENDPOINT,
        "scheduler.conf": ENDPOINT,
        "kubelet.conf": OWN,  # until kubelet-finalize
    }


def test_a_kubeconfig_pointed_elsewhere_is_one_for_kubectl_and_keeps_its_key(beginner: Node) -> None:
    etc = begin(beginner)
    before = yaml.safe_load((etc / "kubelet.conf").read_text())
    beginner.salt["kubeconfig_endpoints.point"]("kubelet.conf")
    view = [str(tool("kubectl")), "config", "view", "--minify", "--raw", f"--kubeconfig={etc}/kubelet.conf"]
    seen = yaml.safe_load(subprocess.run(view, check=True, capture_output=True, text=True, timeout=30).stdout)
    assert seen["clusters"][0]["cluster"]["server"] == ENDPOINT
    assert seen["users"] == before["users"]
    assert (etc / "kubelet.conf").stat().st_mode & 0o7777 == 0o600


def test_the_phase_that_init_leaves_out_takes_the_same_documents(
    beginner: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBEADM_INIT_DRYRUN_DIR", str(tmp_path))
    documents = [settings(beginner)["init"], settings(beginner)["cluster"]]
    args = ["init", "phase", "kubelet-finalize", "all", "--dry-run"]
    assert "error" not in beginner.salt["kubeadm_run.run"](args, documents)


def test_a_certificate_authority_is_made_once(beginner: Node) -> None:
    begin(beginner)
    authority = beginner.sandbox / "etc" / "kubernetes" / "pki" / "ca.crt"
    first = authority.read_bytes()
    beginner.modules["kubeadm"]._make_endpoint_kubeconfigs(None)
    assert authority.read_bytes() == first
    assert list((beginner.root / "run").iterdir()) == []
