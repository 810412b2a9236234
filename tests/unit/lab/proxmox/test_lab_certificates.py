"""The lab's certificate authority and the API's certificate."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509

from lab.proxmox.certificates import RENEW_BEFORE, SERVER_LIFE, KeyPair, ensure_ca, ensure_server

NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture
def ca(tmp_path: Path) -> KeyPair:
    return ensure_ca(tmp_path / "ca", NOW)


def handshake(pair: KeyPair, ca: KeyPair, name: str) -> str | None:
    """Connect to a TLS server with ``pair`` as a client that trusts ``ca`` and wants ``name``; return the error."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pair.certificate, pair.key)
    client = ssl.create_default_context(cafile=str(ca.certificate))
    # What newer Pythons check by default: the extensions that a certificate must have.
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    left, right = socket.socketpair()

    def answer() -> None:
        try:
            server.wrap_socket(left, server_side=True).close()
        except (ssl.SSLError, OSError):
            left.close()

    serving = threading.Thread(target=answer)
    serving.start()
    try:
        client.wrap_socket(right, server_hostname=name).close()
    except ssl.SSLError as err:
        return str(err)
    finally:
        right.close()
        serving.join(10)
    return None


def test_good_for_its_address_and_names_and_nothing_else(tmp_path: Path, ca: KeyPair) -> None:
    pair = ensure_server(tmp_path / "tls", ca, ["192.168.100.1", "pve"], NOW)
    assert handshake(pair, ca, "192.168.100.1") is None
    assert handshake(pair, ca, "pve") is None
    assert "not valid for" in str(handshake(pair, ca, "192.168.100.2"))


def test_not_trusted_without_its_authority(tmp_path: Path, ca: KeyPair) -> None:
    pair = ensure_server(tmp_path / "tls", ca, ["pve"], NOW)
    assert "CERTIFICATE_VERIFY_FAILED" in str(handshake(pair, ensure_ca(tmp_path / "other", NOW), "pve"))


def test_kept_while_it_is_good(tmp_path: Path, ca: KeyPair) -> None:
    before = ensure_server(tmp_path / "tls", ca, ["pve"], NOW).certificate.read_bytes()
    assert (
        ensure_server(tmp_path / "tls", ensure_ca(tmp_path / "ca", NOW), ["pve"], NOW).certificate.read_bytes()
        == before
    )


@pytest.mark.parametrize("reason", ["other names", "near its end", "other authority", "key lost"])
def test_made_anew(tmp_path: Path, ca: KeyPair, reason: str) -> None:
    pair = ensure_server(tmp_path / "tls", ca, ["pve"], NOW)
    before = pair.certificate.read_bytes()
    names, now = ["pve"], NOW
    if reason == "other names":
        names = ["pve", "pve2"]
    elif reason == "near its end":
        now = NOW + SERVER_LIFE - RENEW_BEFORE + datetime.timedelta(minutes=1)
    elif reason == "other authority":
        ca = ensure_ca(tmp_path / "other", NOW)
    else:
        pair.key.unlink()
    assert ensure_server(tmp_path / "tls", ca, names, now).certificate.read_bytes() != before


def test_keys_are_private_and_certificates_public(tmp_path: Path, ca: KeyPair) -> None:
    pair = ensure_server(tmp_path / "tls", ca, ["pve"], NOW)
    modes = [path.stat().st_mode & 0o777 for path in (ca.key, pair.key, ca.certificate, pair.certificate)]
    assert modes == [0o600, 0o600, 0o644, 0o644]


def test_authority_signs_no_other_authority(ca: KeyPair) -> None:
    found = x509.load_pem_x509_certificate(ca.certificate.read_bytes())
    assert found.extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(True, 0)
