"""The lab's own certificate authority, and the API's certificate from it."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab.proxmox.store import write_private

CA_LIFE = datetime.timedelta(days=3650)
SERVER_LIFE = datetime.timedelta(days=800)
# A certificate is renewed when it is about to end, so that a lab that is left up does not stop one day.
RENEW_BEFORE = datetime.timedelta(days=30)
# Clocks of nodes may be behind.
_BACKDATED = datetime.timedelta(days=1)

_KEY_USES = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its private key, as files in PEM."""

    certificate: Path
    key: Path


def ensure_ca(directory: Path, now: datetime.datetime) -> KeyPair:
    """Return the certificate authority ``ca.pem`` and ``ca.key`` (0600) of a directory; made when missing."""
    pair = KeyPair(directory / "ca.pem", directory / "ca.key")
    if pair.certificate.exists() and pair.key.exists():
        return pair
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Saltern lab CA")])
    builder = _builder(name, name, key.public_key(), now, CA_LIFE)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
    _write(pair, builder.sign(key, hashes.SHA256()), key)
    return pair


def ensure_server(directory: Path, ca: KeyPair, names: list[str], now: datetime.datetime) -> KeyPair:
    """Return the API's certificate ``server.pem`` and ``server.key`` (0600).

    Args:
        directory: where they are kept.
        ca: who signs.
        names: addresses and DNS names that it is to be good for; with other names, or near its end, it is made anew.
        now: the time, with time zone.
    """
    pair = KeyPair(directory / "server.pem", directory / "server.key")
    if not _is_good(pair, ca, names, now):
        issuer = x509.load_pem_x509_certificate(ca.certificate.read_bytes())
        issuer_key = serialization.load_pem_private_key(ca.key.read_bytes(), None)
        if not isinstance(issuer_key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{ca.key}: not an elliptic-curve key; remove it and {ca.certificate}, then start again")
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        builder = _builder(subject, issuer.subject, key.public_key(), now, SERVER_LIFE)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage("digital_signature"), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False
        )
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
        builder = builder.add_extension(authority, critical=False)
        _write(pair, builder.sign(issuer_key, hashes.SHA256()), key)
    return pair


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    now: datetime.datetime,
    life: datetime.timedelta,
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=public_key)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - _BACKDATED).not_valid_after(now + life)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)


def _key_usage(*wanted: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{use: use in wanted for use in _KEY_USES})


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _is_good(pair: KeyPair, ca: KeyPair, names: list[str], now: datetime.datetime) -> bool:
    """Say whether a certificate is there, lives, is for these names, and is of this authority."""
    if not (pair.certificate.exists() and pair.key.exists()):
        return False
    found = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    issuer = x509.load_pem_x509_certificate(ca.certificate.read_bytes())
    alternatives = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    authority = found.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    issued_by = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    same_names = set(alternatives) == {_general_name(name) for name in names}
    return same_names and authority == issued_by and found.not_valid_after_utc - RENEW_BEFORE > now


def _write(pair: KeyPair, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    write_private(pair.key, key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))
    write_private(pair.certificate, certificate.public_bytes(encoding))
    # The certificate is public: clients that are not root must read the authority's.
    pair.certificate.chmod(0o644)
