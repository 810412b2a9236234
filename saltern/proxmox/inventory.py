"""What is on Proxmox: nodes, machines, templates, images. Reads only."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from saltern.proxmox.api import Proxmox
from saltern.proxmox.errors import (
    MachineIdTakenError,
    NodeOfflineError,
    NotFoundError,
    RefusedError,
    UnknownTemplateError,
)

MIB = 1024**2
GIB = 1024**3
# Interfaces of a Kubernetes node that carry no address of the machine itself.
_INNER_INTERFACES = re.compile(r"^(lo$|cilium|lxc|veth|docker|cni|kube)")


@dataclass(frozen=True)
class Machine:
    """A virtual machine or template, as nodes/{node}/qemu lists it."""

    vmid: int
    name: str
    node: str
    status: str
    template: bool
    cpus: int
    memory_mib: int
    disk_gib: float

    @property
    def path(self) -> str:
        """Where the API has it: nodes/pve/qemu/101."""
        return f"nodes/{self.node}/qemu/{self.vmid}"


@dataclass(frozen=True)
class Inventory:
    """All machines and templates of one Proxmox installation.

    `unknown` are machines on nodes that are offline and of which Proxmox does not know the name.
    """

    machines: tuple[Machine, ...]
    unknown: tuple[Machine, ...] = ()

    @property
    def guests(self) -> list[Machine]:
        """Machines that are no templates."""
        return [machine for machine in self.machines if not machine.template]

    @property
    def templates(self) -> list[Machine]:
        """Templates."""
        return [machine for machine in self.machines if machine.template]

    def find(self, name: str) -> Machine | None:
        """The machine of that name, or None.

        Raises: RefusedError when there are several; NodeOfflineError when it may be on a node that is offline.
        """
        found = [machine for machine in self.guests if machine.name == name]
        if len(found) > 1:
            places = ", ".join(f"{machine.vmid} on {machine.node}" for machine in found)
            raise RefusedError(
                f"Looking for the machine {name}",
                f"Proxmox has {len(found)} machines of that name: {places}",
                "Rename or remove all but one in Proxmox.",
            )
        if not found and self.unknown:
            hidden = ", ".join(f"{machine.vmid} on {machine.node}" for machine in self.unknown)
            raise NodeOfflineError(
                f"Looking for the machine {name}",
                f"it may be one of those whose node is offline: {hidden}",
                "Start the Proxmox node, or remove it from the Proxmox cluster (pvecm delnode).",
            )
        return found[0] if found else None

    def template(self, wanted: str, node: str) -> Machine:
        """The template of that name or number, on the node if it has one. Raises: UnknownTemplateError."""
        found = [machine for machine in self.templates if wanted in (machine.name, str(machine.vmid))]
        if not found:
            known = ", ".join(f"{machine.name} ({machine.vmid} on {machine.node})" for machine in self.templates)
            raise UnknownTemplateError(
                f"Looking for the template {wanted}",
                f"Proxmox has no such template; it has: {known or 'none (that this user may see)'}",
                "Correct proxmox.template in pillar/cluster.sls, or make the template (docs/production.md).",
            )
        return min(found, key=lambda machine: (machine.node != node, machine.vmid))


def nodes(api: Proxmox) -> list[dict[str, Any]]:
    """The Proxmox nodes, sorted by name: [{node, status, ..}]."""
    return sorted(api.call("GET", "nodes"), key=lambda row: str(row["node"]))


def read(api: Proxmox) -> Inventory:
    """Read all machines and templates.

    Each node is asked itself: the list of the whole cluster (cluster/resources) is up to 10 s old and has a new
    machine without its name. Only for a node that is offline that list is all there is.
    """
    rows = nodes(api)
    machines = [
        _machine(row, str(node["node"]))
        for node in rows
        if node["status"] == "online"
        for row in api.call("GET", f"nodes/{node['node']}/qemu")
    ]
    offline = {str(node["node"]) for node in rows if node["status"] != "online"}
    hidden = _on_nodes(api, offline) if offline else []
    known = [machine for machine in hidden if machine.name]
    unknown = [machine for machine in hidden if not machine.name]
    return Inventory(tuple(sorted([*machines, *known], key=lambda machine: machine.vmid)), tuple(unknown))


def config(api: Proxmox, machine: Machine) -> dict[str, Any]:
    """A machine's configuration, as Proxmox stores it: {key: value}."""
    found: dict[str, Any] = api.call("GET", f"{machine.path}/config")
    return found


def config_if_there(api: Proxmox, machine: Machine) -> dict[str, Any]:
    """As config, but empty for a machine that was removed since it was listed."""
    try:
        return config(api, machine)
    except NotFoundError:
        return {}


def node_of(api: Proxmox, vmid: int) -> str | None:
    """The node that a machine is on, by the list of the whole cluster: it has every machine, though not its name."""
    rows = api.call("GET", "cluster/resources", type="vm")
    return next((str(row["node"]) for row in rows if int(row["vmid"]) == vmid and row["type"] == "qemu"), None)


def is_free(api: Proxmox, vmid: int) -> bool:
    """Whether no machine has a number; anybody may ask that."""
    try:
        api.call("GET", "cluster/nextid", vmid=vmid)
    except MachineIdTakenError:
        return False
    return True


def addresses_in_use(api: Proxmox, machines: Iterable[Machine]) -> dict[str, str]:
    """The addresses that Proxmox gives to machines by ipconfigN: {address: machine's name}."""
    return {
        address: machine.name for machine in machines for address in configured_addresses(config_if_there(api, machine))
    }


def configured_addresses(settings: dict[str, Any]) -> list[str]:
    """The fixed addresses in a machine's configuration, without prefix length; none for dhcp."""
    found = []
    for index in range(32):
        options = split_options(str(settings.get(f"ipconfig{index}", "")))
        found += [options[key].split("/")[0] for key in ("ip", "ip6") if "/" in options.get(key, "")]
    return found


def agent_addresses(api: Proxmox, machine: Machine) -> list[str]:
    """The addresses that the guest agent reports, without loopback, link-local and container interfaces.

    Raises: ProxmoxError, also when the agent does not run.
    """
    answer = api.call("GET", f"{machine.path}/agent/network-get-interfaces")
    return [
        address["ip-address"]
        for interface in answer["result"]
        if not _INNER_INTERFACES.match(interface["name"])
        for address in interface.get("ip-addresses", [])
        if not address["ip-address"].startswith(("127.", "169.254.", "fe80:", "::1"))
    ]


def images(api: Proxmox) -> list[dict[str, Any]]:
    """All ISO images: [{volid, size, node, storage}]; a shared storage is listed once."""
    found: dict[str, dict[str, Any]] = {}
    for node in nodes(api):
        if node["status"] != "online":
            continue
        for storage in api.call("GET", f"nodes/{node['node']}/storage"):
            if "iso" not in storage.get("content", "").split(",") or not storage.get("active", 1):
                continue
            key = "" if storage.get("shared") else str(node["node"])
            for row in api.call("GET", f"nodes/{node['node']}/storage/{storage['storage']}/content", content="iso"):
                found.setdefault(f"{key}/{row['volid']}", row | {"node": node["node"], "storage": storage["storage"]})
    return list(found.values())


def split_options(value: str) -> dict[str, str]:
    """Split a Proxmox property string: "virtio=BC:..,bridge=vmbr0" -> {"virtio": "BC:..", "bridge": "vmbr0"}.

    A first part without `=` (a volume, a plain 0 or 1) is found under "".
    """
    options = {}
    for part in value.split(","):
        key, separator, text = part.partition("=")
        options[key if separator else ""] = text if separator else key
    return options


def _on_nodes(api: Proxmox, wanted: set[str]) -> list[Machine]:
    rows = api.call("GET", "cluster/resources", type="vm")
    return [_machine(row, row["node"]) for row in rows if row["node"] in wanted and row.get("type") == "qemu"]


def _machine(row: dict[str, Any], node: str) -> Machine:
    return Machine(
        vmid=int(row["vmid"]),
        name=str(row.get("name") or ""),
        node=node,
        status=str(row.get("status", "unknown")),
        template=str(row.get("template", "")) == "1",
        cpus=int(row.get("cpus") or row.get("maxcpu") or 0),
        memory_mib=int(row.get("maxmem") or 0) // MIB,
        disk_gib=int(row.get("maxdisk") or 0) / GIB,
    )
