"""etcd's own API: what real members said (3.6.8), and members that do not say anything, over real TLS."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from salt.exceptions import CommandExecutionError

from tests.salt_node import Node

CAPTURED = Path(__file__).parent / "captured"
STATUS = (CAPTURED / "etcd-3.6.8-status.json").read_text()
MEMBERS = (CAPTURED / "etcd-3.6.8-members.json").read_text()


def keys(directory: Path) -> None:
    """What kubeadm puts into pki/etcd, as far as a client needs it: one certificate that is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "etcd")])
    begin = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(begin).not_valid_after(begin + datetime.timedelta(days=2))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    directory.mkdir(parents=True)
    (directory / "ca.crt").write_bytes(pem)
    (directory / "server.crt").write_bytes(pem)
    kind = serialization.PrivateFormat.PKCS8
    (directory / "server.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption())
    )


class Member:
    """Answers as an etcd member does, to clients with a certificate of its authority alone."""

    def __init__(self, directory: Path) -> None:
        self.answers: dict[str, tuple[int, str]] = {"/health": (200, '{"health":"true","reason":""}')}
        member = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, body = member.answers.get(self.path, (404, "404 page not found\n"))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body.encode())

            def do_GET(self) -> None:
                self.answer()

            def do_POST(self) -> None:
                self.answer()

            def log_message(self, *_args: Any) -> None:
                """Keep the tests' output clean."""

        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(directory / "ca.crt"))
        context.load_cert_chain(directory / "server.crt", directory / "server.key")
        context.verify_mode = ssl.CERT_REQUIRED
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def node(tmp_path: Path) -> Node:
    node = Node(tmp_path, {}, ["etcd_facts", "sandbox"])
    keys(node.sandbox / "etc/kubernetes/pki/etcd")
    return node


@pytest.fixture
def member(node: Node) -> Iterator[Member]:
    member = Member(node.sandbox / "etc/kubernetes/pki/etcd")
    vars(node.modules["etcd_facts"])["PORT"] = member.port
    yield member
    member.close()


def listed(*urls: list[str]) -> str:
    """The captured list, its members reachable elsewhere."""
    document = json.loads(MEMBERS)
    for item, own in zip(document["members"], urls, strict=True):
        item["clientURLs"] = own
    return json.dumps(document)


def test_a_member_and_its_leader(node: Node, member: Member) -> None:
    member.answers["/v3/maintenance/status"] = (200, STATUS)
    assert node.salt["etcd_facts.own"]() == {
        "id": "5869982911790fe5", "leader": "5869982911790fe5", "version": "3.6.8", "db_mib": 10.4, "errors": [],
    }  # fmt: skip


def test_a_member_without_a_leader_and_with_an_alarm(node: Node) -> None:
    status = json.loads(STATUS) | {"errors": ["etcdserver: no leader", "memberID:1 alarm:NOSPACE"]}
    del status["leader"]
    told = node.salt["etcd_facts.parse_status"](json.dumps(status))
    assert (told["leader"], told["errors"]) == ("", ["etcdserver: no leader", "memberID:1 alarm:NOSPACE"])


def test_members_as_they_are_listed(node: Node) -> None:
    assert [(item["name"], item["id"], item["learner"]) for item in node.salt["etcd_facts.parse_members"](MEMBERS)] == [
        ("saw-k8s-m-01", "5869982911790fe5", False),
        ("saw-k8s-m-02", "e9baa4470191bf1b", False),
        ("saw-k8s-m-03", "bce1fc6b27ed2ed0", False),
    ]


def test_the_health_of_every_member(node: Node, member: Member) -> None:
    own, unhealthy = f"https://127.0.0.1:{member.port}", Member(node.sandbox / "etc/kubernetes/pki/etcd")
    unhealthy.answers["/health"] = (503, '{"health":"false","reason":"RAFT NO LEADER"}')
    member.answers["/v3/cluster/member/list"] = (
        200, listed([own], ["https://127.0.0.1:1"], [f"https://127.0.0.1:{unhealthy.port}"]),
    )  # fmt: skip
    told = {item["name"]: (item["healthy"], item["reason"]) for item in node.salt["etcd_facts.members"]()}
    unhealthy.close()
    assert told["saw-k8s-m-01"] == (True, "")
    assert told["saw-k8s-m-02"] == (False, "RAFT NO LEADER")
    assert told["saw-k8s-m-03"][0] is False and "https://127.0.0.1:1 does not answer" in told["saw-k8s-m-03"][1]


def test_a_member_that_has_never_started(node: Node, member: Member) -> None:
    own = f"https://127.0.0.1:{member.port}"
    document = json.loads(listed([own], [own], []))
    del document["members"][2]["name"]
    document["members"][2]["isLearner"] = True
    member.answers["/v3/cluster/member/list"] = (200, json.dumps(document))
    first = node.salt["etcd_facts.members"]()[0]
    assert (first["name"], first["learner"], first["reason"]) == ("", True, "it has never started")


def test_too_few_members_are_told_in_etcds_words(node: Node, member: Member) -> None:
    member.answers["/v3/cluster/member/list"] = (503, '{"error":"etcdserver: request timed out","code":14}')
    with pytest.raises(CommandExecutionError, match=r"HTTP 503: .*request timed out.*crictl ps -a --name etcd"):
        node.salt["etcd_facts.members"]()


def test_no_etcd_is_told_with_where_it_was_looked_for(node: Node) -> None:
    vars(node.modules["etcd_facts"])["PORT"] = 1
    with pytest.raises(CommandExecutionError, match=r"saw-k8s-m-01: etcd does not answer on 127.0.0.1:1 \(.*refused"):
        node.salt["etcd_facts.own"]()


def test_a_node_without_certificates_says_so(tmp_path: Path) -> None:
    node = Node(tmp_path / "bare", {}, ["etcd_facts", "sandbox"])
    with pytest.raises(CommandExecutionError, match="this node has not joined the control plane"):
        node.salt["etcd_facts.own"]()
