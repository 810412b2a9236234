"""Blot out secrets of texts that are kept: the last line of defence, for nothing secret should get here.

What nodes say of kubeadm is redacted there already (``_modules/kubeadm_output.py``).
"""

from __future__ import annotations

import re
from typing import Any

# What a secret looks like -> what stands in its place. Sums (sha256) are no secrets and stay.
PATTERNS = [
    # Bootstrap tokens: k8s.io/cluster-bootstrap/token/api, BootstrapTokenPattern.
    (re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b"), "<token>"),
    (re.compile(r"(certificate[-_ ]?key[\"'=:\s]*)[0-9a-f]{64}\b", re.I), r"\1<key>"),
    (re.compile(r"-----BEGIN [A-Z ]+-----.*?(-----END [A-Z ]+-----|\Z)", re.DOTALL), "<pem>"),
    # Proxmox: an API token as a header has it, a session's ticket.
    (re.compile(r"(PVEAPIToken=[^\s=!]+![^\s=]+=)[^\s\"']+"), r"\1<token>"),
    (re.compile(r"PVE:[^\s:]+:[0-9A-F]{8}::[\w+/=]+"), "<ticket>"),
    (re.compile(r"\b((?:password|passwd|secret|token_value)[\"']?\s*[=:]\s*[\"']?)[^\s\"',;&]+", re.I), r"\1<secret>"),
    (re.compile(r"\b(Bearer\s+)[\w.~+/=-]{16,}", re.I), r"\1<token>"),
]


def redacted(value: Any) -> Any:
    """A value, its lists and mappings copied, with the secrets of every text in it blotted out.

    >>> redacted({"cause": "join with abcdef.0123456789abcdef failed"})
    {'cause': 'join with <token> failed'}
    """
    if isinstance(value, str):
        return _redacted_text(value)
    if isinstance(value, dict):
        return {key: redacted(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    return value


def _redacted_text(text: str) -> str:
    for pattern, word in PATTERNS:
        text = pattern.sub(word, text)
    return text
