"""When certificates end: those that kubeadm, kubelet and a load balancer keep."""

from __future__ import annotations

import base64
import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.salt_node import Node

CAPTURED = Path(__file__).parents[1] / "states" / "captured"


def pem(days: float, lifetime_days: float = 365) -> tuple[bytes, bytes]:
    """A certificate that ends in so many days, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")])
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days, minutes=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(end - datetime.timedelta(days=lifetime_days)).not_valid_after(end)
    kind = serialization.PrivateFormat.TraditionalOpenSSL
    return (
        builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption()),
    )


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path, {"saltern": {"node": {"role": "control_plane"}}}, ["certificates", "sandbox"])


def test_all_certificates_of_a_control_plane_node_the_first_to_end_first(node: Node, tmp_path: Path) -> None:
    node.file("etc", "kubernetes", "pki", "ca.crt").write_bytes(pem(3650, 3650)[0])
    node.file("etc", "kubernetes", "pki", "etcd", "server.crt").write_bytes(pem(40)[0])
    node.file("etc", "kubernetes", "pki", "etcd", "server.key").write_bytes(pem(1)[1])
    data = base64.b64encode(pem(-2)[0]).decode()
    node.file("etc", "kubernetes", "admin.conf", text=f"users: [{{user: {{client-certificate-data: {data}}}}}]\n")
    node.file("etc", "kubernetes", "kubelet.conf", text="users: [{user: {client-certificate: /a.pem}}]\n")
    kubelet = tmp_path / "kubelet-client-current.pem"
    kubelet.write_bytes(b"".join(reversed(pem(100))))  # a key may come first
    assert node.salt["certificates.expiries"](kubelet_path=str(kubelet)) == [
        {"name": "admin.conf", "days": -2.0, "lifetime_days": 365.0},
        {"name": "etcd/server", "days": 40.0, "lifetime_days": 365.0},
        {"name": "kubelet client", "days": 100.0, "lifetime_days": 365.0},
        {"name": "ca", "days": 3650.0, "lifetime_days": 3650.0},
    ]


def test_a_kubeconfig_that_kubeadm_wrote(node: Node, tmp_path: Path) -> None:
    """Captured with its keys and certificates blotted out: the form is what is read."""
    text = (CAPTURED / "kubeadm-1.36.4-scheduler.conf").read_text()
    data = base64.b64encode(pem(7)[0]).decode()
    lines = [
        f"    client-certificate-data: {data}" if "client-certificate-data" in line else line
        for line in text.splitlines()
    ]
    node.file("etc", "kubernetes", "scheduler.conf", text="\n".join(lines))
    (told,) = node.salt["certificates.expiries"](kubelet_path=str(tmp_path / "none"))
    assert (told["name"], told["days"]) == ("scheduler.conf", 7.0)


def test_a_load_balancer_has_the_clusters_authority_once_there_is_a_cluster(node: Node, tmp_path: Path) -> None:
    node.pillar["saltern"] |= {"node": {"role": "load_balancer"}, "haproxy": {"ca_path": str(tmp_path / "ca.crt")}}
    assert node.salt["certificates.expiries"]() == []
    (tmp_path / "ca.crt").write_bytes(pem(3650, 3650)[0])
    assert node.salt["certificates.expiries"]() == [{"name": "kubernetes-ca", "days": 3650.0, "lifetime_days": 3650.0}]


def test_a_node_that_is_no_member_has_none(node: Node, tmp_path: Path) -> None:
    assert node.salt["certificates.expiries"](kubelet_path=str(tmp_path / "none")) == []
