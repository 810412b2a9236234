"""What a person is told of a failed kubeadm, from what kubeadm 1.36.4 really printed."""

from pathlib import Path

import pytest

from tests.salt_node import Node

CAPTURED = Path(__file__).parent / "captured"


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A node with the module alone."""
    return Node(tmp_path, {}, ["kubeadm_output"])


def test_failed_checks_are_told_and_warnings_are_not(node: Node) -> None:
    text = node.salt["kubeadm_output.failure"]("", (CAPTURED / "kubeadm-1.36.4-init-preflight.stderr").read_text())
    assert text.startswith("Port-26443: Port 26443 is in use; Port-10257: Port 10257 is in use; CRI: could not connect")
    assert text.endswith("ip_forward contents are not set to 1")
    assert "Hostname" not in text
    assert "ignore-preflight-errors" not in text


def test_an_error_is_told_with_the_last_steps_before_it(node: Node) -> None:
    streams = [(CAPTURED / f"kubeadm-1.36.4-join-discovery.{name}").read_text() for name in ("stdout", "stderr")]
    text = node.salt["kubeadm_output.failure"](*streams)
    assert text.startswith("error execution phase preflight: couldn't validate the identity of the API Server")
    assert text.endswith("(last steps: [preflight] Running pre-flight checks)")
    assert "stack trace" not in text


def test_silence_is_told_too(node: Node) -> None:
    assert node.salt["kubeadm_output.failure"]("", "") == "kubeadm failed without a word"


def test_secrets_are_blotted_out_and_the_public_hash_is_not(node: Node) -> None:
    text = f"token abcdef.0123456789abcdef key {'f' * 64} hash sha256:{'a' * 64}\n-----BEGIN RSA PRIVATE KEY-----\nx\n"
    shown = node.salt["kubeadm_output.redacted"](text + "-----END RSA PRIVATE KEY-----")
    assert shown == f"token <token> key <key> hash sha256:{'a' * 64}\n<pem>"


def test_a_versions_dots_are_no_token(node: Node) -> None:
    assert node.salt["kubeadm_output.redacted"]("kubeadm v1.36.4 at 192.168.100.150:6443") == (
        "kubeadm v1.36.4 at 192.168.100.150:6443"
    )
