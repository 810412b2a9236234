"""The web application: the API below ``/api2/json``, and the file that old clients read its description from."""

from __future__ import annotations

import json
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

import lab.proxmox.api  # noqa: F401  (registers the calls)
from lab.proxmox.datacentre import Datacentre
from lab.proxmox.dispatch import API_ROOT, Dispatcher
from lab.proxmox.routing import ROUTES


def application(datacentre: Datacentre) -> Starlette:
    """Return the ASGI application for a datacentre."""
    return Starlette(
        routes=[
            Route("/pve-docs/api-viewer/apidoc.js", api_description),
            Mount(API_ROOT, app=Dispatcher(datacentre)),
        ]
    )


async def api_description(_request: Request) -> PlainTextResponse:
    """Return ``apidoc.js``: salt-cloud's old driver reads what is between ``apiSchema = `` and a line with ``;``."""
    text = f"const apiSchema = {json.dumps(description(), indent=1)}\n;\n"
    return PlainTextResponse(text, media_type="application/javascript")


def description() -> list[dict[str, Any]]:
    """Return the tree of calls in the form of the API viewer: path, text, info by method, children."""
    root: dict[str, Any] = {"path": "", "text": "", "children": []}
    for route in sorted(ROUTES, key=lambda each: each.path):
        node = root
        for part in filter(None, route.path.split("/")):
            node = _child(node, part)
        node.setdefault("info", {})[route.method] = {
            "method": route.method,
            "name": route.handler.__name__,
            "description": (route.handler.__doc__ or "").split("\n")[0],
            "parameters": {"additionalProperties": 0, "properties": {name: {"optional": int(not kind.required)}
                                                                     for name, kind in sorted(route.schema.items())}},
        }  # fmt: skip
    return list(root["children"])


def _child(node: dict[str, Any], part: str) -> dict[str, Any]:
    children: list[dict[str, Any]] = node.setdefault("children", [])
    for child in children:
        if child["text"] == part:
            return child
    new: dict[str, Any] = {"path": f"{node['path']}/{part}", "text": part, "leaf": 0}
    children.append(new)
    return new
