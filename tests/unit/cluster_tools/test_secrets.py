"""What is looked for of a secret is in every text that gives it away, and in none that is public."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
)

from tests.cluster import secrets
from tests.cluster.search import Scanner
from tests.cluster.secrets import CertificateKeys, Secret

from .conftest import CAPTURED, etcd_entry, kubeconfig, new_key

KINDS_OF_KEYS = (
    "RSA, as kubeadm writes it",
    "RSA, as Salt writes it",
    "EC, as the kubelet writes it",
    "EC, as Go writes it",
    "EC, as ssh-keygen writes it",
    "Ed25519",
    "Ed25519, as ssh-keygen writes it",
)
NOTHING = CertificateKeys([])


def is_found(known: list[Secret], text: bytes) -> bool:
    """Whether a search for these secrets finds something in a text; not by the mere look of a key."""
    return bool(Scanner(known, NOTHING, patterns=()).text("place", "text", text))


def ways_to_write(value: bytes) -> dict[str, bytes]:
    """Texts that give a value away."""
    return {
        "as it is": b"before " + value + b" after",
        "in JSON": json.dumps({"key": value.decode()}).encode(),
        "in JSON in JSON": json.dumps(json.dumps([value.decode()])).encode(),
        "indented, as in a document": b"key: |\n" + b"".join(b"    " + line + b"\n" for line in value.splitlines()),
        "in base64": base64.b64encode(value),
        "in base64 after 1 byte": base64.b64encode(b"-" + value + b"--"),
        "in base64 after 2 bytes": base64.b64encode(b"--" + value),
    }


WAYS = tuple(ways_to_write(b""))


@pytest.mark.parametrize("kind", KINDS_OF_KEYS)
@pytest.mark.parametrize("way", WAYS)
def test_a_private_key_is_recognised(keys: dict[str, bytes], kind: str, way: str) -> None:
    known = secrets.private_keys("key", "node", keys[kind])
    assert len(known) == 1
    assert is_found(known, ways_to_write(keys[kind])[way])


@pytest.mark.parametrize("kind", KINDS_OF_KEYS)
def test_its_public_half_is_not(keys: dict[str, bytes], kind: str) -> None:
    load = load_ssh_private_key if "ssh-keygen" in kind else load_pem_private_key
    public = load(keys[kind], None).public_key()
    written = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        base64.b64encode(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)),
    ]
    known = secrets.private_keys("key", "node", keys[kind])
    assert not is_found(known, b"\n".join([*written, *map(base64.b64encode, written)]))


def test_every_key_of_a_text_is_taken_and_what_is_no_key_is_left() -> None:
    assert len(secrets.private_keys("key", "node", new_key() + b"noise\n" + new_key())) == 2
    assert secrets.private_keys("key", "node", b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n") == []


def test_a_key_that_cannot_be_read_is_an_error_that_does_not_show_it() -> None:
    broken = new_key().replace(b"MI", b"XX", 1)
    with pytest.raises(ValueError, match="master key") as caught:
        secrets.private_keys("master key", "node", broken)
    assert broken.split()[4].decode() not in str(caught.value)


@pytest.mark.parametrize("way", WAYS)
def test_a_password_is_recognised(way: str) -> None:
    password = b"aB3-_x9Zq/Lm+4=" * 3
    assert is_found([secrets.text_secret("password", "file", password)], ways_to_write(password)[way])


def test_a_password_is_recognised_in_a_request() -> None:
    known = [secrets.text_secret("password", "file", b"p&ss w0rd/with+signs")]
    assert is_found(known, b"POST username=root%40pam&password=p%26ss%20w0rd%2Fwith%2Bsigns")


def test_what_is_too_short_to_be_told_from_chance_is_refused() -> None:
    with pytest.raises(ValueError, match="11 bytes"):
        secrets.text_secret("password", "file", b"x" * 11)


def test_a_kubeconfig_gives_its_client_key() -> None:
    key = new_key()
    assert is_found(secrets.kubeconfig_keys("node: admin.conf", kubeconfig(key)), key)


def test_secrets_of_the_cluster_give_keys_and_values_but_nothing_public() -> None:
    def item(name: str, kind: str, **data: bytes) -> dict[str, object]:
        encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
        return {"type": kind, "metadata": {"namespace": "kube-system", "name": name}, "data": encoded}

    certificate = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    listing = [
        item("hubble", "kubernetes.io/tls", key=new_key(), crt=certificate),
        item("memberlist", "Opaque", secretkey=b"r4nd0m" * 20, flag=b"true"),
        item("release", "helm.sh/release.v1", release=b"x" * 100),
        {"type": "Opaque", "metadata": {"namespace": "kube-system", "name": "empty"}},
    ]
    found = secrets.kubernetes_secrets(json.dumps({"items": listing}).encode())
    assert [str(secret) for secret in found] == [
        "key in a Secret (kube-system/hubble: key)",
        "value in a Secret (kube-system/memberlist: secretkey)",
    ]


def test_etcd_gives_a_bootstrap_token_that_was_deleted() -> None:
    log = b"noise" * 1000 + (CAPTURED / "etcd-3.6-bootstrap-token.bin").read_bytes() + b"noise" * 1000
    known = secrets.bootstrap_tokens("node", log)
    assert [str(secret) for secret in known] == ["bootstrap token (node: bootstrap-token-abcdef)"]
    assert is_found(known, b"kubeadm join --token abcdef.0123456789abcdef")
    assert is_found(known, b"token-secret: 0123456789abcdef")
    assert not is_found(known, b"token-id: abcdef")


def test_the_certificate_key_is_what_opens_what_etcd_has_kept() -> None:
    key, other = bytes(range(32)), bytes(range(1, 33))
    keys = CertificateKeys(secrets.sealed_certificates(b"noise" + etcd_entry(other) + b"noise" + etcd_entry(key)))
    assert len(keys) == 2
    assert keys.opened_by(key.hex().encode())
    assert keys.opened_by(b"00ff" + key.hex().encode() + b"00ff")
    assert not keys.opened_by(bytes(32).hex().encode())


def test_nothing_that_is_shown_of_a_secret_gives_it_away() -> None:
    secret = secrets.text_secret("password", "file", b"correct horse battery")
    assert "horse" not in f"{secret} {secret!r} {[secret]}"


def test_a_secret_of_unknown_value_is_known_by_its_form(tmp_path: Path) -> None:
    scanner = Scanner([], NOTHING)
    head, body = b'{"alg":"RS256","kid":"abcdefgh"}', b'{"iss":"kubernetes/serviceaccount"}'
    token = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (head, body, b"s" * 256))
    texts = {
        "private key of unknown origin": json.dumps({"pem": new_key().decode()}).encode(),
        "token of a service account": b"Authorization: Bearer " + token,
        "Proxmox ticket": b"Cookie: PVEAuthCookie=PVE:salt@pve:65F1A2B3::c2lnbmF0dXJlLW9mLXRoZS10aWNrZXQ",
    }
    for kind, text in texts.items():
        assert [finding.secret for finding in scanner.text("place", "text", text)] == [kind]
    harmless = b"-----BEGIN PRIVATE KEY-----\nhere comes a key\n eyJhbGciOi PVE:salt@pve:storage"
    assert scanner.text("place", "text", harmless) == []
