"""Sealed messages: only the reader's key opens them, and each failure has its own name."""

import base64
import json
from pathlib import Path

import pytest
import salt.crypt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from tests.salt_node import Node

DATA = {"token": "abcdef.0123456789abcdef", "certificate_key": None, "ca_hashes": ["sha256:00"]}


@pytest.fixture(scope="module")
def keys() -> list[tuple[str, str]]:
    """Two key pairs (private, public) as Salt makes them for minions."""
    return [salt.crypt.gen_keys(2048) for _ in range(2)]


@pytest.fixture
def node(tmp_path: Path, keys: list[tuple[str, str]]) -> Node:
    """A minion with the first key pair as its own."""
    node = Node(tmp_path, {}, ["sealed"])
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki" / "minion.pem").write_text(keys[0][0])
    return node


def test_the_reader_opens_with_its_minion_key(node: Node, keys: list[tuple[str, str]]) -> None:
    assert node.salt["sealed.open_"](node.salt["sealed.seal"](keys[0][1], DATA)) == DATA


def test_the_sealed_text_shows_nothing_and_is_another_each_time(node: Node, keys: list[tuple[str, str]]) -> None:
    first, second = (node.salt["sealed.seal"](keys[0][1], DATA) for _ in range(2))
    assert first != second
    assert "abcdef" not in first + base64.b64decode(first).decode()


def test_a_runner_opens_with_the_key_that_it_hands_over(node: Node, keys: list[tuple[str, str]]) -> None:
    sealed = node.salt["sealed.seal"](keys[1][1], DATA)
    assert node.salt["sealed.open_"](sealed, private_key_pem=keys[1][0]) == DATA


def test_data_longer_than_an_rsa_block(node: Node, keys: list[tuple[str, str]]) -> None:
    kubeconfig = {"kubeconfig": "x" * 20_000}
    assert node.salt["sealed.open_"](node.salt["sealed.seal"](keys[0][1], kubeconfig)) == kubeconfig


def test_another_reader_is_told_so(node: Node, keys: list[tuple[str, str]]) -> None:
    error = node.modules["sealed"].WrongReaderError
    with pytest.raises(error, match="sealed for the key"):
        node.salt["sealed.open_"](node.salt["sealed.seal"](keys[1][1], DATA))


@pytest.mark.parametrize("part", ["data", "nonce", "key"])
def test_a_changed_message_is_refused(node: Node, keys: list[tuple[str, str]], part: str) -> None:
    envelope = json.loads(base64.b64decode(node.salt["sealed.seal"](keys[0][1], DATA)))
    raw = bytearray(base64.b64decode(envelope[part]))
    raw[-1] ^= 1
    envelope[part] = base64.b64encode(bytes(raw)).decode()
    with pytest.raises(node.modules["sealed"].TamperedError):
        node.salt["sealed.open_"](base64.b64encode(json.dumps(envelope).encode()).decode())


def test_a_message_redirected_to_another_reader_is_refused(node: Node, keys: list[tuple[str, str]]) -> None:
    envelope = json.loads(base64.b64decode(node.salt["sealed.seal"](keys[1][1], DATA)))
    own = json.loads(base64.b64decode(node.salt["sealed.seal"](keys[0][1], DATA)))
    envelope["reader"] = own["reader"]
    with pytest.raises(node.modules["sealed"].TamperedError):
        node.salt["sealed.open_"](base64.b64encode(json.dumps(envelope).encode()).decode())


@pytest.mark.parametrize(
    "text", ["", "no base64!", base64.b64encode(b"[]").decode(), base64.b64encode(b'{"format": "2"}').decode()]
)
def test_what_is_no_sealed_message_is_refused(node: Node, text: str) -> None:
    with pytest.raises(node.modules["sealed"].BadEnvelopeError):
        node.salt["sealed.open_"](text)


def test_a_message_without_a_part_is_refused(node: Node) -> None:
    text = base64.b64encode(json.dumps({"format": "saltern-sealed-1", "key": "", "nonce": ""}).encode()).decode()
    with pytest.raises(node.modules["sealed"].BadEnvelopeError, match="without data, reader"):
        node.salt["sealed.open_"](text)


def test_a_key_that_is_none_is_refused(node: Node) -> None:
    with pytest.raises(node.modules["sealed"].BadKeyError, match="PEM"):
        node.salt["sealed.seal"]("rubbish", DATA)


def test_a_key_that_is_not_rsa_is_refused(node: Node) -> None:
    public = ed25519.Ed25519PrivateKey.generate().public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    with pytest.raises(node.modules["sealed"].BadKeyError, match="not RSA"):
        node.salt["sealed.seal"](pem, DATA)


def test_a_minion_without_its_key_is_told_which_file(node: Node, keys: list[tuple[str, str]], tmp_path: Path) -> None:
    sealed = node.salt["sealed.seal"](keys[0][1], DATA)
    (tmp_path / "pki" / "minion.pem").unlink()
    with pytest.raises(node.modules["sealed"].BadKeyError, match=r"minion\.pem"):
        node.salt["sealed.open_"](sealed)
