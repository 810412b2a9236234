"""Which function answers which call, what it needs, and what it is given."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lab.proxmox.access import ROOT, Identity
from lab.proxmox.errors import forbidden, invalid
from lab.proxmox.schema import NODE, STORAGE, VMID, Kind, Text
from lab.proxmox.tasks import Injected, Task

if TYPE_CHECKING:
    from lab.proxmox.datacentre import Datacentre

# Kinds of the names in paths; a name that is not here is any text.
PATH_KINDS: dict[str, Kind] = {"node": NODE, "vmid": VMID, "storage": STORAGE}
_REST_OF_PATH = frozenset(("volume",))


@dataclass
class Call:
    """One call on its way through the checks.

    Attributes:
        datacentre: all state.
        who: the caller; None only for the few calls that need no login.
        args: the parameters of path, query and body; strings until the schema check, then Python values.
        injected: what happens to the task of this call on purpose.
        before_task: what happens before the task of this call begins.
        disks_left: a destroy leaves the disks on purpose, and its task ends as ``OK`` or with ``warnings``.
    """

    datacentre: Datacentre
    who: Identity
    args: dict[str, Any] = field(default_factory=dict)
    injected: Injected | None = None
    before_task: Callable[[], None] | None = None
    disks_left: str | None = None

    @property
    def node(self) -> str:
        """Name of the node in the path."""
        return str(self.args["node"])

    @property
    def vmid(self) -> int:
        """ID of the VM in the path."""
        return int(self.args["vmid"])

    def may(self, path: str, *privileges: str, any_of: bool = False) -> bool:
        """Say whether the caller has all (or any) of the privileges on a path."""
        return self.datacentre.access.allows(self.who, path, *privileges, any_of=any_of)

    def require(self, path: str, *privileges: str, any_of: bool = False) -> None:
        """Raise 403 unless the caller has all (or any) of the privileges on a path."""
        self.datacentre.access.require(self.who, path, *privileges, any_of=any_of)

    def skips_lock(self) -> bool:
        """Say whether the call is to pass over a configuration lock, which only root@pam may ask for (else 400)."""
        if self.args.get("skiplock") and self.who.user != ROOT:
            raise invalid(skiplock="Only root may use this option.")
        return bool(self.args.get("skiplock"))

    def start(
        self,
        kind: str,
        guest: object,
        work: Callable[[Task], None],
        node: str | None = None,
        afterwards: Callable[[], None] | None = None,
    ) -> str:
        """Start a task for this call on its node and return the UPID; see Tasks.start."""
        where = node or self.node

        def preceded(task: Task) -> None:
            if self.before_task:
                self.before_task()
            work(task)

        return self.datacentre.tasks.start(where, kind, str(guest), self.who, preceded, self.injected, afterwards)


Need = Callable[[Call], None]


def anyone(_call: Call) -> None:
    """Need nothing but a login."""


def privilege(path: str, *names: str, any_of: bool = False) -> Need:
    """Need all (or any) of the privileges on a path with the call's parameters put in: ``/vms/{vmid}``."""

    def need(call: Call) -> None:
        call.require(path.format(**call.args), *names, any_of=any_of)

    return need


def together(*needs: Need) -> Need:
    """Need every one of several."""

    def need(call: Call) -> None:
        for each in needs:
            each(call)

    return need


def either(*alternatives: tuple[str, str]) -> Need:
    """Need one of several (path, privilege); a path whose parameter was not given does not count.

    The refusal says no path and no privilege, as Proxmox's does.
    """

    def need(call: Call) -> None:
        # root@pam passes even when a parameter is missing, and is then told which.
        if call.who == Identity(ROOT):
            return
        for path, name in alternatives:
            known = all(key in call.args for key in re.findall(r"{(\w+)}", path))
            if known and call.may(path.format(**call.args), name):
                return
        raise forbidden()

    return need


@dataclass(frozen=True)
class Route:
    """One call of the API.

    Attributes:
        method, path: ``POST``, ``/nodes/{node}/qemu/{vmid}/clone``.
        need: permission check, before the parameters are looked at.
        parameters: those of query and body; the path's are added.
        handler: answers; what it returns is ``data``.
        local: answered by the contacted node, whatever node the path names.
    """

    method: str
    path: str
    need: Need
    parameters: Mapping[str, Kind]
    handler: Callable[[Call], Any]
    local: bool = False

    @property
    def schema(self) -> dict[str, Kind]:
        """All parameters, those of the path too."""
        names = re.findall(r"{(\w+)}", self.path)
        return {name: PATH_KINDS.get(name, Text(required=True)) for name in names} | dict(self.parameters)

    def match(self, path: str) -> dict[str, str] | None:
        """Return the values of the names in the path, or None when it is another path."""
        match = _pattern(self.path).fullmatch(path)
        return match.groupdict() if match else None


_patterns: dict[str, re.Pattern[str]] = {}


def _pattern(path: str) -> re.Pattern[str]:
    if path not in _patterns:
        parts = re.split(r"{(\w+)}", path)
        texts = [
            f"(?P<{part}>{'.+' if part in _REST_OF_PATH else '[^/]+'})" if odd % 2 else re.escape(part)
            for odd, part in enumerate(parts)
        ]
        _patterns[path] = re.compile("".join(texts))
    return _patterns[path]


ROUTES: list[Route] = []


def route(
    method: str, path: str, need: Need = anyone, parameters: Mapping[str, Kind] | None = None, local: bool = False
) -> Callable[[Callable[[Call], Any]], Callable[[Call], Any]]:
    """Register the decorated function as the answer to a call; see Route for the arguments."""

    def register(handler: Callable[[Call], Any]) -> Callable[[Call], Any]:
        ROUTES.append(Route(method, path, need, parameters or {}, handler, local))
        return handler

    return register


def find(method: str, path: str) -> tuple[Route, dict[str, str]] | None:
    """Return the route of a call and the values of the names in its path."""
    for candidate in ROUTES:
        if candidate.method == method and (values := candidate.match(path)) is not None:
            return candidate, values
    return None
