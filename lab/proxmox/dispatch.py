"""The way of a call through Proxmox's checks, in Proxmox's order.

Login (401), route (501), permission (403), the node (595 or 500), parameters (400), and then the work itself (500).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from lab.proxmox import mishaps, wire
from lab.proxmox.access import Identity
from lab.proxmox.datacentre import Datacentre
from lab.proxmox.errors import ApiError, ProxmoxError, unauthorized
from lab.proxmox.faults import Effect, FaultsError
from lab.proxmox.machines import MachineError
from lab.proxmox.protocol import REASON_HEADER
from lab.proxmox.routing import Call, Route, find
from lab.proxmox.schema import check

LOG = logging.getLogger(__name__)
API_ROOT = "/api2/json"
NOBODY = Identity("")
# Calls that need no login.
OPEN_CALLS = frozenset((("POST", "/access/ticket"), ("GET", "/access/ticket"), ("GET", "/access/domains")))
# Calls wait for locks and tasks in threads; so many may do so at the same time.
WAITING_CALLS = 200


@dataclass
class Dispatcher:
    """The ASGI application below ``/api2/json``."""

    datacentre: Datacentre

    def __post_init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(WAITING_CALLS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        request = Request(scope, receive)
        path = scope["path"].removeprefix(API_ROOT).rstrip("/") or "/"
        try:
            response: Response = succeeded(await self._answer(request, path))
        except ApiError as err:
            if err.status == 401 and not err.with_body:
                # Proxmox holds every refused login back, so that passwords cannot be tried out quickly.
                await anyio.sleep(self.datacentre.settings.limits.unauthorized_s)
            response = failed(err)
        LOG.info("%s %s %s", request.method, path, response.status_code)
        await response(scope, receive, send)

    async def _answer(self, request: Request, path: str) -> Any:
        wire.check_framing(request)
        who = NOBODY if (request.method, path) in OPEN_CALLS else self._login(request, path)
        effect = self._effect(request.method, path)
        await anyio.sleep(effect.delay_s)
        if effect.expired_ticket:
            self._expire_ticket(request)
        if effect.answer and not effect.lost:
            raise effect.answer
        given = await wire.parameters(request, path, self.datacentre.uploads)
        try:
            answer = await self._in_thread(request.method, path, given, who, effect)
        except ApiError:
            if isinstance(received := given.get(wire.UPLOADED), Path):
                received.unlink(missing_ok=True)
            raise
        if effect.answer:
            raise effect.answer
        return answer

    async def _in_thread(self, *arguments: Any) -> Any:
        return await anyio.to_thread.run_sync(self._work, *arguments, limiter=self._limiter)

    def _effect(self, method: str, path: str) -> Effect:
        """Return what the rules of faults.json want done to a call; rules that are not understood fail every call."""
        try:
            return self.datacentre.faults.effect(method, path)
        except FaultsError as err:
            raise ApiError(500, str(err)) from err

    def _expire_ticket(self, request: Request) -> None:
        """Make the caller's ticket worthless and say so; who comes with a token has none."""
        ticket = _ticket(request)
        if ticket and "authorization" not in request.headers:
            self.datacentre.tickets.expire(ticket)
            raise unauthorized(self.datacentre.unauthorized_text("permission denied - invalid PVE ticket"))

    def _login(self, request: Request, path: str) -> Identity:
        """Return who calls, by API token or by ticket; a ticket needs its CSRF token for all that changes something."""
        scheme, _, token = request.headers.get("authorization", "").partition("=")
        if scheme == "PVEAPIToken":
            identity = self.datacentre.access.token_identity(token)
            if identity is None:
                raise unauthorized(self.datacentre.unauthorized_text("invalid token value!"))
            return identity
        ticket = _ticket(request)
        if not ticket:
            raise unauthorized("No ticket")
        user = self.datacentre.tickets.user_of(ticket)
        if user is None or not self.datacentre.access.is_enabled(user):
            raise unauthorized(self.datacentre.unauthorized_text("permission denied - invalid PVE ticket"))
        if request.method != "GET" and wire.UPLOAD_PATH.fullmatch(path) is None:
            csrf_token = request.headers.get("csrfpreventiontoken", "")
            if not self.datacentre.tickets.csrf_is_good(user, csrf_token):
                raise unauthorized("Permission denied - invalid csrf token")
        return Identity(user)

    def _work(self, method: str, path: str, given: dict[str, Any], who: Identity, effect: Effect) -> Any:
        found = find(method, path)
        if found is None:
            raise ApiError(501, f"Method '{method} {path}' not implemented")
        route, values = found
        call = Call(self.datacentre, who, given | values, effect.task)
        route.need(call)
        self._check_node(route, call)
        call.args = check(route.schema, call.args)
        try:
            mishaps.strike(call, effect)
            return route.handler(call)
        except (ProxmoxError, MachineError) as err:
            raise ApiError(500, str(err)) from err

    def _check_node(self, route: Route, call: Call) -> None:
        if "node" in call.args and not route.local:
            self.datacentre.check_node(call.node)
        if route.method != "GET" and not self.datacentre.faults.quorate:
            raise ApiError(500, "cluster not ready - no quorum?")


def _ticket(request: Request) -> str:
    """Return the ticket in the request's cookie, or an empty text."""
    return unquote(request.cookies.get("PVEAuthCookie", ""))


def succeeded(data: Any) -> Response:
    """Return the answer to a call that went well."""
    return JSONResponse({"data": data})


def failed(error: ApiError) -> Response:
    """Return the answer to a call that did not: the first line of the text as the reason phrase."""
    reason = error.reason.strip().split("\n")[0]
    headers = {REASON_HEADER.decode(): reason.encode("ascii", "replace").decode()}
    if not error.with_body:
        return Response(status_code=error.status, headers=headers)
    body: dict[str, Any] = {"data": None, "message": f"{error.reason.strip()}\n"}
    if error.errors is not None:
        body["errors"] = error.errors
    return JSONResponse(body, status_code=error.status, headers=headers)
