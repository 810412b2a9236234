"""One connection to a Proxmox API, on proxmoxer: calls in, data or a ProxmoxError out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

import requests
from proxmoxer.backends.https import (  # type: ignore[import-untyped]
    JsonSerializer,
    ProxmoxHTTPApiTokenAuth,
    ProxmoxHTTPAuthBase,
    ProxmoxHttpSession,
)
from proxmoxer.core import ProxmoxResource, ResourceException  # type: ignore[import-untyped]
from requests.cookies import RequestsCookieJar

from saltern.proxmox import tasks
from saltern.proxmox.errors import (
    CertificateNotTrustedError,
    CredentialsError,
    ProxmoxError,
    RefusedError,
    TimedOutError,
    UnreachableError,
    from_response,
)
from saltern.proxmox.settings import Settings
from saltern.proxmox.tasks import Upid

_LOG = logging.getLogger(__name__)
# Proxmox itself gives up on a call to another node after 30 s, and waits 10 s for a file lock before it says so.
_CALL_TIMEOUT_S = 40
# A ticket lives two hours; a live one is exchanged for a new one.
_TICKET_RENEWAL_S = 3600


class TicketAuth(ProxmoxHTTPAuthBase):  # type: ignore[misc]  # proxmoxer has no type hints
    """Log in with a password, and keep the ticket fresh.

    proxmoxer's own class drops Proxmox's text when the login is RefusedError; this one keeps it.
    """

    def __init__(self, settings: Settings, base_url: str) -> None:
        super().__init__(timeout=_CALL_TIMEOUT_S, verify_ssl=settings.verify)
        self._user = settings.user
        self._base_url = base_url
        self._password = settings.password or ""
        self.log_in()

    def log_in(self) -> None:
        """Get a ticket for the password. Raises: CredentialsError."""
        self._log_in(self._password)

    def get_cookies(self) -> RequestsCookieJar:
        """The cookie of the ticket."""
        jar = RequestsCookieJar()
        jar.set("PVEAuthCookie", self._ticket)
        return jar

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Renew an old ticket; add the CSRF token to a request that changes something."""
        if time.monotonic() - self._since >= _TICKET_RENEWAL_S:
            self._log_in(self._ticket)
        if request.method != "GET":
            request.headers["CSRFPreventionToken"] = self._csrf
        return request

    def _log_in(self, password: str) -> None:
        call = "POST access/ticket"
        response = requests.post(
            f"{self._base_url}/access/ticket",
            data={"username": self._user, "password": password},
            timeout=self.timeout,
            verify=self.verify_ssl,
        )
        if response.status_code != 200:
            raise from_response(call, response.status_code, response.reason, self._user)
        data = response.json()["data"]
        if data.get("NeedTFA"):
            raise CredentialsError(
                call,
                f"{self._user} has a second factor",
                "Make an API token for this user and write token_name and token_value in the provider file.",
            )
        self._ticket = data["ticket"]
        self._csrf = data["CSRFPreventionToken"]
        self._since = time.monotonic()


class Image(BytesIO):
    """A file to upload that exists in memory only: the name tells Proxmox what it is."""

    def __init__(self, name: str, content: bytes) -> None:
        super().__init__(content)
        self.name = name


class Proxmox:
    """A logged-in connection.

    Args:
        settings: where and who.
        pause: sleeps that many seconds while a task runs.
        warn: is told what a task warns of that did its work.

    Raises: ProxmoxError when the API cannot be reached, is not trusted, or refuses the login.
    """

    def __init__(
        self,
        settings: Settings,
        pause: Callable[[float], None] = time.sleep,
        warn: Callable[[str], None] = _LOG.warning,
    ) -> None:
        self.settings = settings
        self._pause = pause
        self._warn = warn
        base_url = f"https://{settings.address}/api2/json"
        self._session = ProxmoxHttpSession()
        self._session.headers["accept"] = JsonSerializer().get_accept_types()
        self._auth = self._explained("POST access/ticket", lambda: self._authentication(base_url))
        self._session.auth = self._auth
        self._root = ProxmoxResource(base_url=base_url, session=self._session, serializer=JsonSerializer())

    def close(self) -> None:
        """Drop the connection."""
        self._session.close()

    def call(self, method: str, path: str, /, **parameters: Any) -> Any:
        """Make one call.

        Args:
            method: GET, POST, PUT or DELETE.
            path: below /api2/json, e.g. "nodes/pve/qemu/101/config".
            parameters: query (GET, DELETE) or form (POST, PUT); None is left out.

        A ticket that is not accepted any more (it expired early, Proxmox has changed its key) is replaced once: a call
        that is refused with 401 has done nothing.

        Returns: the answer's `data`; a UPID's text when the call started a task.
        Raises: ProxmoxError.
        """
        try:
            return self._call(method, path, parameters)
        except CredentialsError:
            if not isinstance(self._auth, TicketAuth):
                raise
            self._explained("POST access/ticket", self._auth.log_in)
            return self._call(method, path, parameters)

    def _call(self, method: str, path: str, parameters: dict[str, Any]) -> Any:
        for image in (value for value in parameters.values() if isinstance(value, Image)):
            image.seek(0)  # it may have been read once
        what = f"{method} {path}"
        resource = self._root(path)
        verb = {"GET": resource.get, "POST": resource.post, "PUT": resource.put, "DELETE": resource.delete}[method]
        data = self._explained(what, lambda: verb(**parameters))
        if isinstance(data, dict) and isinstance(data.get("errors"), bytes):
            raise _not_proxmox(what, self.settings)
        return data

    def task(self, method: str, path: str, /, *, timeout_s: float, **parameters: Any) -> Upid | None:
        """Make a call that starts a task, and wait until the task has ended well.

        Returns: the task; None when Proxmox was done at once. Raises: ProxmoxError.
        """
        upid: str | None = self.call(method, path, **parameters)
        self.finish(f"{method} {path}", upid, timeout_s)
        return None if upid is None else Upid.parse(upid)

    def finish(self, what: str, upid: str | None, timeout_s: float) -> None:
        """Wait for a started task; None is a call that Proxmox finished at once. Raises: ProxmoxError."""
        if upid is not None:
            for warning in tasks.wait(self, what, Upid.parse(upid), timeout_s, self._pause):
                self._warn(f"{what}: done, with a warning of Proxmox: {warning}")

    def _authentication(self, base_url: str) -> ProxmoxHTTPAuthBase:
        settings = self.settings
        if not settings.token_name:
            return TicketAuth(settings, base_url)
        return ProxmoxHTTPApiTokenAuth(
            settings.user,
            settings.token_name,
            settings.token_value,
            verify_ssl=settings.verify,
            timeout=_CALL_TIMEOUT_S,
        )

    def _explained(self, what: str, act: Callable[[], Any]) -> Any:
        """Do something on the wire; turn what goes wrong into a ProxmoxError."""
        try:
            return act()
        except ResourceException as err:
            raise from_response(what, err.status_code, _text(err), self.settings.who) from err
        except requests.exceptions.SSLError as err:
            raise _not_trusted(what, self.settings, err) from err
        except requests.exceptions.ReadTimeout as err:
            raise TimedOutError(
                what,
                f"no answer within {_CALL_TIMEOUT_S} s",
                f"{self.settings.address} takes connections but does not answer: look at pveproxy and pvedaemon there.",
            ) from err
        except requests.exceptions.JSONDecodeError as err:
            raise _not_proxmox(what, self.settings) from err
        except requests.exceptions.RequestException as err:
            raise _unreachable(what, self.settings, err) from err


def _text(err: ResourceException) -> str:
    """Proxmox's reason phrase; on a 400 also which parameter is wrong and why."""
    errors = err.errors if isinstance(err.errors, dict) else {}
    named = "; ".join(f"{key}: {value}" for key, value in errors.items() if isinstance(value, str))
    return f"{err.content} ({named})" if named else str(err.content)


def _not_trusted(what: str, settings: Settings, err: requests.exceptions.SSLError) -> ProxmoxError:
    return CertificateNotTrustedError(
        what,
        f"the certificate of {settings.address} is not accepted: {_reason(err)}",
        "Copy the CA of Proxmox (/etc/pve/pve-root-ca.pem) to this master, write its path as verify_ssl in the "
        "provider file, and use a url that the certificate names.",
    )


def _unreachable(what: str, settings: Settings, err: requests.exceptions.RequestException) -> ProxmoxError:
    return UnreachableError(
        what,
        f"{settings.address} cannot be reached: {_reason(err)}",
        f"Look at url and port in the provider file, and try: curl -k https://{settings.address}/",
    )


def _not_proxmox(what: str, settings: Settings) -> ProxmoxError:
    return RefusedError(
        what,
        f"{settings.address} answers, but not as a Proxmox API does",
        "Look at url and port in the provider file: 8006 is the API's own, a reverse proxy must pass /api2/json on.",
    )


def _reason(err: BaseException) -> str:
    """The innermost reason that requests wraps (a refused connection, an unknown name, a bad certificate)."""
    inner: Any = err
    while True:
        wrapped = getattr(inner, "reason", None)
        if not isinstance(wrapped, BaseException):
            wrapped = next((arg for arg in getattr(inner, "args", ()) if isinstance(arg, BaseException)), None)
        if wrapped is None:
            break
        inner = wrapped
    text = str(inner)
    return text.split(": ", 1)[1] if text.startswith("<") and ": " in text else text
