"""What a machine is to be: its row of the table, or for a further worker its profile and a free address.

A further worker gets a row of its own (:mod:`saltern.rows`) once it is there: from then on the table has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path

from saltern.definition import Report
from saltern.model import MIB_PER_GIB, Cluster, MachineSize, MachineSpec, machine_spec
from saltern.parts import ROLES, Role
from saltern.proxmox import inventory, locks
from saltern.proxmox.api import Proxmox
from saltern.proxmox.errors import RefusedError
from saltern.proxmox.inventory import Machine
from saltern.proxmox.journal import Journal, Record
from saltern.rows import RowError, Rows

_LOCK_S = 120.0
# RFC 1123: the name becomes host name, minion ID and Kubernetes node name.
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Profile:
    """What a profile of cloud.profiles.d says: a role, and a size for machines without a row (None: the usual one)."""

    name: str
    role: str | None
    cpus: int | None = None
    memory_gib: int | None = None
    disk_gib: int | None = None


def specification(cluster: Cluster, name: str) -> MachineSpec:
    """The specification of a machine that has a row in the table."""
    return machine_spec(cluster, name)


class Placement:
    """Decides what one machine is to be.

    Args:
        api: the connection, asked for the addresses in use when one has to be found.
        cluster: the definition.
        journal: records of creates, which hold addresses as well.
        rows: the rows that the product writes.
        recheck: checks the definition again, as it is by then.
        profile: the profile that the operator named.
    """

    def __init__(
        self,
        api: Proxmox,
        cluster: Cluster,
        journal: Journal,
        rows: Rows,
        recheck: Callable[[], Report],
        profile: Profile,
    ) -> None:
        self._api = api
        self._cluster = cluster
        self._journal = journal
        self._rows = rows
        self._recheck = recheck
        self._profile = profile

    def specify(self, record: Record, existing: Machine | None) -> MachineSpec:
        """Give the specification of the record's machine.

        A machine without a row gets the address that it has, if it exists; else the next free one of the worker range,
        noted in the record before any other create can look for one.

        Raises: RefusedError when profile and table disagree, or no address is free.
        """
        name, cluster = record.name, self._cluster
        role = self._role(name)
        if name in cluster.nodes:
            return machine_spec(cluster, name)
        if role != "worker":
            raise RefusedError(
                f"Creating {name}",
                f"it has no row in the table, and a {role} needs one: HAProxy and etcd know their members by it",
                f"Add a row `{name}: {{role: {role}, ..}}` under nodes in pillar/cluster.sls.",
            )
        address = self._address_of(existing) if existing else self._free_address(record)
        return machine_spec(cluster, name, role="worker", address=address, size=self._size())

    def publish(self, spec: MachineSpec) -> Path | None:
        """Give a machine without a row one. Returns: the row's file; None when the operator's table has the machine.

        Raises: RefusedError when the row breaks a rule, because the definition was changed meanwhile.
        """
        if spec.name in self._cluster.nodes:
            return None
        try:
            path = self._rows.add(spec.name, row(spec))
        except RowError as err:
            raise _unpublished(spec.name, str(err)) from err
        # What else is wrong with the definition may be an edit under way: no reason to take a machine back.
        wrong = [str(found) for found in self._recheck().errors if found.path.startswith(f"nodes.{spec.name}.")]
        if wrong:
            self._rows.remove(spec.name)
            raise _unpublished(spec.name, "; ".join(wrong))
        return path

    def _role(self, name: str) -> Role:
        profile = self._profile
        role = next((role for role in ROLES if role == profile.role), None)
        if role is None:
            raise RefusedError(
                f"Creating {name}",
                f"the profile {profile.name} has the role {profile.role!r}",
                f"Write `role:` with one of {', '.join(ROLES)} in that profile in cloud.profiles.d.",
            )
        row = self._cluster.nodes.get(name)
        if row and row.role != role:
            raise RefusedError(
                f"Creating {name}",
                f"the profile {profile.name} is for a {role}, and the table has it as a {row.role}",
                f"Use the profile of its role (salt-cloud -p {row.role} {name}), or correct pillar/cluster.sls.",
            )
        if not _DNS_LABEL.fullmatch(name):
            raise RefusedError(
                f"Creating {name}",
                "the name is no DNS label (lower-case letters, digits and inner dashes, 63 at most)",
                "Choose another: it becomes host name, minion ID and Kubernetes node name.",
            )
        return role

    def _size(self) -> MachineSize | None:
        profile = self._profile
        if profile.cpus is None or profile.memory_gib is None or profile.disk_gib is None:
            return None
        return MachineSize(profile.cpus, profile.memory_gib, profile.disk_gib)

    def _address_of(self, existing: Machine) -> IPv4Address:
        for text in inventory.configured_addresses(inventory.config(self._api, existing)):
            try:
                return IPv4Address(text)
            except AddressValueError:  # an IPv6 address beside it
                continue
        raise RefusedError(
            f"Comparing {existing.name} ({existing.vmid} on {existing.node})",
            "the machine exists, has no row in the table, and no fixed address",
            "It was made by other means: add a row for it in pillar/cluster.sls, or choose another name.",
        )

    def _free_address(self, record: Record) -> IPv4Address:
        with locks.one_of([self._journal.address_lock], _LOCK_S, "Finding a free address"):
            used = self._used()
            address = self._cluster.next_worker_address({IPv4Address(text) for text in used if ":" not in text})
            if address is None:
                raise RefusedError(
                    f"Finding an address for {record.name}",
                    f"cluster.worker_range ({self._cluster.settings.worker_range}) has no free address",
                    "Widen cluster.worker_range in pillar/cluster.sls, or give the machine a row in the table.",
                )
            record.note(address=str(address))
        return address

    def _used(self) -> set[str]:
        """Addresses that are not free, whatever this process has read before.

        Another create's address is in its record, then in its row, and on Proxmox from its configuration on: asked in
        that order, none is missed by being written down later than it was looked for.
        """
        reserved = self._journal.addresses()
        written = {str(row["address"]) for row in self._rows.rows().values() if "address" in row}
        return {*reserved, *written, *inventory.addresses_in_use(self._api, inventory.read(self._api).guests)}


def row(spec: MachineSpec) -> dict[str, str | int]:
    """A machine as a row of the table: {role, address, cpus, memory_gib, disk_gib, proxmox_node, arch}."""
    return {
        "role": spec.role,
        "address": str(spec.address),
        "cpus": spec.cpus,
        "memory_gib": spec.memory_mib // MIB_PER_GIB,
        "disk_gib": spec.disk_gib,
        "proxmox_node": spec.proxmox_node,
        "arch": spec.arch,
    }


def _unpublished(name: str, why: str) -> RefusedError:
    return RefusedError(
        f"Giving {name} a row of the table", why, "Correct that, then make the machine again; it needs a row to join."
    )
