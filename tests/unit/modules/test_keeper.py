"""keeper.named: every control-plane node comes to the same answer."""

from __future__ import annotations

import datetime
import http.server
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from salt.exceptions import CommandExecutionError

from tests.unit.modules.member import Member

ROWS = ["saw-k8s-m-01", "saw-k8s-m-02", "saw-k8s-m-03"]


@pytest.fixture
def named_by(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """What a node answers, with these nodes Ready."""

    def ask(name: str, ready: list[str], **unfinished: str) -> dict[str, Any]:
        node = Member(tmp_path / name)
        node.opts["id"] = name
        node.with_files()
        if unfinished:
            node.unfinished(unfinished["verb"])
        node.salt["kube.nodes"] = lambda: {row: {"ready": row in ready} for row in ROWS}
        answer: dict[str, Any] = node._load("_modules", "keeper").named()
        return answer

    return ask


@pytest.mark.parametrize(("ready", "keeper"), [(ROWS, ROWS[0]), (ROWS[1:], ROWS[1]), (ROWS[2:], ROWS[2])])
def test_it_is_the_first_that_is_ready_and_all_know(
    named_by: Callable[..., dict[str, Any]], ready: list[str], keeper: str
) -> None:
    answers = {name: named_by(name, ready) for name in ROWS}
    assert {answer["node"] for answer in answers.values()} == {keeper}
    assert [name for name, answer in answers.items() if answer["here"]] == [keeper]
    assert not any(answer["failure"] for answer in answers.values())


def test_when_none_is_ready_that_is_a_failure(named_by: Callable[..., dict[str, Any]]) -> None:
    answer = named_by(ROWS[0], [])
    assert (answer["node"], answer["failure"]) == (None, True)
    assert "none of saw-k8s-m-01, saw-k8s-m-02, saw-k8s-m-03 is Ready" in answer["reason"]


def test_half_a_member_keeps_nothing(named_by: Callable[..., dict[str, Any]]) -> None:
    answer = named_by(ROWS[0], ROWS, verb="join")
    assert answer == {"node": None, "here": False, "failure": False, "reason": "no member of a cluster yet"}


def test_an_api_that_does_not_answer_is_a_failure(tmp_path: Path) -> None:
    node = Member(tmp_path)
    node.with_files()

    def silent() -> None:
        raise CommandExecutionError("connection refused")

    node.salt["kube.nodes"] = silent
    answer = node._load("_modules", "keeper").named()
    assert (answer["node"], answer["failure"]) == (None, True)
    told = node.state("keeper").told("What the API holds has a keeper", answer)
    assert (told["result"], told["changes"]) == (False, {})
    assert "apply again once it does (connection refused)" in told["comment"]


@contextmanager
def api_server(node: Member, status: int = 200) -> Iterator[None]:
    """An API server at the endpoint, that lists the nodes for a client with a certificate of the cluster's CA."""
    own, client = node.file("pki", "server.pem"), node.file("etc", "kubernetes", "pki", "apiserver-kubelet-client.crt")
    key, name = ec.generate_private_key(ec.SECP256R1()), "127.0.0.1"
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    made = self_signed(key, name)
    own.write_bytes(pem + made)
    for path, content in ((client, made), (client.with_suffix(".key"), pem), (client.with_name("ca.crt"), made)):
        path.write_bytes(content)
    items = [
        {"metadata": {"name": row}, "status": {"conditions": [{"type": "Ready", "status": str(row != ROWS[0])}]}}
        for row in ROWS
    ]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/api/v1/nodes" else 404)
            self.end_headers()
            self.wfile.write(json.dumps({"kind": "NodeList", "items": items}).encode())

        def log_message(self, *_: object) -> None:
            """A test's output has no use for it."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own)
    context.load_verify_locations(client.with_name("ca.crt"))
    context.verify_mode = ssl.CERT_REQUIRED
    server = http.server.HTTPServer((name, 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    node.pillar["saltern"]["cluster"]["endpoint"] = {"address": name, "port": server.server_address[1]}
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def self_signed(key: ec.EllipticCurvePrivateKey, address: str) -> bytes:
    """A certificate that is its own authority, PEM."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kubernetes")])
    today = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(today).not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    return made.public_bytes(serialization.Encoding.PEM)


def test_without_kubectl_the_api_itself_is_asked(tmp_path: Path) -> None:
    node = Member(tmp_path)
    node.with_files()
    node.file("bin", "kubectl").unlink()
    with api_server(node):
        assert node._load("_modules", "keeper").named()["node"] == ROWS[1]


def test_without_kubectl_a_refusal_or_silence_is_a_failure(tmp_path: Path) -> None:
    node = Member(tmp_path)
    node.with_files()
    node.file("bin", "kubectl").unlink()
    with api_server(node, status=403):
        answer = node._load("_modules", "keeper").named()
    assert answer["failure"] and "HTTP 403 from /api/v1/nodes" in answer["reason"]
    answer = node._load("_modules", "keeper").named()
    assert answer["failure"] and "/api/v1/nodes: [Errno 111] Connection refused" in answer["reason"]
