"""Which artefacts a node gets, from where, and where their files go in the sandbox."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from saltern.model import Cluster
from saltern.parts import Architecture, Artefact, Node

LINK_DIRECTORY = "/usr/local/bin"

# The CNI plugins of CRI-O's bundle (containernetworking/plugins).
CNI_PLUGINS = (
    "bandwidth",
    "bridge",
    "dhcp",
    "dummy",
    "firewall",
    "host-device",
    "host-local",
    "ipvlan",
    "loopback",
    "macvlan",
    "portmap",
    "ptp",
    "sbr",
    "static",
    "tap",
    "tuning",
    "vlan",
    "vrf",
)
CRIO_USER_PROGRAMS = ("crio", "pinns", "crictl")
CRIO_HELPERS = ("conmon", "conmonrs", "crun", "runc")
# Without one of these CRI-O starts no container, so no build of the bundle may omit them.
CRIO_NEEDS = ("crio", "pinns", "conmon", "runc", "10-crio.conf")


@dataclass(frozen=True)
class Placed:
    """One file of an artefact: which member of the archive (None: the artefact itself), where below the sandbox."""

    member: str | None
    path: str
    mode: str = "0755"

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.path.rpartition("/")[2]


Layout = Callable[[Artefact, str], list[Placed]]


@dataclass(frozen=True)
class Kind:
    """How one artefact is laid out, who gets it, and what of it is linked into the system's path."""

    layout: Layout
    roles: tuple[str, ...]
    links: tuple[str, ...] = ()
    optional: bool = False


def binary(name: str) -> Layout:
    """A plain executable below bin/."""
    return lambda artefact, arch: [Placed(None, f"bin/{name}")]


def packed(name: str, member: str) -> Layout:
    """One executable of an archive; the member's name may hold {version} and {arch}."""
    return lambda artefact, arch: [
        Placed(member.replace("{version}", artefact.version).replace("{arch}", arch), f"bin/{name}")
    ]


def chart(name: str) -> Layout:
    """A Helm chart, kept packed."""
    return lambda artefact, arch: [Placed(None, chart_file(name, artefact.version), "0644")]


def chart_file(name: str, version: str) -> str:
    """A chart's path below the sandbox root."""
    return f"charts/{name}-{version}.tgz"


def crio_bundle(artefact: Artefact, arch: str) -> list[Placed]:
    """CRI-O's bundle. Its own registries.conf and policy.json stay out: they search docker.io and accept anything."""
    return [
        *(Placed(f"cri-o/bin/{name}", f"usr/local/bin/{name}") for name in CRIO_USER_PROGRAMS),
        *(Placed(f"cri-o/bin/{name}", f"usr/libexec/crio/{name}") for name in CRIO_HELPERS),
        *(Placed(f"cri-o/cni-plugins/{name}", f"opt/cni/bin/{name}") for name in CNI_PLUGINS),
        # Untouched, so that its sum holds; the node composes the active configuration from it.
        Placed("cri-o/etc/10-crio.conf", "usr/share/crio/10-crio.conf", "0644"),
    ]


EVERY_NODE = ("control_plane", "worker")
CONTROL_PLANE = ("control_plane",)

# In the order of installation: what takes longest to start comes first.
KINDS: dict[str, Kind] = {
    "crio": Kind(crio_bundle, EVERY_NODE),
    "kubelet": Kind(binary("kubelet"), EVERY_NODE, ("kubelet",)),
    "kubeadm": Kind(binary("kubeadm"), EVERY_NODE, ("kubeadm",)),
    "kubectl": Kind(binary("kubectl"), EVERY_NODE, ("kubectl",)),
    "helm": Kind(packed("helm", "linux-{arch}/helm"), CONTROL_PLANE, ("helm",)),
    "k9s": Kind(packed("k9s", "k9s"), CONTROL_PLANE, ("k9s",), optional=True),
    "cilium-cli": Kind(packed("cilium", "cilium"), CONTROL_PLANE, ("cilium",), optional=True),
    "etcdctl": Kind(
        packed("etcdctl", "etcd-v{version}-linux-{arch}/etcdctl"), CONTROL_PLANE, ("etcdctl",), optional=True
    ),
    "cilium-chart": Kind(chart("cilium"), CONTROL_PLANE),
    "metallb-chart": Kind(chart("metallb"), CONTROL_PLANE),
}


def mirrored(url: str, mirror: str | None) -> str:
    """Where to fetch an upstream URL: ``<mirror>/<host of the URL>/<path>``, or the URL itself without a mirror.

    >>> mirrored("https://dl.k8s.io/release/v1.36.4/bin/linux/amd64/kubeadm", "http://192.168.100.1:8080")
    'http://192.168.100.1:8080/dl.k8s.io/release/v1.36.4/bin/linux/amd64/kubeadm'
    """
    return f"{mirror.rstrip('/')}/{url.partition('://')[2]}" if mirror else url


def enabled(cluster: Cluster) -> list[str]:
    """The artefacts that are switched on, in the order of installation."""
    return [name for name in KINDS if name not in cluster.artefacts.disabled and name in cluster.versions.artefacts]


def member_names(name: str, artefact: Artefact) -> list[str]:
    """The files that an artefact consists of, by their own names."""
    return [file.name for file in KINDS[name].layout(artefact, "")]


def build(cluster: Cluster, node: Node, arch: Architecture) -> list[dict[str, Any]]:
    """The part ``artefacts`` of a node's pillar."""
    return [entry(cluster, name, arch) for name in enabled(cluster) if node.role in KINDS[name].roles]


def entry(cluster: Cluster, name: str, arch: Architecture) -> dict[str, Any]:
    """One artefact as the node's state takes it."""
    artefact, kind, sandbox = cluster.versions.artefacts[name], KINDS[name], cluster.paths.sandbox
    placed = [file for file in kind.layout(artefact, arch) if file.name not in artefact.omit]
    return {
        "name": name,
        "version": artefact.version,
        "url": mirrored(artefact.upstream_url(arch), cluster.artefacts.mirror),
        "sha256": artefact.checksum(arch),
        "format": artefact.format,
        "files": [{"member": file.member, "path": f"{sandbox}/{file.path}", "mode": file.mode} for file in placed],
        "links": [{"path": f"{LINK_DIRECTORY}/{link}", "target": f"{sandbox}/bin/{link}"} for link in kind.links],
    }
