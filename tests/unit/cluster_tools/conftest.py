"""An installation in a temporary directory, with a real key or password wherever a real one has one."""

from __future__ import annotations

import base64
import os
import uuid
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.cluster.places import Places

CAPTURED = Path(__file__).parent / "captured"
CERTIFICATE_KEY = bytes(range(32)).hex()


def pem(key: object, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    """A private key as PEM text."""
    return key.private_bytes(Encoding.PEM, form, NoEncryption())


def new_key() -> bytes:
    """A new key as PEM text; of the kind that is made fastest."""
    return pem(ec.generate_private_key(ec.SECP256R1()))


def kubeconfig(key: bytes) -> bytes:
    """The part of a kubeconfig that holds a key."""
    return b"users:\n- name: admin\n  user:\n    client-key-data: %b\n" % base64.b64encode(key)


def etcd_entry(certificate_key: bytes) -> bytes:
    """An entry of the secret kubeadm-certs as etcd stores it: key, length and value as kubeadm encrypts it."""
    nonce = os.urandom(12)
    value = nonce + AESGCM(certificate_key).encrypt(nonce, new_key() * 3, None)
    return b"\x0a\x0betcd-ca.key\x12" + bytes([len(value) & 0x7F | 0x80, len(value) >> 7]) + value


def write(path: Path, content: bytes, mode: int = 0o600) -> Path:
    """Write a file with its directories."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.fixture(scope="session")
def keys() -> dict[str, bytes]:
    """A key of each kind that the tools of a cluster make, in the form in which they write it."""
    curve, edwards = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
    number = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return {
        "RSA, as kubeadm writes it": pem(number, PrivateFormat.TraditionalOpenSSL),
        "RSA, as Salt writes it": pem(number),
        "EC, as the kubelet writes it": pem(curve, PrivateFormat.TraditionalOpenSSL),
        "EC, as Go writes it": pem(curve),
        "EC, as ssh-keygen writes it": pem(curve, PrivateFormat.OpenSSH),
        "Ed25519": pem(edwards),
        "Ed25519, as ssh-keygen writes it": pem(edwards, PrivateFormat.OpenSSH),
    }


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """The installation: a master's machine with one control-plane node and one worker."""
    state, node, worker = tmp_path / "state", tmp_path / "node", tmp_path / "worker"
    for name in ("salt/pki/master/vm.pem", "lab/ca/ca.key", "lab/proxmox/tls/server.key", "lab/ssh/id_ed25519"):
        write(state / name, new_key())
    (state / "salt/pki/master/master.pem").symlink_to("vm.pem")
    for name in ("cache/master/.root_key", "cache/master/sessions/node"):
        write(state / "salt" / name, uuid.uuid4().hex.encode())
    credentials = state / "lab/proxmox/credentials"
    write(credentials / "salt@pve.password", uuid.uuid4().hex.encode() + b"\n")
    write(credentials / "salt@pve!salt.token", f"salt@pve!salt={uuid.uuid4()}\n".encode())
    write(credentials / "ticket.key", uuid.uuid4().hex.encode())
    for root in (node, worker):
        for name in ("etc/salt/pki/minion/minion.pem", "etc/ssh/ssh_host_ecdsa_key", "var/lib/kubelet/pki/kubelet.key"):
            write(root / name, new_key())
    for name in ("ca.key", "etcd/server.key"):
        write(node / "etc/kubernetes/pki" / name, new_key())
    write(node / "etc/kubernetes/admin.conf", kubeconfig(new_key()))
    log = (CAPTURED / "etcd-3.6-bootstrap-token.bin").read_bytes() + etcd_entry(bytes.fromhex(CERTIFICATE_KEY))
    write(node / "opt/sandbox/var/lib/etcd/member/wal/0.wal", log)
    return Places(state, "k8s", {"node": node, "worker": worker}, (tmp_path / "shared",))
