"""Where secrets belong (they are read there), and where none belongs (they are searched for there)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .search import files_below
from .secrets import (
    CertificateKeys,
    Secret,
    bootstrap_tokens,
    kubeconfig_keys,
    private_keys,
    sealed_certificates,
    text_secret,
)

# Paths of keys on a node, by kind.
NODE_KEYS = {
    "minion key": "etc/salt/pki/minion/*.pem",
    "host key of ssh": "etc/ssh/ssh_host_*_key",
    "cluster key": "etc/kubernetes/pki/*.key",
    "etcd key": "etc/kubernetes/pki/etcd/*.key",
    "kubelet key": "var/lib/kubelet/pki/*.*",
}
NODE_KUBECONFIGS = ("etc/kubernetes/*.conf", "home/*/.kube/config", "root/.kube/config")
ETCD_FILES = ("opt/sandbox/var/lib/etcd/member/wal/*.wal", "opt/sandbox/var/lib/etcd/member/snap/*")
MASTER_KEYS = {
    "master key": "salt/pki/master/*.pem",
    "key of the lab's CA": "lab/ca/*.key",
    "key of the Proxmox API": "lab/proxmox/tls/*.key",
    "ssh key of the operator": "lab/ssh/id_*",
}
# Files whose whole text is the secret. A token's file holds user!name=secret.
MASTER_TEXTS = {
    "key of the master's users": "salt/cache/master/.*_key",
    "session key of a minion": "salt/cache/master/sessions/*",
    "Proxmox password": "lab/proxmox/credentials/*.password",
    "Proxmox token": "lab/proxmox/credentials/*.token",
    "key of the Proxmox tickets": "lab/proxmox/credentials/*.key",
}
# Every job makes or uses each of these: a collection that lacks one has looked in the wrong place.
KINDS = {*NODE_KEYS, *MASTER_KEYS, *MASTER_TEXTS, "key of a kubeconfig", "bootstrap token"}

# Left out below a node's root: the kernel's own file systems, and the programs whose sums each highstate has compared
# with the definition's.
KERNEL = ("proc", "sys", "dev/mqueue", "run/cilium/cgroupv2", "opt/sandbox/var/run/cilium/cgroupv2")
PROGRAMS = ("opt/sandbox/bin", "opt/sandbox/opt/cni/bin", "opt/sandbox/usr")
NODE_LEFT_OUT = (*KERNEL, *PROGRAMS)
JOURNAL_FIELDS = "MESSAGE,_CMDLINE,SYSLOG_RAW"


@dataclass(frozen=True)
class Places:
    """The directories of one installation.

    Attributes:
        state: the lab's state directory, the master's included.
        cluster: the cluster's name.
        nodes: each node's root directory, as the node sees it.
        elsewhere: directories of the master's machine that all its users share.
    """

    state: Path
    cluster: str
    nodes: Mapping[str, Path]
    elsewhere: tuple[Path, ...] = ()

    def secrets(self) -> list[Secret]:
        """Every secret that is in a file where it belongs."""
        return [*self._of_the_master(), *(secret for node in self.nodes for secret in self._of_a_node(node))]

    def certificate_keys(self) -> CertificateKeys:
        """The certificate keys of all joins that etcd remembers."""
        stores = (path for root in self.nodes.values() for path in _matching(root, *ETCD_FILES))
        return CertificateKeys(value for path in stores for value in sealed_certificates(path.read_bytes()))

    def first_secret_at(self) -> float:
        """When the first secret was made, in seconds since the epoch."""
        return min(path.stat().st_mtime for path in _matching(self.state, *MASTER_KEYS.values()))

    def searched(self) -> Iterator[tuple[str, Iterator[Path]]]:
        """(place, files) of all that is searched: first what nobody's secret belongs in, whoever may read it."""
        state, master = self.state, self.state / "salt/cache/master"
        yield "job cache of the master", files_below(master / "jobs")
        keys = ("master/jobs", *_relative(state / "salt/cache", _matching(state, *MASTER_TEXTS.values())))
        yield "cache of the master: grains, mine, pillar, states, files", files_below(state / "salt/cache", keys)
        yield "log of the master and of salt-cloud", files_below(state / "salt/log")
        yield "log of a service, console of a node", files_below(state / "lab/log")
        yield "records and locks of runs", files_below(state / self.cluster)
        yield "records and locks of machines", files_below(state / "proxmox")
        yield "overlay of the definition", files_below(state / "pillar")
        yield "Proxmox: machines, tasks, seed images", files_below(state / "lab/proxmox", ("credentials", "tls"))
        for node, root in self.nodes.items():
            yield f"cache of the minion {node}", files_below(root / "var/cache/salt")
            yield f"logs of {node}", files_below(root / "var/log", ("journal",))
        yield from self._searched_for_others()

    def shared(self) -> Iterator[tuple[str, Iterator[Path]]]:
        """(place, files) of the master's machine that is not the job's own: what merely looks like a secret there is
        somebody else's, or an example."""
        since = self.first_secret_at()
        for top in self.elsewhere:
            left_out = _relative(top, (self.state,))
            files = files_below(top, left_out, others_only=True, changed_since=since)
            yield "readable by others on the master", files

    def journals(self) -> Iterator[tuple[str, bytes]]:
        """(node, text) of each node's journal; its files are compressed, so journalctl has to read them."""
        for node, root in self.nodes.items():
            yield node, b"".join(_journal(root / kept) for kept in ("var/log/journal", "run/log/journal"))

    def _searched_for_others(self) -> Iterator[tuple[str, Iterator[Path]]]:
        """What any user of the machine or of a node can read."""
        since = self.first_secret_at()
        for node, root in self.nodes.items():
            files = files_below(root, NODE_LEFT_OUT, others_only=True, changed_since=since)
            yield f"readable by others on {node}", files
        # The nodes' disks are searched as the nodes see them.
        yield "readable by others on the master", files_below(self.state, ("lab/nodes",), others_only=True)

    def _of_the_master(self) -> Iterator[Secret]:
        for kind, pattern in MASTER_KEYS.items():
            yield from _keys(kind, self.state, pattern, "master")
        for kind, pattern in MASTER_TEXTS.items():
            for path in _matching(self.state, pattern):
                text = path.read_bytes().strip()
                value = text.partition(b"=")[2] if path.suffix == ".token" else text
                yield text_secret(kind, f"master: {path.name}", value)
        yield from _kubeconfigs(self.state, "kubeconfig", "master")

    def _of_a_node(self, node: str) -> Iterator[Secret]:
        root = self.nodes[node]
        for kind, pattern in NODE_KEYS.items():
            yield from _keys(kind, root, pattern, node)
        for pattern in NODE_KUBECONFIGS:
            yield from _kubeconfigs(root, pattern, node)
        for path in _matching(root, *ETCD_FILES):
            yield from bootstrap_tokens(node, path.read_bytes())


def _keys(kind: str, root: Path, pattern: str, where: str) -> Iterator[Secret]:
    for path in _matching(root, pattern):
        yield from private_keys(kind, f"{where}: {path.name}", path.read_bytes())


def _kubeconfigs(root: Path, pattern: str, where: str) -> Iterator[Secret]:
    for path in _matching(root, pattern):
        yield from kubeconfig_keys(f"{where}: {path.relative_to(root)}", path.read_bytes())


def _matching(root: Path, *patterns: str) -> Iterator[Path]:
    for pattern in patterns:
        yield from (path for path in sorted(root.glob(pattern)) if path.is_file() and not path.is_symlink())


def _relative(top: Path, paths: Iterable[Path]) -> tuple[str, ...]:
    """Those of the paths that lie below a directory, relative to it."""
    return tuple(str(path.relative_to(top)) for path in paths if path.is_relative_to(top))


def _journal(directory: Path) -> bytes:
    if not directory.is_dir():
        return b""
    options = ["--all", "--output=export", f"--output-fields={JOURNAL_FIELDS}"]
    argv = ["journalctl", f"--directory={directory}", *options]
    return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
