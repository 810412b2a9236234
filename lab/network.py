"""The lab's own network: a namespace with a bridge, without any way out.

Entered with `nsenter --net=FILE`: `ip netns exec` would remount /sys and hide the cgroups.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from lab.shell import attempt, run

NAMESPACE = "saltern-lab"
BRIDGE = "br0"
ADDRESS = "192.168.100.1"
NETWORK = "192.168.100.0/24"
PREFIX_LENGTH = 24
NAMESPACE_FILE = Path("/run/netns") / NAMESPACE


def inside(argv: Sequence[str | Path]) -> list[str]:
    """The command that runs `argv` in the lab's network; the process keeps its PID, because nsenter execs it."""
    return ["nsenter", f"--net={NAMESPACE_FILE}", "--", *(str(word) for word in argv)]


def up() -> bool:
    """Make the namespace and its bridge where they are missing.

    Returns:
        Whether anything had to be made.
    """
    changed = False
    if not exists():
        run(["ip", "netns", "add", NAMESPACE])
        changed = True
    if not _has_bridge():
        run(inside(["ip", "link", "add", BRIDGE, "type", "bridge"]))
        changed = True
    if ADDRESS not in _addresses():
        run(inside(["ip", "address", "add", f"{ADDRESS}/{PREFIX_LENGTH}", "dev", BRIDGE]))
        changed = True
    if changed:
        for link in (BRIDGE, "lo"):
            run(inside(["ip", "link", "set", link, "up"]))
    return changed


def down() -> bool:
    """Remove the namespace, and with it the bridge and every link in it.

    Returns:
        Whether there was one.
    """
    if not exists():
        return False
    run(["ip", "netns", "delete", NAMESPACE])
    return True


def exists() -> bool:
    """Whether the namespace is there (a plain file of that name, left by a crash, is not one)."""
    return NAMESPACE in {entry["name"] for entry in json.loads(run(["ip", "-json", "netns", "list"]) or "[]")}


def delete_link(name: str) -> None:
    """Delete a link in the lab's network, if it is there (a stopped node can leave its end of the cable behind)."""
    if exists() and attempt(inside(["ip", "link", "show", "dev", name])).returncode == 0:
        run(inside(["ip", "link", "delete", "dev", name]))


def _has_bridge() -> bool:
    return attempt(inside(["ip", "link", "show", "dev", BRIDGE])).returncode == 0


def _addresses() -> set[str]:
    links = json.loads(run(inside(["ip", "-json", "address", "show", "dev", BRIDGE])) or "[]")
    return {info["local"] for link in links for info in link.get("addr_info", [])}
