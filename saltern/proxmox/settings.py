"""The provider file: where the API is, who asks, and whose certificate is trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from saltern.proxmox.errors import SettingsError

DEFAULT_PORT = 8006
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Settings:
    """How to reach and log in to one Proxmox API. Secrets are left out of its repr."""

    host: str
    port: int
    user: str
    verify: bool | str
    password: str | None = field(default=None, repr=False)
    token_name: str | None = None
    token_value: str | None = field(default=None, repr=False)

    @property
    def who(self) -> str:
        """User or token, as Proxmox's permission lists write it: name@realm or name@realm!token."""
        return f"{self.user}!{self.token_name}" if self.token_name else self.user

    @property
    def address(self) -> str:
        """host:port, with brackets around an IPv6 address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def read(alias: str, provider: Mapping[str, Any]) -> Settings:
    """Read one provider of cloud.providers.d.

    Args:
        alias: the provider's name in its file, for messages.
        provider: its keys: url, port, user, verify_ssl and password, or token_name and token_value;
            ca_file (or a path as verify_ssl) names the authority that signed the API's certificate.

    Raises: SettingsError naming the key.
    """
    host, port = _endpoint(alias, provider)
    user, token_name, token_value = _identity(alias, provider)
    password = provider.get("password")
    if token_name and not token_value:
        raise _wrong(alias, "token_value", "it is missing", f"write the secret of token {user}!{token_name}")
    if not token_name and not password:
        raise _wrong(alias, "password", "it is missing", "write the user's password, or token_name and token_value")
    return Settings(
        host=host,
        port=port,
        user=user,
        verify=_verify(alias, provider),
        password=None if token_name else str(password),
        token_name=token_name,
        token_value=str(token_value) if token_name else None,
    )


def _endpoint(alias: str, provider: Mapping[str, Any]) -> tuple[str, int]:
    url = str(provider.get("url") or "").strip()
    if not url:
        raise _wrong(alias, "url", "it is missing", "write the name or address of a Proxmox node")
    if url.count(":") > 1 and "://" not in url and not url.startswith("["):
        url = f"[{url}]"
    parts = urlsplit(url if "://" in url else f"https://{url}")
    if parts.scheme != "https":
        raise _wrong(alias, "url", f"{url!r} is not https", "Proxmox speaks https only: write https:// or no scheme")
    try:
        port = parts.port or int(provider.get("port") or DEFAULT_PORT)
    except ValueError as err:
        raise _wrong(alias, "port", f"it is no port number ({err})", f"Proxmox's own is {DEFAULT_PORT}") from err
    if not parts.hostname:
        raise _wrong(alias, "url", f"{url!r} names no host", "write the name or address of a Proxmox node")
    return parts.hostname, port


def _identity(alias: str, provider: Mapping[str, Any]) -> tuple[str, str | None, Any]:
    """User, token name and token value; `user` or `token_name` may hold both as name@realm!token."""
    user = str(provider.get("user") or "")
    token_name = provider.get("token_name")
    if token_name and "!" in str(token_name):
        user, _, token_name = str(token_name).partition("!")
    elif "!" in user:
        user, _, token_name = user.partition("!")
    if "@" not in user:
        raise _wrong(
            alias, "user", f"{user!r} has no realm", "write name@pam for a Linux user or name@pve for a Proxmox user"
        )
    return user, str(token_name) if token_name else None, provider.get("token_value")


def _verify(alias: str, provider: Mapping[str, Any]) -> bool | str:
    key = "ca_file" if provider.get("ca_file") else "verify_ssl"
    value = provider.get(key, True)
    if isinstance(value, bool):
        return value
    if str(value).lower() in _TRUTH and key == "verify_ssl":
        return _TRUTH[str(value).lower()]
    if provider.get("verify_ssl") is False:
        raise _wrong(alias, "ca_file", "it is given, yet verify_ssl is False", "remove one of the two")
    if not Path(value).is_file():
        raise _wrong(alias, key, f"there is no file {value}", "write the path of the CA's certificate (PEM)")
    return str(value)


def _wrong(alias: str, key: str, what: str, remedy: str) -> SettingsError:
    return SettingsError(f"Provider {alias} in cloud.providers.d, key {key}", what, f"{remedy[0].upper()}{remedy[1:]}.")
