"""The provider file: every form of it that works, and a message naming the key for every one that does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from saltern.proxmox.errors import SettingsError
from saltern.proxmox.settings import read

HIDDEN = "very secret"
DOCUMENT_3: dict[str, Any] = {
    "user": "myuser@pam",
    "password": HIDDEN,
    "url": "hypervisor.domain.tld",
    "port": 8006,
    "driver": "proxmox",
    "verify_ssl": True,
}


def test_the_provider_file_of_document_3_works_as_it_stands() -> None:
    settings = read("my-proxmox-config", DOCUMENT_3)
    assert (settings.address, settings.who, settings.password, settings.verify) == (
        "hypervisor.domain.tld:8006",
        "myuser@pam",
        HIDDEN,
        True,
    )


@pytest.mark.parametrize(
    ("changes", "address"),
    [
        ({"port": None}, "hypervisor.domain.tld:8006"),
        ({"port": "443"}, "hypervisor.domain.tld:443"),
        ({"url": "pve.local:8443"}, "pve.local:8443"),
        ({"url": "https://pve.local"}, "pve.local:8006"),
        ({"url": "https://pve.local:8443/"}, "pve.local:8443"),
        ({"url": "192.168.100.1"}, "192.168.100.1:8006"),
        ({"url": "fd00::1"}, "[fd00::1]:8006"),
        ({"url": "[fd00::1]:8443"}, "[fd00::1]:8443"),
    ],
)
def test_forms_of_the_url(changes: dict[str, Any], address: str) -> None:
    assert read("p", DOCUMENT_3 | changes).address == address


@pytest.mark.parametrize(
    "changes",
    [
        {"token_name": "cloud", "token_value": HIDDEN},
        {"user": "myuser@pam!cloud", "token_value": HIDDEN},
        {"user": None, "token_name": "myuser@pam!cloud", "token_value": HIDDEN},
    ],
)
def test_forms_of_a_token(changes: dict[str, Any]) -> None:
    settings = read("p", DOCUMENT_3 | {"password": None} | changes)
    assert (settings.who, settings.token_value, settings.password) == ("myuser@pam!cloud", HIDDEN, None)


def test_forms_of_verification(tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.write_text("PEM")
    without = {key: value for key, value in DOCUMENT_3.items() if key != "verify_ssl"}
    assert read("p", without).verify is True
    assert read("p", without | {"verify_ssl": False}).verify is False
    assert read("p", without | {"verify_ssl": "False"}).verify is False
    assert read("p", without | {"verify_ssl": str(ca_file)}).verify == str(ca_file)
    assert read("p", without | {"ca_file": str(ca_file)}).verify == str(ca_file)
    assert read("p", DOCUMENT_3 | {"ca_file": str(ca_file)}).verify == str(ca_file)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"url": None}, "key url: it is missing"),
        ({"url": "http://pve.local"}, "key url: 'http://pve.local' is not https"),
        ({"url": "https:///x"}, "key url: .* names no host"),
        ({"port": "eight"}, "key port: it is no port number"),
        ({"url": "pve:99999"}, "key port: it is no port number"),
        ({"user": "root"}, r"key user: 'root' has no realm\. Write name@pam"),
        ({"user": None}, "key user: '' has no realm"),
        ({"password": None}, "key password: it is missing"),
        ({"token_name": "cloud"}, "key token_value: it is missing.*myuser@pam!cloud"),
        ({"verify_ssl": "/no/such.pem"}, "key verify_ssl: there is no file /no/such.pem"),
        ({"ca_file": "/no/such.pem"}, "key ca_file: there is no file /no/such.pem"),
        ({"ca_file": __file__, "verify_ssl": False}, "key ca_file: it is given, yet verify_ssl is False"),
    ],
)
def test_what_is_wrong_is_named_by_its_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message) as wrong:
        read("my-proxmox-config", DOCUMENT_3 | changes)
    assert str(wrong.value).startswith("Provider my-proxmox-config in cloud.providers.d")
    assert HIDDEN not in str(wrong.value)


def test_secrets_are_not_in_the_settings_text() -> None:
    token = read("p", DOCUMENT_3 | {"token_name": "t", "token_value": HIDDEN})
    assert HIDDEN not in repr(token) + repr(read("p", DOCUMENT_3))
