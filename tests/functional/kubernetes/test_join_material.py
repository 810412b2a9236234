"""Join material made and revoked in a real API server by the real kubeadm."""

import json
import subprocess
from pathlib import Path

import pytest
import salt.crypt
import yaml
from salt.exceptions import CommandExecutionError

from tests.functional.kubernetes.conftest import ApiServer, tool
from tests.salt_node import Node
from tests.unit.modules.member import CLUSTER, pillar


@pytest.fixture(scope="module")
def keys() -> tuple[str, str]:
    """Private and public minion key."""
    return salt.crypt.gen_keys(2048)


def secrets(api_server: ApiServer) -> list[str]:
    """Names of the secrets that joins use."""
    names = api_server.kubectl("-n", "kube-system", "get", "secrets", "--output=name").split()
    return [name for name in names if name.startswith(("secret/bootstrap-token", "secret/kubeadm-certs"))]


def test_material_is_made_used_once_and_revoked(node: Node, api_server: ApiServer, keys: tuple[str, str]) -> None:
    sealed = node.salt["kubeadm.join_material"]({"saw-k8s-m-02": keys[1], "saw-k8s-w-01": keys[1]}, ["saw-k8s-m-02"])
    opened = node.salt["sealed.open_"](sealed["saw-k8s-m-02"], keys[0])
    assert f"secret/bootstrap-token-{opened['token'][:6]}" in secrets(api_server)
    assert "secret/kubeadm-certs" in secrets(api_server)
    assert list(Path(api_server.root, "run").iterdir()) == []
    revoked = node.salt["kubeadm.revoke_join_material"]()
    assert len(revoked) == 3  # the token, the certificates, and the token that limits their life
    assert secrets(api_server) == []


def test_the_token_lives_as_long_as_the_definition_says(
    node: Node, api_server: ApiServer, keys: tuple[str, str]
) -> None:
    node.pillar["saltern"]["kubeadm"]["token_ttl_minutes"] = 15
    node.salt["kubeadm.join_material"]({"saw-k8s-w-01": keys[1]})
    listed = json.loads(node.salt["sandbox.run"]("kubeadm", ["token", "list", "--output=json"])["stdout"])
    assert listed["description"] == "saltern: join wave"
    assert sorted(listed["usages"]) == ["authentication", "signing"]
    node.salt["kubeadm.revoke_join_material"]()


def test_an_operators_own_token_is_not_revoked(node: Node, api_server: ApiServer) -> None:
    created = node.salt["sandbox.run"]("kubeadm", ["token", "create", "--description=mine"])
    token = created["stdout"].strip()
    assert node.salt["kubeadm.revoke_join_material"]() == []
    assert f"secret/bootstrap-token-{token[:6]}" in secrets(api_server)
    api_server.kubectl("-n", "kube-system", "delete", "secret", f"bootstrap-token-{token[:6]}")


def test_an_api_server_that_does_not_answer_is_named(
    node: Node, keys: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node.modules["kube"], "PATIENCE_S", 0)
    monkeypatch.setitem(node.pillar["saltern"]["cluster"], "endpoint", {"address": "127.0.0.1", "port": 1})
    with pytest.raises(CommandExecutionError, match="saw-k8s-m-01: kubectl get --raw=/readyz"):
        node.salt["kubeadm.join_material"]({"saw-k8s-w-01": keys[1]})


@pytest.mark.parametrize("role", ["control_plane", "worker"])
def test_the_documents_are_valid_for_kubeadm(role: str, tmp_path: Path, node: Node) -> None:
    settings = pillar(role)["saltern"]["kubeadm"]
    material = {
        "endpoint": f"{CLUSTER.endpoint.address}:{CLUSTER.endpoint.port}",
        "token": "abcdef.0123456789abcdef",
        "ca_hashes": ["sha256:" + "0" * 64],
        "certificate_key": "f" * 64,
    }
    streams = [[node.salt["kubeadm_config.join_document"](settings, material)]]
    streams.append(
        [node.salt["kubeadm_config.reset_document"]("unix:///run/crio.sock", "/opt/sandbox/etc/kubernetes/pki")]
    )
    if role == "control_plane":
        streams.append(node.salt["kubeadm_config.init_documents"](settings, "abcdef.0123456789abcdef"))
        streams.append(node.salt["kubeadm_config.upload_documents"](settings, "f" * 64))
    for stream in streams:
        config = tmp_path / "config.yaml"
        config.write_text(node.salt["kubeadm_config.text"](stream))
        answer = node.salt["sandbox.run"]("kubeadm", ["config", "validate", f"--config={config}"])
        assert (answer["retcode"], answer["stdout"].strip()) == (0, "ok"), answer["stderr"]


def test_kubeadm_would_tell_a_wrong_document(tmp_path: Path, node: Node) -> None:
    (init, *_) = node.salt["kubeadm_config.init_documents"](
        pillar("control_plane")["saltern"]["kubeadm"], "abcdef.0123456789abcdef"
    )
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(init | {"bootstrapToken": "misspelt"}))
    answer = node.salt["sandbox.run"]("kubeadm", ["config", "validate", f"--config={config}"])
    assert answer["retcode"] != 0
    assert "bootstrapToken" in answer["stderr"]


def test_the_kubeadm_under_test_is_the_definitions() -> None:
    """Otherwise the tests above prove another version's behaviour."""
    version = subprocess.run([tool("kubeadm"), "version", "--output=short"], capture_output=True, text=True, check=True)
    assert version.stdout.strip() == f"v{pillar('control_plane')['saltern']['cluster']['kubernetes_version']}"
