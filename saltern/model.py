"""The cluster as its definition describes it, and everything that follows from it.

Rules between fields are in :mod:`saltern.rules`; files are read by :mod:`saltern.definition`, the one door to a
:class:`Cluster`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from pydantic import Field

from saltern.parts import (
    ArtefactOptions,
    Cilium,
    ClusterSettings,
    HAProxy,
    Kubeadm,
    Kubelet,
    Master,
    MetalLB,
    Model,
    Network,
    Node,
    OperatingSystem,
    Operator,
    Paths,
    Proxmox,
    Registries,
    Role,
    Verification,
    Versions,
)

# kubeadm gives the cluster DNS service the tenth address of the service network.
# Source: k8s.io/kubernetes/cmd/kubeadm/app/constants, GetDNSIP.
DNS_SERVICE_INDEX = 10
MIB_PER_GIB = 1024


@dataclass(frozen=True)
class Endpoint:
    """Where every kubeconfig finds the API: always a load balancer."""

    address: IPv4Address
    port: int

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


@dataclass(frozen=True)
class Totals:
    """What a table adds up to. Memory and disk in GiB."""

    cpus: int
    memory_gib: int
    disk_gib: int


class Cluster(Model):
    """One cluster: the whole definition, and what follows from it."""

    settings: ClusterSettings = Field(alias="cluster", description="a mapping with name and network")
    nodes: dict[str, Node] = Field(min_length=1, description="a mapping of machine names to rows")
    proxmox: Proxmox = Field(default=Proxmox(), description="a mapping")
    master: Master = Field(description="{address: ...}")
    operator: Operator = Field(default=Operator(), description="a mapping")
    paths: Paths = Field(default=Paths(), description="a mapping")
    os: OperatingSystem = Field(default=OperatingSystem(), description="a mapping")
    artefacts: ArtefactOptions = Field(default=ArtefactOptions(), description="a mapping")
    registries: Registries = Field(default=Registries(), description="a mapping")
    crio: dict[str, Any] = Field(default={}, description="a mapping of dotted TOML keys to values")
    kubelet: Kubelet = Field(default=Kubelet(), description="a mapping")
    kubeadm: Kubeadm = Field(default=Kubeadm(), description="a mapping")
    cilium: Cilium = Field(default=Cilium(), description="a mapping")
    metallb: MetalLB = Field(description="{pools: {default: [FIRST-LAST]}}")
    haproxy: HAProxy = Field(default=HAProxy(), description="a mapping")
    verification: Verification = Field(default=Verification(), description="a mapping")
    versions: Versions = Field(description="the contents of versions.sls")

    def model_post_init(self, context: Any, /) -> None:
        """Give each row its name."""
        for name, node in self.nodes.items():
            node._name = name

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.settings.name

    @property
    def network(self) -> Network:
        """The machines' network."""
        return self.settings.network

    def by_role(self, role: Role) -> list[Node]:
        """The rows of a role, in table order."""
        return [node for node in self.nodes.values() if node.role == role]

    @property
    def load_balancers(self) -> list[Node]:
        """Rows that carry HAProxy, in table order."""
        return self.by_role("load_balancer")

    @property
    def control_plane(self) -> list[Node]:
        """Rows that carry the control plane, in table order."""
        return self.by_role("control_plane")

    @property
    def workers(self) -> list[Node]:
        """Rows that carry workloads, in table order."""
        return self.by_role("worker")

    @property
    def kubernetes_nodes(self) -> list[Node]:
        """Rows that become Kubernetes nodes, in table order."""
        return [node for node in self.nodes.values() if node.role != "load_balancer"]

    @property
    def endpoint(self) -> Endpoint:
        """The API as everyone reaches it: the shared address, else the only load balancer's."""
        address = self.settings.virtual_address or self.load_balancers[0].address
        return Endpoint(address, self.settings.api_port)

    @property
    def dns_service_address(self) -> IPv4Address:
        """The cluster DNS service's address: the tenth of the service network."""
        return self.settings.service_cidr[DNS_SERVICE_INDEX]

    @property
    def totals(self) -> Totals:
        """What all machines need together."""
        rows = self.nodes.values()
        return Totals(
            cpus=sum(row.cpus for row in rows),
            memory_gib=sum(row.memory_gib for row in rows),
            disk_gib=sum(row.disk_gib for row in rows),
        )

    def next_worker_address(self, in_use: Collection[IPv4Address]) -> IPv4Address | None:
        """The next free address for a worker that is not in the table.

        Args:
            in_use: addresses that machines outside the table hold already.

        Returns:
            The lowest free address of the worker range; None when there is no range or all of it is used.
        """
        worker_range = self.settings.worker_range
        taken = {*in_use, *(node.address for node in self.nodes.values())}
        return worker_range.next_free(taken) if worker_range else None


@dataclass(frozen=True)
class MachineSize:
    """What a machine is made of. Memory and disk in GiB."""

    cpus: int
    memory_gib: int
    disk_gib: int


@dataclass(frozen=True)
class MachineSpec:
    """Everything that the machine driver needs to make one machine.

    ``memory_mib`` in MiB and ``disk_gib`` in GiB, as Proxmox counts them; ``tags`` are sorted, lower case.
    """

    name: str
    role: Role
    arch: str
    cpus: int
    memory_mib: int
    disk_gib: int
    address: IPv4Address
    prefix_length: int
    gateway: IPv4Address
    dns: tuple[IPv4Address, ...]
    tags: tuple[str, ...]
    proxmox_node: str
    template: str
    bridge: str
    storage: str
    iso_storage: str
    clone: str
    pool: str | None
    onboot: bool
    disk_device: str


def machine_spec(
    cluster: Cluster,
    name: str,
    *,
    role: Role = "worker",
    address: IPv4Address | None = None,
    size: MachineSize | None = None,
) -> MachineSpec:
    """What to make for a name: its row of the table, or, for a name without a row, what the caller's profile says.

    Args:
        cluster: the definition.
        name: the machine's name.
        role: for a name without a row: its role.
        address: for a name without a row: its address, e.g. from :meth:`Cluster.next_worker_address`.
        size: for a name without a row: its size; by default that of the first row of the role.

    Raises:
        LookupError: the name has no row, and address or size are not known.
    """
    node = cluster.nodes.get(name) or _rowless(cluster, name, role, address, size)
    network, proxmox = cluster.network, cluster.proxmox
    return MachineSpec(
        name=name,
        role=node.role,
        arch=node.arch,
        cpus=node.cpus,
        memory_mib=node.memory_gib * MIB_PER_GIB,
        disk_gib=node.disk_gib,
        address=node.address,
        prefix_length=network.cidr.prefixlen,
        gateway=network.gateway,
        dns=tuple(network.dns),
        tags=tuple(sorted({*proxmox.tags, cluster.name, node.role})),
        proxmox_node=node.proxmox_node or proxmox.node,
        template=proxmox.template,
        bridge=proxmox.bridge,
        storage=proxmox.storage,
        iso_storage=proxmox.iso_storage,
        clone=proxmox.clone,
        pool=proxmox.pool,
        onboot=proxmox.onboot,
        disk_device=proxmox.disk_device,
    )


def _rowless(cluster: Cluster, name: str, role: Role, address: IPv4Address | None, size: MachineSize | None) -> Node:
    """A row for a name that the table does not have."""
    example = next(iter(cluster.by_role(role)), None)
    chosen: MachineSize | Node | None = size or example
    if address is None or chosen is None:
        lacking = "address" if address is None else f"size, and no row of the table is a {role} to go by"
        raise LookupError(f"{name} has no row in nodes (cluster.sls) and was given no {lacking}: add a row for it")
    sizes = {"cpus": chosen.cpus, "memory_gib": chosen.memory_gib, "disk_gib": chosen.disk_gib}
    return Node.model_validate({"role": role, "address": str(address), **sizes})
