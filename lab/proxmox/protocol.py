"""The reason phrase on the wire.

Proxmox says in the reason phrase what went wrong (``HTTP/1.1 500 VM is locked (clone)``), and clients read it there.
ASGI has no field for it, so the application puts it into a header of its own, and the connection here moves it from
there into the status line.
"""

from __future__ import annotations

from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REASON_HEADER = b"x-reason-phrase"


def phrased(response: h11.Response) -> h11.Response:
    """Return the response with the text of its ``x-reason-phrase`` header as its reason phrase, the header removed."""
    headers = [(name, value) for name, value in response.headers if name != REASON_HEADER]
    reason = next((value for name, value in response.headers if name == REASON_HEADER), bytes(response.reason))
    return h11.Response(status_code=response.status_code, headers=headers, reason=reason)


class PhrasedConnection(h11.Connection):
    """An HTTP/1.1 connection whose responses carry their own reason phrase."""

    def send_with_data_passthrough(self, event: h11.Event) -> list[bytes] | None:
        """Serialise an event; see h11.Connection.send_with_data_passthrough, through which its ``send`` goes."""
        return super().send_with_data_passthrough(phrased(event) if isinstance(event, h11.Response) else event)


class PhrasedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol on a :class:`PhrasedConnection`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = PhrasedConnection(h11.SERVER)
