"""Login tickets and the tokens against cross-site requests that belong to them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import re
from collections.abc import Callable

_TICKET = re.compile(r"PVE:(?P<user>[^:]+@[^:]+):(?P<time>[0-9A-F]{8})::(?P<signature>[^:]+)")
_CSRF = re.compile(r"(?P<time>[0-9A-F]{8}):(?P<signature>[^:]+)")
# A ticket from the future is no good either; clocks of the nodes of a cluster may differ by this much.
_CLOCK_SKEW_S = 300


class Tickets:
    """Signs and checks tickets.

    Args:
        key: secret that signs them; kept over restarts, so that clients stay logged in.
        life_s: how long a ticket lives.
        clock: returns the time in seconds since the epoch.
    """

    def __init__(self, key: bytes, life_s: float, clock: Callable[[], float]) -> None:
        self._key = key
        self._life_s = life_s
        self._clock = clock
        self._expired: set[str] = set()

    def issue(self, user: str) -> tuple[str, str]:
        """Return a new ticket and its CSRFPreventionToken for a user."""
        for second in itertools.count(int(self._clock())):
            stamp = f"{second:08X}"
            ticket = f"PVE:{user}:{stamp}::{self._sign('ticket', user, stamp)}"
            # Two tickets of one second are the same: one that was made to expire must not come again.
            if ticket not in self._expired:
                break
        return ticket, f"{stamp}:{self._sign('csrf', user, stamp)}"

    def expire(self, ticket: str) -> None:
        """Make one ticket good no more, before its time."""
        self._expired.add(ticket)

    def user_of(self, ticket: str) -> str | None:
        """Return whose ticket this is, or None when it is forged, malformed or expired."""
        match = _TICKET.fullmatch(ticket)
        if ticket in self._expired or match is None:
            return None
        if not self._is_good("ticket", match["user"], match["time"], match["signature"]):
            return None
        return match["user"]

    def csrf_is_good(self, user: str, token: str) -> bool:
        """Say whether a CSRFPreventionToken was issued to this user and still lives."""
        match = _CSRF.fullmatch(token)
        return match is not None and self._is_good("csrf", user, match["time"], match["signature"])

    def _is_good(self, kind: str, user: str, stamp: str, signature: str) -> bool:
        age_s = self._clock() - int(stamp, 16)
        signed = hmac.compare_digest(signature, self._sign(kind, user, stamp))
        return signed and -_CLOCK_SKEW_S < age_s < self._life_s

    def _sign(self, kind: str, user: str, stamp: str) -> str:
        digest = hmac.new(self._key, f"{kind}:{user}:{stamp}".encode(), hashlib.sha256).digest()
        return base64.b64encode(digest).decode().rstrip("=")
