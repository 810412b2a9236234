"""
What of a cluster is on this machine already: its own, half built or whole, or another one's; and who holds its ports.
"""

from pathlib import Path

import yaml

# Programs and the TCP ports on which they listen on the node itself, as `ss -ltnp` shows on a running cluster; names as
# far as the kernel keeps them (15 characters). Cilium's operator may run on any node.
EVERY_NODE = {
    10248: "kubelet",
    10250: "kubelet",
    4240: "cilium-agent",
    4244: "cilium-agent",
    9879: "cilium-agent",
    9890: "cilium-agent",
    9234: "cilium-operator",
    9891: "cilium-operator",
    9963: "cilium-operator",
    7472: "speaker",
    7946: "speaker",
}
CONTROL_PLANE = {
    2379: "etcd",
    2380: "etcd",
    2381: "etcd",
    10257: "kube-controller",
    10259: "kube-scheduler",
}
API_SERVER = "kube-apiserver"

# Where distributions of Kubernetes and kubeadm without a sandbox keep their state, and what to undo it with.
OTHERS = {
    "/var/lib/etcd/member": "kubeadm reset -f",
    "/etc/rancher/k3s": "k3s-uninstall.sh or k3s-agent-uninstall.sh",
    "/var/lib/rancher/k3s": "k3s-uninstall.sh or k3s-agent-uninstall.sh",
    "/var/lib/rancher/rke2": "rke2-uninstall.sh",
    "/var/snap/microk8s": "snap remove --purge microk8s",
    "/var/lib/k0s": "k0s reset",
}
RESET = "kubeadm reset -f"
SHOWN = 4


def begun(role):
    """
    Tell whether an init or join has begun here: then its components hold the ports, and images and binaries are there.

    role
        The node's role.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 preflight_membership.begun control_plane
    """
    if role == "load_balancer":
        return False
    return bool(__salt__["kubeadm_facts.unfinished"]() or __salt__["kubeadm_facts.member_files"]()["kubelet_conf"])


def findings(role, begun):
    """
    Report another cluster's state outside the sandbox, and ports that other programs hold.

    Files in the sandbox that are another cluster's are told by ``kubeadm.status``, as ``foreign``.

    role
        The node's role.
    begun
        Whether an init or join has begun here.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 preflight_membership.findings control_plane False
    """
    left = [] if begun or role == "load_balancer" else leftovers()
    # Where another cluster lives its programs hold the ports: one cause, one finding.
    return left + ports(role, tolerated=begun or bool(left))


def leftovers(root="/"):
    """
    Report state of a cluster where none of ours is: in the directories that kubeadm uses by itself.

    The sandbox's directories are mounted over them later: what they hold would be hidden, and its programs may run.

    root
        Directory taken for / (tests).

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 preflight_membership.leftovers
    """
    held = {}
    for mount in __pillar__["saltern"]["os"]["bind_mounts"]:
        path = mount["path"]
        shown = __salt__["bind_mount.mounted"](mount["source"], path)
        if shown is None and (entries := __salt__["bind_mount.entries"](str(_below(root, path)))):
            held[path] = f"{path} ({', '.join(entries[:SHOWN])}{', ...' if len(entries) > SHOWN else ''})"
    undo = [RESET] if held else []
    for path, command in OTHERS.items():
        if _below(root, path).exists():
            held[path] = path
            undo.append(command)
    if not held:
        return []
    what = f"state of another cluster{_whose(root)}: {', '.join(held.values())}"
    why = "this node would leave that cluster, and its data would be hidden or overwritten"
    remedy = (
        f"if that cluster is gone, on {__opts__['id']}: {'; '.join(dict.fromkeys(undo))}; "
        f"then move away what is left: {' '.join(held)}; else take the node out of pillar/cluster.sls"
    )
    return [__salt__["preflight.finding"]("foreign-cluster", what, next(iter(held)), why, remedy)]


def _below(root, path):
    return Path(root) / path.lstrip("/")


def _whose(root):
    """The API server that the kubeconfigs left behind name, as a clause; nothing when none does."""
    for name in ("kubelet.conf", "admin.conf"):
        try:
            document = yaml.safe_load(_below(root, f"/etc/kubernetes/{name}").read_text())
            return f" at {document['clusters'][0]['cluster']['server']}"
        except (OSError, yaml.YAMLError, KeyError, IndexError, TypeError):
            continue
    return ""


def ports(role, tolerated):
    """
    Report TCP ports that the role needs and another program holds.

    role
        The node's role.
    tolerated
        Whether the very programs that need the ports may hold them: they run already.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 preflight_membership.ports control_plane False
    """
    needed = listeners(role)
    found = []
    for port, held_by in __salt__["ports.holders"](list(needed)).items():
        ours = held_by.rpartition(" (PID")[0] == needed[port]
        # HAProxy is started by the preparation already, which is repeated at will.
        if ours and (tolerated or role == "load_balancer"):
            continue
        what = f"port {port}, which {needed[port]} needs, is taken by {held_by}"
        remedy = f"on {__opts__['id']}: stop that program (systemctl stop NAME, kill PID; ss -ltnp lists all)"
        why = "two programs cannot listen on one port"
        found.append(__salt__["preflight.finding"]("port-taken", what, f"TCP port {port}", why, remedy))
    return found


def listeners(role):
    """
    Give the TCP ports on which this project's programs listen on a node, and the programs: ``{6443: "haproxy"}``.

    role
        The node's role.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 preflight_membership.listeners control_plane
    """
    if role == "load_balancer":
        haproxy = __pillar__["saltern"]["haproxy"]
        binds = [frontend["bind"] for frontend in haproxy["frontends"]]
        binds += [haproxy["stats"]["bind"]] if haproxy["stats"] else []
        binds += [haproxy["alive"]] if haproxy["alive"] else []
        return {int(bind.rpartition(":")[2]): "haproxy" for bind in binds}
    if role == "worker":
        return EVERY_NODE
    return EVERY_NODE | CONTROL_PLANE | {__salt__["kubeadm_facts.api_port"](): API_SERVER}
