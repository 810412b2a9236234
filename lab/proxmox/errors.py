"""The two ways in which a call fails: refused at once (an HTTP status), or as the text that a task ends with."""

from __future__ import annotations


class ProxmoxError(Exception):
    """A refusal in Proxmox's own words: HTTP 500 when a call raises it, the exit status when a task does."""


class ApiError(Exception):
    """An answer with an HTTP status of its own.

    Args:
        status: HTTP status code; 595 and 596 are Proxmox's own.
        reason: text of the reason phrase; clients read it.
        errors: text per parameter (status 400).
        with_body: False where Proxmox answers with an empty body.
    """

    def __init__(self, status: int, reason: str, errors: dict[str, str] | None = None, with_body: bool = True) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.errors = errors
        self.with_body = with_body


def invalid(**errors: str) -> ApiError:
    """Return the 400 for bad parameters; keyword = parameter (``_`` for ``-``), value = what is wrong with it."""
    return invalid_parameters({name.replace("_", "-"): text for name, text in errors.items()})


def invalid_parameters(errors: dict[str, str]) -> ApiError:
    """Return the 400 for bad parameters, text per parameter."""
    return ApiError(400, "Parameter verification failed.", errors=errors)


def forbidden(path: str | None = None, privileges: tuple[str, ...] = ()) -> ApiError:
    """Return the 403 that names what was missing; without a path the bare one of an either-or check."""
    if path is None:
        return ApiError(403, "Permission check failed")
    return ApiError(403, f"Permission check failed ({path}, {'|'.join(privileges)})")


def unauthorized(reason: str) -> ApiError:
    """Return the 401 with the empty body that Proxmox gives to everything but a wrong password."""
    return ApiError(401, reason, with_body=False)
