"""The runbook of each failure that a run can report: which page of docs/runbooks/ a message leads to.

Every failure bears a code: short, stable, the name of its page. The preflight's are in
:mod:`saltern.preflight_codes`, all others here. A code is never given another meaning; tests hold both lists against
the code and against the pages.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from saltern import preflight_codes

# The pages of this very checkout: what they say is true of the code beside them.
DIRECTORY = Path(__file__).resolve().parents[1] / "docs" / "runbooks"

OTHER_CODES: dict[str, str] = {
    # the definition
    "definition-file": "A file of the definition is missing or cannot be read",
    "definition-key": "A key of the definition is missing, unknown or has a value of the wrong kind",
    "definition-network": "Networks or addresses of the definition clash",
    "definition-nodes": "The table of nodes cannot become a cluster",
    "definition-versions": "Versions or artefacts of the definition do not fit together",
    "definition-options": "Options of the definition contradict each other",
    # the run
    "cluster-locked": "Another operation is at work on the cluster",
    "salt-master-lost": "The Salt master does not answer, or is lost",
    "control-plane-unhealthy": "The cluster exists, but none of its control-plane nodes is healthy",
    "run-interrupted": "The run was interrupted",
    "record-unreadable": "The record of a run is not there or cannot be read",
    # the machines
    "salt-cloud-failed": "salt-cloud ended without making the machines",
    "machine-not-created": "A machine was not created",
    "machine-silent": "A new machine did not answer",
    "machine-not-destroyed": "A machine was not destroyed",
    "machine-leftover": "What an earlier create or destroy left cannot be removed",
    "proxmox-settings": "The provider file cannot be used",
    "proxmox-credentials": "Proxmox does not accept the user, password or token",
    "proxmox-permission": "The Proxmox user lacks a privilege",
    "proxmox-certificate": "The certificate of the Proxmox API is not trusted",
    "proxmox-away": "The Proxmox API does not answer",
    "proxmox-node-offline": "A Proxmox node is offline",
    "proxmox-not-found": "Proxmox does not have what was asked for",
    "proxmox-template-unknown": "Proxmox has no template of that name",
    "proxmox-storage-full": "The storage has no room",
    "proxmox-busy": "Proxmox waited too long for one of its locks",
    "proxmox-id-taken": "The machine number was taken meanwhile",
    "proxmox-task-failed": "A Proxmox task failed",
    "proxmox-timed-out": "Proxmox was not done in time",
    "proxmox-agent-silent": "The guest agent does not answer",
    "proxmox-refused": "Proxmox refused a call",
    # a node at work
    "minion-lost": "A node fell silent while it worked",
    "step-too-slow": "A node was not done in time",
    "states-not-run": "A node could not run its states at all",
    "modules-not-handed-out": "A node did not take the modules or the pillar",
    "call-failed": "A node could not answer a call",
    # states of a node
    "state-failed": "A state failed",
    "path-in-the-way": "Something else is where a file, link or directory has to be",
    "file-not-written": "A file of a node could not be read, written or given back",
    "account-not-settled": "The operator's account could not be made",
    "packages-not-settled": "Packages could not be installed or removed",
    "swap-not-off": "Swap could not be switched off",
    "sysctl-not-applied": "A kernel setting could not be applied",
    "bind-mount-failed": "A bind mount of the sandbox failed",
    "artefact-not-installed": "An artefact was not installed",
    "unit-not-running": "A service does not run",
    "crio-not-configured": "CRI-O could not be configured",
    "haproxy-not-configured": "HAProxy does not accept its configuration",
    "keepalived-not-configured": "keepalived could not be configured",
    "kubeconfig-not-written": "A kubeconfig could not be put right",
    "kubeadm-files-not-kept": "A file that kubeadm wrote could not be kept as defined",
    # the cluster
    "kubeadm-failed": "kubeadm init or join failed",
    "join-material-not-made": "No join material could be made",
    "join-material-not-revoked": "Join material could not be revoked",
    "chart-not-applied": "A Helm release could not be applied",
    "manifest-not-applied": "A manifest was refused by the API server",
    "api-not-compared": "What the API holds could not be compared",
    "node-marks-not-applied": "Labels or taints of the nodes could not be set",
    "workload-not-ready": "A workload is not ready",
    "cni-not-taken-up": "A node has not taken up the CNI configuration",
    "nodes-not-ready": "Nodes are not Ready",
    "service-without-address": "A LoadBalancer service got no address",
    "service-not-answering": "The test service does not answer on its address",
    "addition-refused": "A node cannot be added now",
    "removal-refused": "Nodes may not be removed, or not now",
    "replacement-refused": "A node may not be replaced, or not now",
    "replacement-not-whole": "The control plane is not whole after a replacement",
    "restart-refused": "A node may not be restarted, or not now",
    "node-not-restarted": "A node did not restart, or did not come back",
    "restart-not-whole": "A node does not serve again after its restart",
    "server-not-up": "HAProxy sends an API server nothing",
    "server-not-drained": "HAProxy does not let go of an API server, or does not take it back",
    "node-not-drained": "The pods of a node did not move",
    "etcd-member-not-removed": "A member of etcd could not be removed",
    # how it stands
    "control-plane-node-lost": "One control-plane node is gone",
    "etcd-quorum-lost": "Most control-plane nodes are gone: etcd has no quorum",
    "etcd-member-unhealthy": "A member of etcd is missing, not well, or a stranger",
    "endpoint-not-answering": "No API server answers behind the cluster's endpoint",
    "virtual-address-not-held": "Not exactly one load balancer has the virtual address",
    "backend-down": "A load balancer takes a server for down",
    "node-not-in-table": "The cluster has a node that the table does not have",
    "node-drifted": "A node is not as its last state run left it",
    "definition-not-applied": "The definition has changed since it was applied",
    "version-differs": "Another version runs, or is installed, than the table says",
    "certificate-expired": "A certificate has expired",
    "certificate-ending": "A certificate ends soon",
}

CODES: dict[str, str] = preflight_codes.CODES | OTHER_CODES

# What a failure of each state module of ours is called; Salt's own have the general "state-failed".
_STATE_MODULES = {
    "account": "account-not-settled",
    "artefact": "artefact-not-installed",
    "bind_mount": "bind-mount-failed",
    "cni": "cni-not-taken-up",
    "config_file": "file-not-written",
    "crio": "crio-not-configured",
    "directory_tree": "path-in-the-way",
    "haproxy": "haproxy-not-configured",
    "helm_release": "chart-not-applied",
    "hosts_file": "file-not-written",
    "keepalived": "keepalived-not-configured",
    "keeper": "api-not-compared",
    "kernel_module": "kernel-module-missing",
    "kube": "workload-not-ready",
    "kubeadm": "kubeadm-failed",
    "kubeadm_files": "kubeadm-files-not-kept",
    "kubeconfig": "kubeconfig-not-written",
    "last_apply": "file-not-written",
    "link_farm": "path-in-the-way",
    "manifest": "manifest-not-applied",
    "node_marks": "node-marks-not-applied",
    "original": "file-not-written",
    "os_package": "packages-not-settled",
    "swap": "swap-not-off",
    "sysctl_profile": "sysctl-not-applied",
    "toml_file": "file-not-written",
    "unit": "unit-not-running",
}
# The same for functions that a run calls on nodes; the others have the general "call-failed".
_FUNCTIONS = {
    "etcd_member.remove": "etcd-member-not-removed",
    "haproxy.wait_up": "server-not-up",
    "haproxy_drain.drain": "server-not-drained",
    "haproxy_drain.resume": "server-not-drained",
    "kube_node.drain": "node-not-drained",
    "kube_restart.take_back": "restart-not-whole",
    "kube.wait_load_balancer": "service-without-address",
    "kube.wait_nodes_ready": "nodes-not-ready",
    "kubeadm.join_material": "join-material-not-made",
    "kubeadm.revoke_join_material": "join-material-not-revoked",
    "os_package.upgrade": "packages-not-settled",
    "os_restart.order": "node-not-restarted",
}
_HANDING_OUT = "saltutil."


def of_state(module: str) -> str:
    """The code of a failed state, by the state module that it is of ("artefact")."""
    return _STATE_MODULES.get(module, "state-failed")


def of_function(function: str) -> str:
    """The code of a call that failed on a node, by the function that was called ("kube.wait_nodes_ready")."""
    if function.startswith(_HANDING_OUT):
        return "modules-not-handed-out"
    return _FUNCTIONS.get(function, "call-failed")


def see(codes: Collection[str], indent: str = "    ") -> str:
    """The lines that lead to pages, each on a line of its own after a line break; "" for no (or the empty) code."""
    return "".join(f"\n{indent}see {DIRECTORY / code}.md" for code in dict.fromkeys(codes) if code)


def told(error: Exception) -> str:
    """An error's text with the way to its pages: those that its ``codes`` name, if it has any."""
    return f"{error}{see(getattr(error, 'codes', ()))}"


def split(text: str) -> tuple[str, str]:
    """A text that :func:`told` made, in another process: (the text without those lines, its last code or "")."""
    lines = text.splitlines()
    codes = [code for line in lines if (code := _code_in(line))]
    return "\n".join(line for line in lines if not _code_in(line)), codes[-1] if codes else ""


def _code_in(line: str) -> str:
    """The code that a line leads to, or "": only of a page that this checkout knows."""
    words = line.split(maxsplit=1)
    if len(words) < 2 or words[0] != "see":
        return ""
    page = Path(words[1])
    return page.stem if page.suffix == ".md" and page.parent.name == DIRECTORY.name and page.stem in CODES else ""
