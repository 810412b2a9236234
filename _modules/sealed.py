"""
Seal small secrets for exactly one reader.

What a node must learn from another node (join material, a kubeconfig) passes through the master, its job cache and
its event bus. So the sender seals it with the reader's public key and only the reader opens it: a minion with its own
minion key, a runner with a key that it made for the one call.

Hybrid encryption: a fresh AES-256-GCM key for the data, wrapped by RSA-OAEP (SHA-256). The reader's key fingerprint is
authenticated with the data, so that a mistaken reader is told so instead of seeing noise.
"""

import base64
import binascii
import json
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from salt.exceptions import CommandExecutionError

FORMAT = "saltern-sealed-1"
OAEP = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
NONCE_BYTES = 12


class SealedError(CommandExecutionError):
    """Sealing or opening failed."""


class BadKeyError(SealedError):
    """A key is no usable RSA key in PEM form, or cannot be read."""


class BadEnvelopeError(SealedError):
    """The text is no sealed message of this format."""


class WrongReaderError(SealedError):
    """The message is sealed for another key."""


class TamperedError(SealedError):
    """The message is for this key but was changed on its way."""


def seal(public_key_pem, data):
    """
    Encrypt a mapping so that only the owner of the key reads it.

    public_key_pem
        The reader's RSA public key, PEM text (for a minion: as the master holds it).

    data
        A mapping that JSON can express.

    Returns one line of text. Raises BadKeyError.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 sealed.seal "$(cat /etc/salt/pki/master/minions/saw-k8s-w-01)" '{"word": "hello"}'
    """
    public_key = _public_key(public_key_pem)
    data_key, nonce = AESGCM.generate_key(bit_length=256), os.urandom(NONCE_BYTES)
    reader = _fingerprint(public_key)
    envelope = {
        "format": FORMAT,
        "reader": reader,
        "key": _text(public_key.encrypt(data_key, OAEP)),
        "nonce": _text(nonce),
        "data": _text(AESGCM(data_key).encrypt(nonce, json.dumps(data).encode(), reader.encode())),
    }
    return _text(json.dumps(envelope).encode())


def open_(ciphertext, private_key_pem=None):
    """
    Decrypt what :func:`seal` made for this minion. Meant for modules: on the command line the result would be public.

    ciphertext
        The text that seal returned.

    private_key_pem
        PEM text of another private key; default this minion's own.

    Returns the mapping. Raises BadKeyError, BadEnvelopeError, WrongReaderError, TamperedError.

    CLI Example:

    .. code-block:: bash

        salt-call --local sealed.open_ "$CIPHERTEXT"
    """
    private_key = _private_key(_own_private_key_pem() if private_key_pem is None else private_key_pem)
    envelope = _envelope(ciphertext)
    reader = _fingerprint(private_key.public_key())
    if envelope["reader"] != reader:
        raise WrongReaderError(
            f"sealed for the key {envelope['reader'][:16]}..., this is {reader[:16]}...: the sender had an old public "
            "key of this minion; accept the present one on the master (salt-key -L) and send again"
        )
    try:
        data_key = private_key.decrypt(_bytes(envelope["key"]), OAEP)
        plain = AESGCM(data_key).decrypt(_bytes(envelope["nonce"]), _bytes(envelope["data"]), reader.encode())
    except (InvalidTag, ValueError) as err:
        raise TamperedError("the sealed message was changed or cut on its way: have it sealed again") from err
    return json.loads(plain)


def _public_key(pem):
    try:
        key = serialization.load_pem_public_key(pem.strip().encode())
    except (ValueError, AttributeError) as err:
        raise BadKeyError(f"no public key in PEM form ({err}): take it from the master's accepted keys") from err
    if not isinstance(key, rsa.RSAPublicKey):
        raise BadKeyError("the public key is not RSA, which is what Salt minions have")
    return key


def _private_key(pem):
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError) as err:
        raise BadKeyError(f"no private key in PEM form without a passphrase ({err})") from err
    if not isinstance(key, rsa.RSAPrivateKey):
        raise BadKeyError("the private key is not RSA, which is what Salt minions have")
    return key


def _own_private_key_pem():
    key_file = Path(__opts__["pki_dir"], "minion.pem")
    try:
        return key_file.read_text(encoding="ascii")
    except OSError as err:
        raise BadKeyError(f"{key_file}: {err.strerror}; it is needed to open what is sealed for this minion") from err


def _envelope(ciphertext):
    try:
        envelope = json.loads(_bytes(ciphertext))
    except (ValueError, TypeError) as err:
        raise BadEnvelopeError("not a sealed message (no base64 of JSON)") from err
    if not isinstance(envelope, dict) or envelope.get("format") != FORMAT:
        raise BadEnvelopeError(f"not a sealed message of the format {FORMAT}: run the same release on all nodes")
    missing = {"reader", "key", "nonce", "data"} - set(envelope)
    if missing:
        raise BadEnvelopeError(f"sealed message without {', '.join(sorted(missing))}")
    return envelope


def _fingerprint(public_key):
    der = public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(der)
    return digest.finalize().hex()


def _text(raw):
    return base64.b64encode(raw).decode("ascii")


def _bytes(text):
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as err:
        raise BadEnvelopeError(f"not base64: {err}") from err
