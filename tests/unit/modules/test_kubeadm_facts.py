"""What kubeadm has made of a node, read from files like kubeadm's and from sockets that really listen."""

import datetime
import hashlib
import os
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from salt.exceptions import CommandExecutionError

from tests.salt_node import Node
from tests.unit.modules.member import ENDPOINT, Member, certificate

LISTENING = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:A8B1 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 133407 1 ffff9eb902f50000
   1: 00000000:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 99 1 ffff9eb902f50000
   2: 0100007F:A8B1 0100007F:D0F2 01 00000000:00000000 02:0000042A 00000000     0        0 134000 2 ffff9eb902f50000
"""


@pytest.fixture
def node(tmp_path: Path) -> Member:
    """A control-plane node that is no member."""
    return Member(tmp_path)


def test_a_fresh_node(node: Member) -> None:
    assert node.salt["kubeadm_facts.status"]() == {
        "role": "control_plane",
        "control_plane": False,
        "initialised": False,
        "joined": False,
        "unfinished": None,
        "node_registered": None,
        "healthy": False,
        "unhealthy": [],
        "endpoint_silent": False,
        "expired": [],
        "etcd_leader": None,
        "cluster_ca_hash": None,
        "foreign": None,
    }


def test_a_control_plane_member(node: Member) -> None:
    node.with_files()
    found = node.salt["kubeadm_facts.status"]()
    assert found["initialised"]
    assert found["joined"]
    assert found["healthy"]
    assert found["node_registered"] is True
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", found["cluster_ca_hash"])


def test_a_worker_is_joined_and_never_initialised(tmp_path: Path) -> None:
    worker = Member(tmp_path, "worker")
    worker.with_files()
    found = worker.salt["kubeadm_facts.status"]()
    assert (found["joined"], found["initialised"], found["control_plane"]) == (True, False, False)


@pytest.mark.parametrize(
    ("fact", "value", "said"),
    [
        ("kubelet_answers", False, "the kubelet does not answer"),
        ("api_server_ready", False, "the API server of this node is not ready"),
        ("node_registered", False, "the cluster has no Node of this name"),
        ("node_registered", None, "could not be asked"),
    ],
)
def test_a_member_that_is_not_well(node: Member, fact: str, value: bool | None, said: str) -> None:
    node.with_files()
    node.answers(**{fact: value})
    found = node.salt["kubeadm_facts.status"]()
    assert (found["joined"], found["healthy"]) == (True, False)
    assert said in found["unhealthy"][0]


@pytest.mark.parametrize(
    ("facts", "silent"),
    [
        ({"node_registered": None}, True),
        ({}, False),
        ({"node_registered": None, "api_server_ready": False}, False),
        ({"node_registered": None, "kubelet_answers": False}, False),
        ({"node_registered": False}, False),
    ],
)
def test_a_control_plane_node_knows_when_only_the_endpoint_is_silent(
    node: Member, facts: dict[str, bool | None], silent: bool
) -> None:
    node.with_files()
    node.answers(**facts)
    assert node.salt["kubeadm_facts.status"]()["endpoint_silent"] is silent


def test_a_worker_cannot_tell_a_silent_endpoint_from_a_dead_cluster(tmp_path: Path) -> None:
    worker = Member(tmp_path, "worker")
    worker.with_files()
    worker.answers(node_registered=None)
    assert worker.salt["kubeadm_facts.status"]()["endpoint_silent"] is False


def test_a_member_that_is_well_is_not_looked_into(node: Member) -> None:
    node.with_files()
    del node.salt["certificates.expiries"], node.salt["kubeadm_facts.etcd_leader"]
    found = node.salt["kubeadm_facts.status"]()
    assert (found["healthy"], found["expired"], found["etcd_leader"]) == (True, [], None)


def test_a_member_whose_certificates_have_ended_names_them(node: Member) -> None:
    (ca, signer), key = _authority(), ec.generate_private_key(ec.SECP256R1())
    node.with_files(ca=ca)
    for name, days in {"apiserver": -1, "front-proxy-client": 0, "etcd/server": 1}.items():
        path = node.file("etc", "kubernetes", "pki", *f"{name}.crt".split("/"))
        path.write_bytes(_signed(name, key, signer, days))
    node.answers(api_server_ready=False)
    found = node.salt["kubeadm_facts.status"]()
    # One that ends this very moment counts: days left are rounded down.
    assert found["expired"] == ["apiserver", "front-proxy-client"]
    assert found["unhealthy"][0].startswith("certificates have expired: apiserver, front-proxy-client (kubeadm certs")
    assert "the API server of this node is not ready" in found["unhealthy"][1]


def test_a_damaged_certificate_is_said_and_hides_nothing(node: Member) -> None:
    node.with_files()
    node.file("etc", "kubernetes", "pki", "apiserver.crt").write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n")
    node.answers(api_server_ready=False, etcd_leader=False)
    found = node.salt["kubeadm_facts.status"]()
    assert found["unhealthy"][0].startswith("its certificates cannot be read: ")
    assert (found["expired"], found["etcd_leader"], len(found["unhealthy"])) == ([], False, 3)


@pytest.mark.parametrize(("leader", "sentences"), [(True, 1), (None, 1), (False, 2)])
def test_a_member_of_etcd_without_a_leader(node: Member, leader: bool | None, sentences: int) -> None:
    node.with_files()
    node.answers(api_server_ready=False, etcd_leader=leader)
    found = node.salt["kubeadm_facts.status"]()
    assert found["etcd_leader"] is leader and len(found["unhealthy"]) == sentences
    assert found["unhealthy"][0].startswith("its member of etcd sees no leader") is (leader is False)


def test_a_worker_has_no_member_of_etcd(tmp_path: Path) -> None:
    worker = Member(tmp_path, "worker")
    worker.with_files()
    worker.answers(kubelet_answers=False)
    assert worker.salt["kubeadm_facts.status"]()["etcd_leader"] is None


@pytest.mark.parametrize(("answer", "leader"), [({"leader": "a"}, True), ({"leader": ""}, False), (None, None)])
def test_whether_etcd_has_a_leader(node: Member, answer: dict[str, str] | None, leader: bool | None) -> None:
    def own() -> dict[str, str]:
        if answer is None:
            raise CommandExecutionError("etcd does not answer")
        return answer

    node.salt["etcd_facts.own"] = own
    assert node.modules["kubeadm_facts"].etcd_leader() is leader


def test_an_unfinished_call_is_no_membership(node: Member) -> None:
    node.with_files()
    node.unfinished("join")
    found = node.salt["kubeadm_facts.status"]()
    assert (found["unfinished"], found["joined"], found["healthy"]) == ("join", False, False)


@pytest.mark.parametrize("server", [ENDPOINT, "https://192.168.100.151:6443"])
def test_the_endpoint_and_the_own_api_server_are_ours(node: Member, server: str) -> None:
    node.with_files(server=server)
    assert node.salt["kubeadm_facts.status"]()["foreign"] is None


def test_another_endpoint_is_foreign(node: Member) -> None:
    node.with_files(server="https://192.168.100.152:6443")
    reason = node.salt["kubeadm_facts.status"]()["foreign"]
    assert reason.endswith(f"points at https://192.168.100.152:6443, the endpoint of this cluster is {ENDPOINT}")


def test_another_ca_is_foreign(node: Member) -> None:
    node.with_files()
    assert "the CA on this node is" in node.salt["kubeadm_facts.status"]("sha256:" + "0" * 64)["foreign"]


def test_an_endpoint_that_another_ca_signed_is_foreign(node: Member) -> None:
    node.with_files()
    node.answers(endpoint_trusted=False)
    assert "did not sign" in node.salt["kubeadm_facts.status"]()["foreign"]


def test_an_endpoint_that_does_not_answer_says_nothing(node: Member) -> None:
    node.with_files()
    node.answers(endpoint_trusted=None)
    assert node.salt["kubeadm_facts.status"]()["foreign"] is None


@pytest.mark.parametrize(
    "left",
    [("etc", "kubernetes", "manifests", "etcd.yaml"), ("var", "lib", "etcd", "member", "snap")],
)
def test_leftovers_of_a_cluster_are_foreign(node: Member, left: tuple[str, ...]) -> None:
    node.file(*left)
    assert "files of a cluster are left" in node.salt["kubeadm_facts.status"]()["foreign"]


def test_a_kubeconfig_that_cannot_be_read_is_foreign(node: Member) -> None:
    node.file("etc", "kubernetes", "kubelet.conf", text="clusters: [")
    assert "unreadable" in node.salt["kubeadm_facts.status"]()["foreign"]


def test_a_half_made_start_of_ours_is_not_foreign(node: Member) -> None:
    node.file("etc", "kubernetes", "manifests", "etcd.yaml")
    node.unfinished("init")
    assert node.salt["kubeadm_facts.status"]()["foreign"] is None


def test_the_ca_hash_is_openssls(node: Member, tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(certificate())
    key = subprocess.run(
        ["openssl", "x509", "-pubkey", "-noout", "-in", tmp_path / "ca.crt"], capture_output=True, check=True
    ).stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "der"], input=key, capture_output=True, check=True)
    expected = f"sha256:{hashlib.sha256(der.stdout).hexdigest()}"
    assert node.salt["kubeadm_facts.ca_hash"]((tmp_path / "ca.crt").read_bytes()) == expected


def test_listening_sockets_are_read_from_the_kernels_table(node: Member) -> None:
    assert node.salt["ports.listening_sockets"](LISTENING) == {133407: 0xA8B1, 99: 6443}


def test_a_port_is_named_with_the_process_that_listens(node: Member) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        holders = node.salt["ports.holders"]([port, 1])
    name = Path("/proc/self/comm").read_text().strip()
    assert holders == {port: f"{name} (PID {os.getpid()})"}
    assert node.salt["ports.holders"]([port]) == {}


def test_ports_are_those_of_the_role(tmp_path: Path) -> None:
    control_plane, worker = Member(tmp_path / "m"), Member(tmp_path / "w", "worker")
    for node in (control_plane, worker):
        del node.salt["kubeadm_facts.ports_taken"]
        node.salt["ports.holders"] = lambda ports: dict.fromkeys(ports, "x (PID 1)")
    assert len(control_plane.modules["kubeadm_facts"].ports_taken()) == 6
    assert worker.modules["kubeadm_facts"].ports_taken() == ["port 10250, which kubelet needs, is taken by x (PID 1)"]


def test_a_node_without_kubeadm_in_its_pillar_is_told_so(tmp_path: Path) -> None:
    node = Node(tmp_path, {"saltern": {"node": {"role": "load_balancer"}}}, ["sandbox", "kubeadm_facts"])
    with pytest.raises(CommandExecutionError, match="control_plane and worker rows"):
        node.salt["kubeadm_facts.status"]()


@pytest.fixture
def endpoint(node: Member, tmp_path: Path) -> Iterator[Member]:
    """A node whose endpoint is a TLS server here with a certificate of a CA of its own."""
    own, key = tmp_path / "server.crt", tmp_path / "server.key"
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=kubernetes", "-addext", "subjectAltName=IP:192.0.2.1", "-keyout", str(key), "-out", str(own)]
    subprocess.run([*request, *names], check=True, capture_output=True)
    with _served(node, own, key):
        yield node


@contextmanager
def _served(node: Member, certificate_file: Path, key: Path) -> Iterator[None]:
    """The node's endpoint is a TLS server here that takes one connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address, port = listener.getsockname()
        node.pillar["saltern"]["cluster"]["endpoint"] = {"address": address, "port": port}
        thread = threading.Thread(target=_serve_one, args=(listener, context))
        thread.start()
        yield
        thread.join()


def _serve_one(listener: socket.socket, context: ssl.SSLContext) -> None:
    connection, _ = listener.accept()
    try:
        with context.wrap_socket(connection, server_side=True) as tls:
            tls.recv(1)
    except OSError:
        connection.close()  # the client did not trust us: what one of the tests is about


def test_a_certificate_of_the_own_ca_is_trusted_whatever_names_are_in_it(endpoint: Member, tmp_path: Path) -> None:
    endpoint.with_files(ca=(tmp_path / "server.crt").read_bytes())
    assert endpoint.modules["kubeadm_facts"].endpoint_trusted() is True


def test_a_certificate_of_another_ca_is_not_trusted(endpoint: Member) -> None:
    endpoint.with_files()
    assert endpoint.modules["kubeadm_facts"].endpoint_trusted() is False


def _authority() -> tuple[bytes, ec.EllipticCurvePrivateKey]:
    """A CA as kubeadm makes one: of the same name in every cluster."""
    key = ec.generate_private_key(ec.SECP256R1())
    return _signed("kubernetes", key, key, days=3650), key


def _signed(subject: str, key: ec.EllipticCurvePrivateKey, by: ec.EllipticCurvePrivateKey, days: int) -> bytes:
    """A certificate of the CA "kubernetes" that ends in some days."""
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in (subject, "kubernetes")]
    builder = x509.CertificateBuilder().subject_name(names[0]).issuer_name(names[1]).serial_number(1)
    builder = builder.public_key(key.public_key()).not_valid_before(now - datetime.timedelta(days=3650))
    builder = builder.not_valid_after(now + datetime.timedelta(days=days))
    builder = builder.add_extension(x509.BasicConstraints(ca=key is by, path_length=None), critical=True)
    return builder.sign(by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize("own", [True, False])
def test_an_outdated_certificate_is_judged_by_who_signed_it(node: Member, tmp_path: Path, own: bool) -> None:
    """That of an API server nobody renewed is no reason to take the cluster for another one."""
    (ca, signer), key = _authority(), ec.generate_private_key(ec.SECP256R1())
    formats = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (tmp_path / "server.key").write_bytes(key.private_bytes(*formats))
    ended = _signed("kube-apiserver", key, signer if own else _authority()[1], days=-1)
    (tmp_path / "server.crt").write_bytes(ended)
    node.with_files(ca=ca)
    with _served(node, tmp_path / "server.crt", tmp_path / "server.key"):
        assert node.modules["kubeadm_facts"].endpoint_trusted() is own


def test_an_endpoint_where_nobody_listens_is_neither(node: Member) -> None:
    node.with_files()
    node.pillar["saltern"]["cluster"]["endpoint"] = {"address": "127.0.0.1", "port": 1}
    assert node.modules["kubeadm_facts"].endpoint_trusted() is None


COMPLETE = {"kube.nodes": {"saw-k8s-m-01": {"roles": ["control-plane"]}}, "kube.get": {"kind": "found"}}


@pytest.mark.parametrize(
    ("verb", "changed", "expected"),
    [
        ("init", {}, True),
        ("join", {}, True),
        ("init", {"kube.get": None}, False),
        ("join", {"kube.get": None}, True),
        ("join", {"kube.nodes": {"saw-k8s-m-01": {"roles": []}}}, False),
    ],
)
def test_what_an_unseen_end_is_judged_by(node: Member, verb: str, changed: dict[str, object], expected: bool) -> None:
    node.with_files()
    for name, value in (COMPLETE | changed).items():
        node.salt[name] = lambda *_args, value=value, **_kwargs: value
    assert node.modules["kubeadm_facts"].complete(verb) is expected


@pytest.mark.parametrize("fact", ["kubelet_answers", "api_server_ready", "node_registered"])
def test_a_member_that_does_not_answer_is_not_complete(node: Member, fact: str) -> None:
    node.with_files()
    node.answers(**{fact: False})
    assert node.modules["kubeadm_facts"].complete("join") is False


def test_without_an_api_there_are_no_other_members_to_see(node: Member) -> None:
    node.answers(api_server_ready=False)
    assert node.modules["kubeadm_facts"].other_members() == []


def test_other_members_are_all_nodes_but_this_one(node: Member) -> None:
    node.salt["kube.nodes"] = lambda: {"saw-k8s-m-01": {}, "saw-k8s-w-01": {}}
    assert node.modules["kubeadm_facts"].other_members() == ["saw-k8s-w-01"]
