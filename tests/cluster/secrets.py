"""Every secret that a job makes, as bytes to look for. Of a secret only its kind and its origin are ever shown.

Some are read where they belong (keys, kubeconfigs, passwords). Those that a job makes and takes back again (bootstrap
tokens, the certificate key) are found in what etcd keeps of them. What nobody hands out (login tickets, the tokens of
service accounts, keys of unknown origin) is looked for by its form.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import quote

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_ssh_private_key,
)

PEM_KEY = re.compile(rb"-----BEGIN ((?:[A-Z]+ )*)PRIVATE KEY-----\s+(.+?)-----END", re.DOTALL)
# Shorter pieces would be found by chance, longer ones are cut by line breaks.
MINIMUM_BYTES, PIECE_BYTES = 12, 32
NONCE_BYTES = 12
# In etcd a Secret is a protobuf message; a map's entry is: 0x0a, length, key, 0x12, length, value.
ETCD_TOKEN_ID = re.compile(rb"\x0a\x08token-id\x12\x06([a-z0-9]{6})")
ETCD_TOKEN_SECRET = re.compile(rb"\x0a\x0ctoken-secret\x12\x10([a-z0-9]{16})")
ETCD_TOKEN_KEY = b"/registry/secrets/kube-system/bootstrap-token-"
# One that only the secret kubeadm-certs has, and a short one. Its length is a varint of two bytes.
ETCD_CERTIFICATE = re.compile(rb"\x0a\x0betcd-ca.key\x12([\x80-\xff][\x01-\x7f])")
ETCD_OBJECT_BYTES = 4096
# A Helm release is a chart's text, whose secrets are objects of their own; tokens come from etcd, the deleted ones too.
NOT_READ = ("helm.sh/release.v1", "bootstrap.kubernetes.io/token")


@dataclass(frozen=True)
class Secret:
    """A secret: ``kind`` and ``origin`` (where it was read) for people, ``needles`` for the search and never shown."""

    kind: str
    origin: str
    needles: frozenset[bytes] = field(repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.kind} ({self.origin})"


@dataclass(frozen=True)
class Pattern:
    """A secret known by its form only: it begins with ``start`` and the whole is what ``form`` matches."""

    kind: str
    start: bytes
    form: re.Pattern[bytes]


PATTERNS = (
    Pattern(
        "private key of unknown origin",
        b"PRIVATE KEY-----",
        # Line breaks may be escaped, once or twice, or be blanks of a YAML document.
        re.compile(rb"PRIVATE KEY-----(?:\\+[rn]|\s)+[A-Za-z0-9+/]{32}"),
    ),
    Pattern(
        "token of a service account",
        b"eyJhbGciOi",
        re.compile(rb"eyJhbGciOi[\w-]{10,}\.eyJ[\w-]{20,}\.[\w-]{40,}"),
    ),
    Pattern("Proxmox ticket", b"PVE:", re.compile(rb"PVE:[^:\s]+@[^:\s]+:[0-9A-F]{8}::[A-Za-z0-9+/=]{20,}")),
)


class CertificateKeys:
    """The certificate keys of all joins: none is known, but each opens a secret kubeadm-certs that etcd has kept.

    Args:
        sealed: values of that secret's entry, as kubeadm wrote them: nonce and AES-GCM ciphertext.
    """

    kind = "certificate key"

    def __init__(self, sealed: Iterable[bytes]) -> None:
        self._sealed = sorted(set(sealed))

    def __len__(self) -> int:
        return len(self._sealed)

    def opened_by(self, hexadecimal: bytes) -> bool:
        """Whether some 64 digits of this text are one of the keys."""
        tries = (hexadecimal[start : start + 64] for start in range(len(hexadecimal) - 63))
        return any(self._opens(bytes.fromhex(digits.decode())) for digits in tries)

    def _opens(self, key: bytes) -> bool:
        for value in self._sealed:
            try:
                AESGCM(key).decrypt(value[:NONCE_BYTES], value[NONCE_BYTES:], None)
            except InvalidTag:
                continue
            return True
        return False


def text_secret(kind: str, origin: str, value: bytes) -> Secret:
    """A password, token or other secret that is used as it is. Raises ValueError when it is too short to look for."""
    if len(value) < MINIMUM_BYTES:
        raise ValueError(f"{kind} ({origin}): {len(value)} bytes are too few to look for")
    return Secret(kind, origin, frozenset(forms(_middle(value))))


def private_keys(kind: str, origin: str, text: bytes) -> list[Secret]:
    """The private keys in a PEM text; none in a text that has none. Raises ValueError for one that cannot be read."""
    __tracebackhide__ = True
    found = []
    for match in PEM_KEY.finditer(text):
        try:
            needles = _needles_of_key(match[0] + b" " + match[1] + b"PRIVATE KEY-----\n", match[1], match[2])
        except ValueError:
            raise ValueError(f"{kind} ({origin}): not a key that can be read") from None
        found.append(Secret(kind, origin, needles))
    return found


def kubeconfig_keys(origin: str, text: bytes) -> list[Secret]:
    """The client keys that a kubeconfig holds itself."""
    encoded = re.findall(rb"client-key-data: *([A-Za-z0-9+/=]+)", text)
    pems = [base64.b64decode(value) for value in encoded]
    return [secret for pem in pems for secret in private_keys("key of a kubeconfig", origin, pem)]


def kubernetes_secrets(listing: bytes) -> list[Secret]:
    """What the cluster's Secrets hold, out of ``kubectl get secrets -A -o json``; certificates are public."""
    __tracebackhide__ = True
    found = []
    for item in json.loads(listing)["items"]:
        if item["type"] in NOT_READ:
            continue
        where = f"{item['metadata']['namespace']}/{item['metadata']['name']}"
        for key, encoded in (item.get("data") or {}).items():
            found += _kubernetes_value(f"{where}: {key}", base64.b64decode(encoded))
    return found


def bootstrap_tokens(origin: str, store: bytes) -> list[Secret]:
    """The bootstrap tokens that a file of etcd (log or database) still holds, deleted ones too."""
    found = {}
    for begin in (match.start() for match in re.finditer(ETCD_TOKEN_KEY, store)):
        piece = store[begin : begin + ETCD_OBJECT_BYTES]
        number, secret = ETCD_TOKEN_ID.search(piece), ETCD_TOKEN_SECRET.search(piece)
        if number and secret:
            needles = forms(b"%b.%b" % (number[1], secret[1])) | forms(secret[1])
            name = f"{origin}: bootstrap-token-{number[1].decode()}"
            found[name] = Secret("bootstrap token", name, frozenset(needles))
    return list(found.values())


def sealed_certificates(store: bytes) -> Iterator[bytes]:
    """The entry that a certificate key opens, of each secret kubeadm-certs that a file of etcd still holds."""
    for match in ETCD_CERTIFICATE.finditer(store):
        low, high = match[1]
        length = (low & 0x7F) | (high << 7)
        yield store[match.end() : match.end() + length]


def forms(value: bytes) -> set[bytes]:
    """A value as it may stand in a text: as it is, in base64 at any place of a larger whole, for a URL, in JSON."""
    written = {value, quote(value, safe="").encode(), value.hex().encode()}
    if value.isascii():
        written.add(json.dumps(value.decode())[1:-1].encode())
    # Three bytes make four characters, so a value looks different after 0, 1 or 2 bytes of something else. Characters
    # that also hold bits of a neighbour are left out.
    for before, shared in ((0, 0), (1, 2), (2, 3)):
        text = base64.b64encode(b"\0" * before + value)
        written.add(text[shared : (before + len(value)) * 8 // 6])
    # grep takes one pattern a line; binary values are looked for in their written forms.
    return {text for text in written if not {0, 10, 13} & set(text)}


def _kubernetes_value(origin: str, value: bytes) -> list[Secret]:
    if b"-----BEGIN CERTIFICATE" in value or len(value) < MINIMUM_BYTES:
        return []
    keys = private_keys("key in a Secret", origin, value)
    return keys or [text_secret("value in a Secret", origin, value)]


def _needles_of_key(pem: bytes, label: bytes, body: bytes) -> frozenset[bytes]:
    """Pieces of a key's base64 that hold nothing but its private number: the rest is in public keys, too."""
    key = load_ssh_private_key(pem, None) if label == b"OPENSSH " else load_pem_private_key(pem, None)
    private = _private_number(key)
    lines = body.split()
    begin = base64.b64decode(b"".join(lines)).find(private)
    if begin < 0:
        raise ValueError
    pieces = sorted(_covered(lines, begin, begin + len(private)), key=len)[-3:]
    return frozenset(form for piece in pieces for form in forms(_middle(piece)))


def _middle(value: bytes) -> bytes:
    spare = max(0, len(value) - PIECE_BYTES) // 2
    return value[spare : spare + PIECE_BYTES]


def _private_number(key: object) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        number = key.private_numbers().d
        return number.to_bytes((number.bit_length() + 7) // 8, "big")
    if isinstance(key, ec.EllipticCurvePrivateKey):
        number = key.private_numbers().private_value
        return number.to_bytes((number.bit_length() + 7) // 8, "big")
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    raise ValueError


def _covered(lines: list[bytes], begin: int, end: int) -> Iterator[bytes]:
    """The parts of base64 lines that stand for the bytes from ``begin`` to ``end`` alone."""
    first, last, at = -(-begin // 3) * 4, end // 3 * 4, 0
    for line in lines:
        piece = line[max(0, first - at) : max(0, last - at)]
        if len(piece) * 6 >= MINIMUM_BYTES * 8:
            yield piece
        at += len(line)
