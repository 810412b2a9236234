"""
A node that restarts, as the cluster sees it: what runs on it before, and whether it serves again afterwards.

Runs on a control-plane node, as :mod:`kube` does. For most of a minute the API shows a node that has gone as it was:
Ready, its pods running. No container outlives a restart, so one that is still shown tells that this is old news.
"""

import time

from salt.exceptions import CommandExecutionError

AGENT = ("k8s-app", "cilium")
POLL_S = 1
SHOWN = 5
# Enough of a container's ID to tell those of one node apart.
ID_LENGTH = 13


def before(name):
    """
    Give what a node runs that stays there while it is drained: ``{"containers": [ID], "unready": ["namespace/pod"]}``.

    name
        The node, drained.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kube_restart.before saw-k8s-w-04
    """
    pods = _staying(name)
    return {
        "containers": sorted({container for pod in pods for container in containers(pod)}),
        "unready": sorted(_title(pod) for pod in pods if __salt__["kube.pod_trouble"](pod)),
    }


def take_back(name, containers=(), unready=(), deadline_s=600):
    """
    Wait until a node that has restarted serves again; then let it take pods, unless an operator has cordoned it.

    The Node is Ready, Cilium's agent is, and so are the pods of its daemon sets and its static ones, in containers of
    after the restart.

    name
        The node.

    containers, unready
        What :func:`before` gave; a pod that was not ready then is not waited for.

    deadline_s
        Seconds until it gives up.

    Returns a sentence. Raises CommandExecutionError that names what is missing.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kube_restart.take_back saw-k8s-w-04
    """
    deadline = time.monotonic() + deadline_s
    while missing := __salt__["kube_restart.missing"](name, containers, unready):
        if time.monotonic() > deadline:
            shown = "; ".join(missing[:SHOWN]) + (f"; and {len(missing) - SHOWN} more" if missing[SHOWN:] else "")
            raise CommandExecutionError(f"{name}: does not serve {deadline_s} s after its restart: {shown}")
        time.sleep(POLL_S)  # kubelet, Cilium and pods come back each in its time; no one event tells of all
    released = __salt__["kube_node.release"]([name])
    return f"{name}: serves again" + (" and takes pods" if released else "; its cordon is not ours and stays")


def missing(name, containers=(), unready=()):
    """
    Say what a node that has restarted lacks to serve again, as a list of sentences; [] for nothing.

    name, containers, unready
        As for :func:`take_back`.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kube_restart.missing saw-k8s-w-04
    """
    node = __salt__["kube.get"]("node", name)
    if node is None:
        return ["the cluster has no Node of this name"]
    told = __salt__["kube.node_facts"](node)
    pods = [pod for pod in _staying(name) if not pod["metadata"].get("deletionTimestamp")]
    # The agent has to be well, whatever it was before: without it pods have no network.
    waited_for = [pod for pod in pods if _is_agent(pod) or _title(pod) not in unready]
    troubles = [_trouble(pod, containers) for pod in waited_for]
    return [
        *([] if told["ready"] else [f"the Node is not Ready: {told['reason']} (journalctl -u kubelet)"]),
        *([] if any(_is_agent(pod) for pod in pods) else ["no agent of Cilium runs on it"]),
        *(trouble for trouble in troubles if trouble),
    ]


def containers(pod):
    """
    Give the IDs of a pod's containers, cut to what tells them apart on a node.

    pod
        The Pod object.

    CLI Example:

    .. code-block:: bash

        salt-call --local kube_restart.containers '{"status": {"containerStatuses": [{"containerID": "cri-o://0a1b"}]}}'
    """
    known = [status.get("containerID") for status in pod.get("status", {}).get("containerStatuses", [])]
    return [text.rpartition("/")[2][:ID_LENGTH] for text in known if text]


def _trouble(pod, old):
    """Why a pod does not serve again yet, or None."""
    if set(__salt__["kube_restart.containers"](pod)) & set(old):
        return f"{_title(pod)}: the kubelet still shows a container of before the restart"
    trouble = __salt__["kube.pod_trouble"](pod)
    return f"{pod['metadata']['namespace']}/{trouble}" if trouble else None


def _staying(name):
    """The pods that a drain leaves on a node: those of daemon sets, and static ones."""
    return [pod for pod in __salt__["kube_node.pods_on"](name) if __salt__["kube_node.kind"](pod) == "stays"]


def _is_agent(pod):
    label, value = AGENT
    return pod["metadata"].get("labels", {}).get(label) == value


def _title(pod):
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
