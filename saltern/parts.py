"""The parts of a definition, key by key as in ``pillar/cluster.sls`` and ``pillar/versions.sls``: types and defaults.

A field's description is what a message tells the operator to write there. :mod:`saltern.model` puts the parts together.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, PrivateAttr
from pydantic_core import PydanticCustomError

from saltern.addresses import AddressRange

Role = Literal["load_balancer", "control_plane", "worker"]
ROLES: tuple[Role, ...] = ("load_balancer", "control_plane", "worker")
Architecture = Literal["amd64", "arm64"]


def parsed(parse: Callable[[str], Any], rule: str) -> PlainValidator:
    """A validator for text that ``parse`` understands; ``rule`` says what the text has to be."""

    def validate(value: object) -> Any:
        try:
            if not isinstance(value, str):
                raise ValueError("YAML reads this as something else than text: put it in quotes")
            return parse(value)
        except ValueError as err:
            cause = f" ({err})" if str(err) else ""
            raise PydanticCustomError("saltern", "{rule}{cause}", {"rule": rule, "cause": cause}) from None

    return PlainValidator(validate)


def matching(pattern: str, rule: str) -> PlainValidator:
    """A validator for text that matches the whole of a regular expression."""

    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError
        return text

    return parsed(parse, rule)


def parse_cidr(text: str) -> IPv4Network:
    """A network from its CIDR form; an address within it is not one, but shows what was meant."""
    network = IPv4Network(text, strict=False)
    if "/" not in text or str(network) != text:
        raise ValueError(f"the network of this address is {network}")
    return network


def parse_range(text: str) -> AddressRange:
    """An address range from its text form."""
    return AddressRange.parse(text)


AS_TEXT = PlainSerializer(str, return_type=str)
Address = Annotated[IPv4Address, parsed(IPv4Address, "not an IPv4 address"), AS_TEXT]
Cidr = Annotated[IPv4Network, parsed(parse_cidr, "not an IPv4 network in CIDR form"), AS_TEXT]
Range = Annotated[AddressRange, parsed(parse_range, "not a range of IPv4 addresses"), AS_TEXT]
DNS_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
NO_DNS_LABEL = "not a DNS label: up to 63 lower-case letters, digits and inner dashes (RFC 1123)"
DnsLabel = Annotated[str, matching(DNS_LABEL, NO_DNS_LABEL)]
Version = Annotated[str, matching(r"\d+\.\d+\.\d+", "not a full version of three numbers")]
Sha256 = Annotated[str, matching(r"[0-9a-f]{64}", "not a SHA-256 sum: 64 lower-case hexadecimal digits")]
AbsolutePath = Annotated[str, matching(r"(/[\w.@+-]+)+", "not an absolute path below /, without a slash at its end")]
Url = Annotated[str, matching(r"https?://[^\s/]+(/\S*)?", "not a URL")]
AccountName = Annotated[str, matching(r"[a-z_][a-z0-9_-]{0,31}", "not a name that an account can have")]
Bind = Annotated[str, matching(r"[^\s:]+:\d{1,5}", "not ADDRESS:PORT")]
# Kubernetes' labels, and taints as kubectl writes them: KEY=VALUE:EFFECT or KEY:EFFECT.
_NAME = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_MARK = rf"([a-z0-9]([a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_NAME}"
LabelKey = Annotated[str, matching(_MARK, "not a label's key: NAME or DOMAIN/NAME")]
LabelValue = Annotated[str, matching(rf"({_NAME})?", "not a label's value: up to 63 letters, digits, dashes and dots")]
Taint = Annotated[
    str, matching(rf"{_MARK}(=({_NAME})?)?:(NoSchedule|PreferNoSchedule|NoExecute)", "not a taint: KEY=VALUE:EFFECT")
]
Tag = Annotated[str, matching(r"[a-z0-9_][a-z0-9_+.-]*", "not a tag that Proxmox accepts")]


class Model(BaseModel):
    """Base of all parts: unknown keys are refused, types are taken literally, nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)


class Network(Model):
    """The network that the machines share."""

    cidr: Cidr = Field(description="the machines' network, like 192.168.100.0/24")
    gateway: Address = Field(description="the gateway's address in that network, like 192.168.100.1")
    dns: list[Address] = Field(min_length=1, description="a list of DNS servers, like [192.168.100.1]")


class ClusterSettings(Model):
    """Names and networks of the cluster (key ``cluster``)."""

    name: DnsLabel = Field(description="the cluster's name as a DNS label, like saw-k8s")
    network: Network = Field(description="a mapping with cidr, gateway and dns")
    service_cidr: Cidr = Field(default=IPv4Network("10.0.0.0/14"), description="the services' CIDR, like 10.0.0.0/14")
    pod_cidr: Cidr = Field(default=IPv4Network("10.4.0.0/14"), description="the pods' CIDR, like 10.4.0.0/14")
    pod_cidr_node_mask: int = Field(default=24, ge=8, le=30, description="a node's share of the pod network, like 24")
    api_port: int = Field(default=6443, ge=1, le=65535, description="the API's port at the endpoint, like 6443")
    virtual_address: Address | None = Field(default=None, description="the load balancers' shared address, or null")
    worker_range: Range | None = Field(default=None, description="FIRST-LAST, like 10.0.0.160-10.0.0.189, or null")
    join_new_workers: bool = Field(default=True, description="true or false: new workers join by themselves")


class Node(Model):
    """One machine of the table (key ``nodes``). Memory and disk in GiB."""

    role: Role = Field(description="load_balancer, control_plane (a master) or worker")
    address: Address = Field(description="an IPv4 address, like 192.168.100.154")
    cpus: int = Field(ge=1, description="the number of CPUs, 1 or more")
    memory_gib: int = Field(ge=1, description="memory in whole GiB, 1 or more")
    disk_gib: int = Field(ge=1, description="disk in whole GiB, 1 or more")
    proxmox_node: str | None = Field(default=None, description="a Proxmox node, or null for proxmox.node")
    arch: Architecture = Field(default="amd64", description="amd64 or arm64")
    labels: dict[LabelKey, LabelValue] = Field(
        default={}, description="the Kubernetes node's labels, like {example.com/disk: ssd}"
    )
    taints: list[Taint] = Field(default=[], description="the Kubernetes node's taints, like [dedicated=db:NoSchedule]")
    _name: str = PrivateAttr("")

    @property
    def name(self) -> str:
        """The row's key: host name, minion ID and Kubernetes node name in one."""
        return self._name


class Proxmox(Model):
    """Where and how machines are made (key ``proxmox``)."""

    provider: str = Field(default="my-proxmox-config", description="a provider's name in cloud.providers.d/")
    node: str = Field(default="pve", description="a Proxmox node's name, like pve")
    template: str = Field(default="debian-12-saltern", description="the template's name, like debian-12-saltern")
    bridge: str = Field(default="vmbr0", description="a bridge, like vmbr0")
    storage: str = Field(default="local-lvm", description="the disks' storage, like local-lvm")
    iso_storage: str = Field(default="local", description="a storage that takes ISO images, like local")
    clone: Literal["linked", "full"] = Field(default="linked", description="linked or full")
    pool: str | None = Field(default=None, description="a resource pool's name, or null")
    parallel_clones: int = Field(default=2, ge=1, le=8, description="a number from 1 to 8")
    onboot: bool = Field(default=True, description="true or false")
    tags: list[Tag] = Field(default=["saltern"], description="a list of lower-case tags, like [saltern]")
    disk_device: str = Field(default="scsi0", description="the template's system disk, like scsi0")


class Master(Model):
    """The Salt master as nodes reach it (key ``master``)."""

    address: Address = Field(description="an IPv4 address, like 192.168.100.1")


class Operator(Model):
    """The operator's account on each node (key ``operator``)."""

    user: AccountName = Field(default="k8s", description="a user's name, like k8s")
    group: AccountName = Field(default="k8s", description="a group's name, like k8s")
    ssh_keys: list[str] = Field(default=[], description="a list of public keys, like ['ssh-ed25519 AAAA... me']")

    @property
    def home(self) -> str:
        """The user's home directory."""
        return "/root" if self.user == "root" else f"/home/{self.user}"


class Paths(Model):
    """The roots below which everything is put (key ``paths``)."""

    sandbox: AbsolutePath = Field(default="/opt/sandbox", description="a directory of its own, like /opt/sandbox")
    provisioner: AbsolutePath = Field(default="/opt/provisioner", description="a directory of its own")
    work: AbsolutePath = Field(default="/tmp/provisioner", description="a directory, like /tmp/provisioner")  # noqa: S108 - document 0 names it; 0700
    backup: AbsolutePath = Field(default="/var/backups/saltern", description="a directory that outlives a reboot")


class OperatingSystem(Model):
    """How the operating system is treated (key ``os``)."""

    refresh: bool = Field(default=True, description="true or false: refresh the package index on the first bring-up")
    upgrade: bool = Field(default=False, description="true or false: upgrade packages on the first bring-up")
    time_sync: bool = Field(default=True, description="true or false: run chrony")
    max_clock_skew_s: int = Field(default=30, ge=1, description="seconds, like 30")


class ArtefactOptions(Model):
    """Which artefacts, and from where (key ``artefacts`` of cluster.sls)."""

    mirror: Url | None = Field(default=None, description="a mirror's root, like http://10.0.0.1:8080, or null")
    disabled: list[str] = Field(default=[], description="a list of artefacts to leave out, like [k9s]")


class RegistryMirror(Model):
    """One registry and the mirror that is asked first."""

    registry: str = Field(min_length=1, description="a registry, like registry.k8s.io")
    mirror: str = Field(min_length=1, description="the mirror's HOST:PORT[/PREFIX]")
    insecure: bool = Field(default=False, description="true for plain HTTP, else false")


class Registries(Model):
    """Where images come from (key ``registries``)."""

    mirrors: list[RegistryMirror] = Field(default=[], description="a list of {registry, mirror, insecure}")
    allowed: list[str] = Field(
        default=["registry.k8s.io", "quay.io"],
        description="a list of registries that nodes may run images from, like [registry.k8s.io, quay.io]",
    )


class Kubelet(Model):
    """The kubelet's own settings (key ``kubelet``)."""

    config: dict[str, Any] = Field(default={}, description="a mapping of KubeletConfiguration fields")


class Kubeadm(Model):
    """kubeadm's settings (key ``kubeadm``)."""

    ignore_preflight_errors: list[str] = Field(default=[], description="a list of kubeadm's checks, like [NumCPU]")
    token_ttl_minutes: int = Field(default=20, ge=15, le=30, description="minutes from 15 to 30")
    ca_validity_h: int = Field(default=87600, ge=1, description="hours, like 87600")
    certificate_validity_h: int = Field(default=8760, ge=1, description="hours, like 8760")


class Cilium(Model):
    """Cilium's chart (key ``cilium``)."""

    values: dict[str, Any] = Field(default={}, description="a mapping of chart values")


class MetalLB(Model):
    """MetalLB's chart and address pools (key ``metallb``)."""

    values: dict[str, Any] = Field(default={}, description="a mapping of chart values")
    pools: dict[str, list[Range]] = Field(
        min_length=1, description="pools of ranges, like {default: [192.168.100.200-192.168.100.220]}"
    )


class HAProxyStats(Model):
    """HAProxy's statistics page."""

    bind: Bind = Field(description="ADDRESS:PORT, like 127.0.0.1:8404")
    allow: list[Cidr] = Field(default=[], description="networks that may read it, like [192.168.100.0/24]")


class HAProxyIngress(Model):
    """Ports 80 and 443 of the load balancer, passed on to an ingress controller's node ports."""

    http_node_port: int = Field(ge=30000, le=32767, description="a node port from 30000 to 32767")
    https_node_port: int = Field(ge=30000, le=32767, description="a node port from 30000 to 32767")


class HAProxy(Model):
    """The load balancer's options (key ``haproxy``)."""

    stats: HAProxyStats | None = Field(
        default=HAProxyStats(bind="127.0.0.1:8404"), description="{bind: ADDRESS:PORT, allow: [CIDR]} or null"
    )
    ingress: HAProxyIngress | None = Field(default=None, description="{http_node_port: N, https_node_port: N} or null")


class Verification(Model):
    """The web service that proves the cluster (key ``verification``)."""

    enabled: bool = Field(default=True, description="true or false")
    image: str = Field(default="registry.k8s.io/e2e-test-images/agnhost:2.53", description="an image with agnhost")
    replicas: int = Field(default=2, ge=1, description="a number, 1 or more")


class Artefact(Model):
    """One thing to fetch: version, URL, sums by architecture ("any" where there is but one file)."""

    version: Version = Field(description='a full version in quotes, like "1.36.4"')
    url: Url = Field(description="a URL; {version} and {arch} are filled in")
    format: Literal["binary", "tar.gz"] = Field(description="binary or tar.gz")
    sha256: dict[Literal["amd64", "arm64", "any"], Sha256 | None] = Field(
        {}, description="sums by architecture, like {amd64: 64 hexadecimal digits in quotes}"
    )
    omit: list[str] = Field(default=[], description="files that this build of the archive lacks, like [crun]")

    def upstream_url(self, arch: str) -> str:
        """Where the vendor publishes it, e.g. "https://dl.k8s.io/release/v1.36.4/bin/linux/amd64/kubeadm"."""
        return self.url.replace("{version}", self.version).replace("{arch}", arch)

    def checksum(self, arch: Architecture) -> str | None:
        """The pinned SHA-256 sum for an architecture, or None where none is pinned."""
        return self.sha256.get(arch) or self.sha256.get("any")


class Versions(Model):
    """Every version of the product (versions.sls)."""

    kubernetes: Version = Field(description='a full version in quotes, like "1.36.4"')
    crio: Version = Field(description='a full version in quotes, like "1.36.3"')
    pause_image: str = Field(description="an image, like registry.k8s.io/pause:3.10.2")
    artefacts: dict[str, Artefact] = Field(description="a mapping of artefacts")
