"""What an operating system needs before it can carry a node: packages, modules, sysctl profiles, directories, mounts.

Values and order are those of the provisioning workflow (reference document 0).
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from saltern.model import Cluster
from saltern.parts import Node

KUBERNETES_PACKAGES = ("iptables", "gpg", "conntrack", "socat", "ebtables", "nftables")
UNWANTED_PACKAGES = ("containerd", "containerd.io")  # a second runtime would answer the kubelet in CRI-O's place
MODULES = ("overlay", "br_netfilter")
OBSOLETE_SYSCTL = ("15-network-performance", "15-k8s-networking", "15-inotify")

# Profile -> key -> value, in the document's order. Values are text: some are three numbers.
K8S_NETWORKING = {
    "net.bridge.bridge-nf-call-iptables": "1",
    "net.bridge.bridge-nf-call-ip6tables": "1",
    "net.ipv4.ip_forward": "1",
    "net.ipv6.conf.all.forwarding": "1",
}
NETWORK_PERFORMANCE = {
    "net.core.rmem_default": "31457280",
    "net.core.wmem_default": "31457280",
    "net.core.rmem_max": "33554432",
    "net.core.wmem_max": "33554432",
    "net.core.somaxconn": "65535",
    "net.core.netdev_max_backlog": "65535",
    "net.core.optmem_max": "25165824",
    "net.ipv4.tcp_synack_retries": "2",
    "net.ipv4.tcp_rmem": "8192 65536 33554432",
    "net.ipv4.tcp_mem": "786432 1048576 26777216",
    "net.ipv4.udp_mem": "65536 131072 262144",
    "net.ipv4.udp_rmem_min": "16384",
    "net.ipv4.tcp_wmem": "8192 65536 33554432",
    "net.ipv4.udp_wmem_min": "16384",
    "net.ipv4.tcp_max_tw_buckets": "1440000",
    "net.ipv4.tcp_tw_reuse": "1",
    "net.ipv4.tcp_rfc1337": "1",
    "net.ipv4.tcp_syncookies": "1",
    "net.ipv4.tcp_fin_timeout": "15",
    "net.ipv4.tcp_keepalive_time": "300",
    "net.ipv4.tcp_keepalive_intvl": "15",
    "fs.file-max": "2097152",
    "vm.swappiness": "10",
    "vm.dirty_ratio": "60",
    "vm.dirty_background_ratio": "2",
}
INOTIFY = {
    "fs.inotify.max_user_watches": "524288",
    "fs.inotify.max_user_instances": "512",
}
SYSCTL = {
    "75-k8s-networking": K8S_NETWORKING,
    "75-network-performance": NETWORK_PERFORMANCE,
    "75-inotify": INOTIFY,
}

# Below the sandbox root. A mode other than 0755 keeps keys and cluster data from other users.
SANDBOX_DIRECTORIES: dict[str, str] = {
    "bin": "0755",
    "config": "0755",
    "run": "0755",
    "storage": "0755",
    "etc/crio/crio.conf.d": "0755",
    "etc/crio/keys": "0700",
    "etc/default": "0755",
    "etc/sysconfig": "0755",
    "etc/provisioner": "0755",
    "etc/containers/registries.conf.d": "0755",
    "etc/cni/net.d": "0755",
    "etc/nri/conf.d": "0755",
    "etc/kubernetes/pki": "0755",
    "var/lib/etcd": "0700",
    "var/lib/containers/storage": "0755",
    "var/lib/kubelet": "0755",
    "var/lib/crio": "0755",
    "var/run/cilium": "0755",
    "var/run/nri": "0755",
    "var/run/containers/storage": "0755",
    "var/run/crio/exits": "0755",
    "var/logs/crio/pods": "0755",
    "run/runc": "0700",
    "usr/libexec/crio": "0755",
    "usr/share/crio": "0755",
    "usr/lib/systemd/system/kubelet.service.d": "0755",
    "usr/local/bin": "0755",
    "opt/cni/bin": "0755",
    "opt/nri/plugins": "0755",
}
# Bind-mounted from the same path below the sandbox root.
BOUND = ("/etc/kubernetes", "/var/lib/kubelet", "/var/run/cilium")
ROLE_DIRECTORIES: dict[str, dict[str, str]] = {
    "load_balancer": {"etc/provisioner": "0755"},
    "control_plane": SANDBOX_DIRECTORIES | {"charts": "0755"},
    "worker": SANDBOX_DIRECTORIES,
}
# What a boot finds empty: /tmp on Debian and wherever it is a tmpfs, /run everywhere.
VOLATILE = tuple(PurePosixPath(path) for path in ("/tmp", "/run", "/var/run", "/dev/shm"))  # noqa: S108 - nothing is put there
WORK_DIRECTORIES = ("downloads", "unpack", "backup")
PROVISIONER_DIRECTORIES = ("bin", "logs", "config")


def build(cluster: Cluster, node: Node) -> dict[str, Any]:
    """The part ``os`` of a node's pillar."""
    kubernetes = node.role != "load_balancer"
    time_sync = cluster.os.time_sync
    tree = directories(cluster, node)
    return {
        "packages": [*(KUBERNETES_PACKAGES if kubernetes else ()), *(["chrony"] if time_sync else [])],
        "absent_packages": list(UNWANTED_PACKAGES) if kubernetes else [],
        "refresh": cluster.os.refresh,
        "upgrade": cluster.os.upgrade,
        "modules": list(MODULES) if kubernetes else [],
        "sysctl": sysctl(node),
        "obsolete_sysctl": list(OBSOLETE_SYSCTL) if kubernetes else [],
        "directories": tree,
        "volatile_directories": [each for each in tree if is_volatile(each["path"])],
        "bind_mounts": bind_mounts(cluster.paths.sandbox) if kubernetes else [],
        "hosts": hosts(cluster, node),
        "services": [
            *(["nftables.service"] if kubernetes else []),
            *(["chrony.service"] if time_sync else []),
        ],
    }


def hosts(cluster: Cluster, node: Node) -> dict[str, list[str]]:
    """The names that a node knows without asking anyone: {address: [names]}, in table order.

    Its own (kubeadm wants it), the load balancers', and, where those are spoken to, the control plane's. Not the
    workers': nothing on a node calls another by such a name, and each new worker would change every node.
    """
    known = {node.name, *(row.name for row in cluster.load_balancers)}
    if node.role != "worker":
        known |= {row.name for row in cluster.control_plane}
    return {str(row.address): [row.name] for row in cluster.nodes.values() if row.name in known}


def sysctl(node: Node) -> dict[str, dict[str, str]]:
    """The profiles of a node: a load balancer carries many connections, but no bridge and no pods."""
    names = ("75-network-performance",) if node.role == "load_balancer" else tuple(SYSCTL)
    return {name: dict(SYSCTL[name]) for name in names}


def directories(cluster: Cluster, node: Node) -> list[dict[str, str]]:
    """Every directory of a node with owner and mode, each after the one that it lies in."""
    paths, operator = cluster.paths, cluster.operator
    # /tmp is everyone's: nobody may put a link in our way there, or read what is unpacked.
    tree = [entry(paths.work, mode="0700"), *(entry(f"{paths.work}/{name}", mode="0700") for name in WORK_DIRECTORIES)]
    tree.append(entry(paths.backup, mode="0700"))
    tree += [
        entry(path, operator.user, operator.group)
        for path in (paths.provisioner, *(f"{paths.provisioner}/{name}" for name in PROVISIONER_DIRECTORIES))
    ]
    return tree + sandbox_directories(paths.sandbox, ROLE_DIRECTORIES[node.role])


def is_volatile(path: str) -> bool:
    """Whether a directory is gone after a boot.

    >>> is_volatile("/tmp/provisioner"), is_volatile("/tmpfs")
    (True, False)
    """
    return any(place in PurePosixPath(path).parents for place in VOLATILE)


def sandbox_directories(sandbox: str, modes: dict[str, str]) -> list[dict[str, str]]:
    """The sandbox and what a role has below it, intermediate directories included."""
    every = {str(part): "0755" for name in modes for part in PurePosixPath(name).parents if part.name} | modes
    return [entry(sandbox), *(entry(f"{sandbox}/{name}", mode=every[name]) for name in sorted(every))]


def entry(path: str, user: str = "root", group: str = "root", mode: str = "0755") -> dict[str, str]:
    """One directory as the node's state takes it."""
    return {"path": path, "user": user, "group": group, "mode": mode}


def bind_mounts(sandbox: str) -> list[dict[str, str]]:
    """Where the system expects what the sandbox holds."""
    return [{"source": f"{sandbox}{path}", "path": path} for path in BOUND]
