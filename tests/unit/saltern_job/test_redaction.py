"""What is blotted out of kept texts, and what stays."""

from __future__ import annotations

import pytest

from saltern.redaction import redacted

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("join --token abcdef.0123456789abcdef now", "join --token <token> now"),
        (f"--certificate-key {HEX}", "--certificate-key <key>"),
        (f"certificateKey: {HEX}", "certificateKey: <key>"),
        ("-----BEGIN EC PRIVATE KEY-----\nAAA\n-----END EC PRIVATE KEY----- end", "<pem> end"),
        ("-----BEGIN RSA PRIVATE KEY-----\nAAA cut of", "<pem>"),
        ("PVEAPIToken=saltern@pve!salt=8e5d-4b1c", "PVEAPIToken=saltern@pve!salt=<token>"),
        ("PVEAuthCookie=PVE:saltern@pve:65B0A1C2::dGVzdA+/==", "PVEAuthCookie=<ticket>"),
        ("password=geheim&x=1", "password=<secret>&x=1"),
        ("{'password': 'geheim'}", "{'password': '<secret>'}"),
        ("Authorization: Bearer eyJhbGciOiJSUzI1NiJ9.e30", "Authorization: Bearer <token>"),
    ],
)
def test_secrets_go(text, kept):
    assert redacted(text) == kept


@pytest.mark.parametrize(
    "text",
    [
        f"kubeadm has sha256 {HEX}, versions.sls pins {HEX}",
        "https://192.168.100.150:6443 refused the connection",
        "container cilium-operator-5d8b7c9d4-x2x4z on saw-k8s-w-01 waits",
        "The bearer of the name saw-k8s-m-01",
    ],
)
def test_what_helps_stays(text):
    assert redacted(text) == text


def test_nested_values():
    assert redacted({"a": [("abcdef.0123456789abcdef", 1)], "b": None}) == {"a": [["<token>", 1]], "b": None}
