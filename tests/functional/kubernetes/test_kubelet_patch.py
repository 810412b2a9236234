"""The patch of a node's kubelet configuration, applied by the real kubeadm in its dry run."""

from pathlib import Path

import pytest
import yaml

from tests.salt_node import Node
from tests.unit.modules.member import pillar


def test_kubeadm_gives_this_node_its_resolver_and_the_cluster_none(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where kubeadm's dry run writes; it would be below /etc/kubernetes otherwise.
    monkeypatch.setenv("KUBEADM_INIT_DRYRUN_DIR", str(tmp_path))
    settings = pillar("control_plane")["saltern"]["kubeadm"]
    documents = node.salt["kubeadm_config.init_documents"](settings, "abcdef.0123456789abcdef")
    patch = node.salt["kubeadm_config.kubelet_patch"](settings, "/run/chosen/resolv.conf")
    output = node.salt["kubeadm_run.run"](["init", "phase", "kubelet-start", "--dry-run"], documents, patch)
    assert 'to target "kubeletconfiguration"' in output
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["resolvConf"] == "/run/chosen/resolv.conf"
    assert "resolvConf" not in documents[2]
