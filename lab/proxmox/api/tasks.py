"""``/nodes/{node}/tasks``: what became of the work that other calls started."""

from __future__ import annotations

from typing import Any

from lab.proxmox.routing import Call, Need, route
from lab.proxmox.schema import Boolean, Integer, Text
from lab.proxmox.tasks import Task


def _own(otherwise: str) -> Need:
    """Need to be the one who started the task, or a privilege on its node; whether it exists is found out later."""

    def need(call: Call) -> None:
        owner = str(call.args["upid"]).split(":")[7:8]
        if not owner or not call.who.owns(owner[0]):
            call.require(f"/nodes/{call.args['node']}", otherwise)

    return need


_OWN_OR_AUDIT = _own("Sys.Audit")


@route("GET", "/nodes/{node}/tasks/{upid}/status", _OWN_OR_AUDIT)
def status(call: Call) -> dict[str, Any]:
    """Return how a task stands."""
    return call.datacentre.tasks.get(call.args["upid"]).status()


@route(
    "GET",
    "/nodes/{node}/tasks/{upid}/log",
    _OWN_OR_AUDIT,
    {"start": Integer(least=0, default=0), "limit": Integer(least=0, default=50), "download": Boolean()},
)
def log(call: Call) -> list[dict[str, Any]]:
    """Return lines of a task's log, counted from 1; a limit of 0 means all."""
    lines = call.datacentre.tasks.get(call.args["upid"]).log
    first, limit = call.args["start"], call.args["limit"] or len(lines)
    chosen = lines[first : first + limit]
    # An empty log has one line that says so.
    return [{"n": first + number, "t": text} for number, text in enumerate(chosen, start=1)] or [
        {"n": 1, "t": "no content"}
    ]


@route("DELETE", "/nodes/{node}/tasks/{upid}", _own("Sys.Modify"))
def abort(call: Call) -> None:
    """Interrupt a task."""
    call.datacentre.tasks.get(call.args["upid"]).cancelled.set()


@route("GET", "/nodes/{node}/tasks/{upid}", _OWN_OR_AUDIT)
def index(_call: Call) -> list[dict[str, str]]:
    """Return the parts of a task."""
    return [{"name": "log"}, {"name": "status"}]


@route(
    "GET",
    "/nodes/{node}/tasks",
    parameters={
        "errors": Boolean(default=False),
        "limit": Integer(least=0, default=50),
        "since": Integer(),
        "source": Text(choices=("archive", "active", "all"), default="archive"),
        "start": Integer(least=0, default=0),
        "statusfilter": Text(),
        "typefilter": Text(),
        "until": Integer(),
        "userfilter": Text(),
        "vmid": Integer(),
    },
)
def tasks(call: Call) -> list[dict[str, Any]]:
    """Return the tasks of a node, the youngest first: finished ones (archive), running ones (active), or all."""
    chosen = [task for task in call.datacentre.tasks.all() if task.node == call.node and _is_wanted(call, task)]
    first = call.args["start"]
    return [task.listed() for task in chosen[first : first + call.args["limit"]]]


def _is_wanted(call: Call, task: Task) -> bool:
    args = call.args
    running = task.exitstatus is None
    return all(
        (
            call.who.owns(task.user) or call.may(f"/nodes/{call.node}", "Sys.Audit"),
            {"archive": not running, "active": running, "all": True}[args["source"]],
            not args["errors"] or task.failed,
            task.id == str(args.get("vmid", task.id)),
            task.type == args.get("typefilter", task.type),
            args.get("userfilter", "") in task.user,
            args.get("since", 0) <= task.starttime <= args.get("until", task.starttime),
        )
    )
