"""Rules about the machines of the table: how many of each role, and how large."""

from __future__ import annotations

import re
from collections.abc import Iterator

from saltern.parts import DNS_LABEL, NO_DNS_LABEL
from saltern.problems import Draft, Key, Problem, Rule, node_key

VIRTUAL: Key = ("cluster", "virtual_address")
ENOUGH_CONTROL_PLANE_NODES = 5  # more members slow etcd's writes and gain little (etcd FAQ)
MIN_CONTROL_PLANE_CPUS = 2  # kubeadm's preflight check NumCPU
MIN_CONTROL_PLANE_MEMORY_GIB = 2  # kubeadm's preflight check Mem wants 1700 MB


def names_valid(draft: Draft) -> Iterator[Problem]:
    """A row's name is a host name, a minion ID and a Kubernetes node name in one; a pool's is a resource's name."""
    for key, names in ((("nodes",), draft.cluster.nodes), (("metallb", "pools"), draft.cluster.metallb.pools)):
        for name in names:
            if not re.fullmatch(DNS_LABEL, name):
                yield Problem((*key, name), f"the name is {NO_DNS_LABEL}", f"write {suggested(name)}, or another name")


def suggested(name: str) -> str:
    """The DNS label that comes closest to a name.

    >>> suggested("Saw_K8s_W_05")
    'saw-k8s-w-05'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63] or "saw-k8s-w-05"


def control_plane_size(draft: Draft) -> Iterator[Problem]:
    """etcd wants an odd number of members: an even one tolerates no more failures and adds one more that can fail."""
    count, reads = draft.count("control_plane"), draft.reads_roles()
    rule = f"{count} control-plane nodes"
    if count == 0:
        yield Problem(("nodes",), "no control-plane node", "give 1, 3 or 5 rows the role control_plane", reads=reads)
    elif count % 2 == 0:
        rule = f"{rule}: an even number of etcd members tolerates no more failures than {count - 1} do"
        yield Problem(("nodes",), rule, "write 1, 3 or 5 rows with the role control_plane", reads=reads)
    elif count == 1:
        rule = "1 control-plane node: when it is down, so is the API, and its loss is the cluster's loss"
        yield Problem(("nodes",), rule, "write 3 or 5 rows with the role control_plane", reads=reads, warning=True)
    elif count > ENOUGH_CONTROL_PLANE_NODES:
        rule = f"{rule}: more than {ENOUGH_CONTROL_PLANE_NODES} slow etcd's writes"
        yield Problem(("nodes",), rule, "write 3 or 5 rows with the role control_plane", reads=reads, warning=True)


def load_balancer_count(draft: Draft) -> Iterator[Problem]:
    """There is a load balancer, and several have a shared address, which one alone has no use for."""
    count, reads = draft.count("load_balancer"), draft.reads_roles()
    if count == 0:
        rule = "no load balancer: kubeconfigs name its address, never a control-plane node's"
        yield Problem(("nodes",), rule, "give one row the role load_balancer", reads=reads)
    elif count > 1 and draft.cluster.settings.virtual_address is None:
        rule = f"{count} load balancers and no shared address: there would be no one endpoint"
        remedy = "write a free address of the network here, or keep one load_balancer row"
        yield Problem(VIRTUAL, rule, remedy, "null", reads)
    elif count == 1 and (address := draft.cluster.settings.virtual_address):
        rule = "1 load balancer shares its address with nobody: keepalived is for two or more"
        remedy = "add a row with the role load_balancer, or write null: then its own address is the endpoint"
        yield Problem(VIRTUAL, rule, remedy, address, reads)


def worker_count(draft: Draft) -> Iterator[Problem]:
    """Something can carry workloads, the verification service included."""
    if draft.count("worker") == 0:
        rule = "no worker: control-plane nodes take no ordinary pods"
        yield Problem(("nodes",), rule, "give at least one row the role worker", reads=draft.reads_roles())


def control_plane_resources(draft: Draft) -> Iterator[Problem]:
    """kubeadm's minima, unless its check is switched off."""
    ignored = {check.lower() for check in draft.cluster.kubeadm.ignore_preflight_errors}
    for node in draft.cluster.control_plane:
        if node.cpus < MIN_CONTROL_PLANE_CPUS and not ignored & {"numcpu", "all"}:
            rule = f"kubeadm wants {MIN_CONTROL_PLANE_CPUS} CPUs or more on a control-plane node"
            yield Problem(node_key(node.name, "cpus"), rule, f"write {MIN_CONTROL_PLANE_CPUS} or more", node.cpus)
        if node.memory_gib < MIN_CONTROL_PLANE_MEMORY_GIB and not ignored & {"mem", "all"}:
            rule = f"kubeadm wants {MIN_CONTROL_PLANE_MEMORY_GIB} GiB or more on a control-plane node"
            remedy = f"write {MIN_CONTROL_PLANE_MEMORY_GIB} or more"
            yield Problem(node_key(node.name, "memory_gib"), rule, remedy, node.memory_gib)


RULES: tuple[Rule, ...] = (
    names_valid,
    control_plane_size,
    load_balancer_count,
    worker_count,
    control_plane_resources,
)
