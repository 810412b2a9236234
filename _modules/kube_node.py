"""
Take nodes out of service and out of the cluster: what they carry, cordon, drain, give back, delete.

Runs on a control-plane node, as :mod:`kube` does. A cordon of ours is marked on the Node by an annotation, so it can be
told from an operator's own, by whichever run comes next. So is the label by which a node announces no address.
"""

import json
import math
import time

from salt.exceptions import CommandExecutionError

MARK = "saltern/cordoned-by"
# MetalLB's speakers heed it (0.15.3: speaker/layer2_controller.go, speakersForPool): the next of them announces what
# this node did, at once. kubeadm gives it to control-plane nodes for good.
EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"
EXCLUSION_MARK = "saltern/excluded-by"
US = "saltern"
MIRROR = "kubernetes.io/config.mirror"
HOST_NAME = "kubernetes.io/hostname"
FINISHED = ("Succeeded", "Failed")
REQUEST_TIMEOUT = "--request-timeout=15s"
# What kubectl needs beyond its own time-out to say what is left.
KUBECTL_ENDS_S = 30
HELD_SHOWN = 5


def standing(names):
    """
    Say what nodes carry, for a plan of their removal. Reads only.

    names
        List of node names; one that the cluster does not know is told as such.

    Returns, per name::

        {registered, ready, reason, role, address, unschedulable,
         moves: [{namespace, name, owner, empty_dir, held}], alone: ["namespace/name"], stays: count,
         volumes: ["pv of namespace/claim"]}

    ``moves`` are the pods that a drain evicts, ``held`` the disruption budget that allows none of it now or None;
    ``alone`` are pods that nothing would make again; ``stays`` counts those of daemon sets and static ones; ``volumes``
    are persistent volumes on the node's own disk.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kube_node.standing '["saw-k8s-w-04"]'
    """
    nodes = {item["metadata"]["name"]: item for item in __salt__["kube.get"]("nodes")}
    budgets = __salt__["kube.get"]("poddisruptionbudgets", namespace="*")
    volumes = __salt__["kube.get"]("persistentvolumes")
    return {name: _standing(name, nodes.get(name), budgets, volumes) for name in names}


def _standing(name, node, budgets, volumes):
    facts = {"registered": node is not None, "ready": False, "reason": "the cluster has no Node of this name"}
    facts |= {"role": None, "address": None, "unschedulable": False}
    facts |= {"moves": [], "alone": [], "stays": 0, "volumes": []}
    if node is None:
        return facts
    told = __salt__["kube.node_facts"](node)
    facts |= {key: told[key] for key in ("ready", "reason", "address", "unschedulable")}
    facts["role"] = "control_plane" if "control-plane" in told["roles"] else "worker"
    facts["volumes"] = local_volumes(volumes, name)
    return facts | _carried(pods_on(name), budgets)


def pods_on(name):
    """
    Give the pods of a node, of all namespaces.

    name
        The node.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kube_node.pods_on saw-k8s-w-04
    """
    args = ["get", "pods", "--all-namespaces", f"--field-selector=spec.nodeName={name}", "--output=json"]
    return json.loads(__salt__["kube.kubectl"]([*args, REQUEST_TIMEOUT]))["items"]


def _carried(pods, budgets):
    kinds = [(kind(pod), pod) for pod in pods]
    return {
        "moves": [_moving(pod, budgets) for sort, pod in kinds if sort == "moves"],
        "alone": sorted(_title(pod) for sort, pod in kinds if sort == "alone"),
        "stays": sum(sort == "stays" for sort, _ in kinds),
    }


def _moving(pod, budgets):
    metadata = pod["metadata"]
    return {
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "owner": owner(pod),
        "empty_dir": any("emptyDir" in volume for volume in pod["spec"].get("volumes", [])),
        "held": held(pod, budgets),
    }


def kind(pod):
    """
    Sort a pod as ``kubectl drain`` does: "finished", "stays" (of a daemon set, or static), "moves", or "alone".

    pod
        The object.

    CLI Example:

    .. code-block:: bash

        salt-call --local kube_node.kind '{"metadata": {"name": "p"}, "spec": {}, "status": {"phase": "Running"}}'
    """
    controller = _controller(pod)
    if MIRROR in pod["metadata"].get("annotations", {}):
        return "stays"
    if pod.get("status", {}).get("phase") in FINISHED:
        return "finished"
    if controller is None:
        return "alone"
    return "stays" if controller["kind"] == "DaemonSet" else "moves"


def owner(pod):
    """
    Name what makes a pod again: "Deployment web", "StatefulSet db".

    pod
        The object, with a controller.

    CLI Example:

    .. code-block:: bash

        salt-call --local kube_node.owner '{"metadata": {"ownerReferences": [{"kind": "Job", "name": "a",
        "controller": true}]}}'
    """
    controller = _controller(pod)
    # A Deployment's replica sets carry its name and the hash of their template.
    suffix = "-" + pod["metadata"].get("labels", {}).get("pod-template-hash", "")
    if controller["kind"] == "ReplicaSet" and len(suffix) > 1 and controller["name"].endswith(suffix):
        return f"Deployment {controller['name'].removesuffix(suffix)}"
    return f"{controller['kind']} {controller['name']}"


def _controller(pod):
    return next((ref for ref in pod["metadata"].get("ownerReferences", []) if ref.get("controller")), None)


def held(pod, budgets):
    """
    Say which disruption budget allows no eviction of a pod now, or None.

    pod
        The Pod object.

    budgets
        PodDisruptionBudget objects.

    CLI Example:

    .. code-block:: bash

        salt-call --local kube_node.held '{"metadata": {"name": "p", "namespace": "a"}}' '[]'
    """
    for budget in budgets:
        metadata, status = budget["metadata"], budget.get("status", {})
        if metadata["namespace"] != pod["metadata"]["namespace"] or status.get("disruptionsAllowed", 0) > 0:
            continue
        if selects(budget["spec"].get("selector"), pod["metadata"].get("labels", {})):
            healthy, needed = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
            return f"PodDisruptionBudget {metadata['name']} ({healthy} pods healthy, {needed} have to be)"
    return None


def selects(selector, labels):
    """
    Tell whether a label selector takes labels (apimachinery's LabelSelector: an empty one takes all, none takes none).

    selector
        ``{matchLabels, matchExpressions: [{key, operator, values}]}`` or None.

    labels
        Mapping.

    CLI Example:

    .. code-block:: bash

        salt-call --local kube_node.selects '{"matchLabels": {"app": "web"}}' '{"app": "web"}'
    """
    if selector is None:
        return False
    pairs = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    return pairs and all(_expression(term, labels) for term in selector.get("matchExpressions", []))


def _expression(term, labels):
    value, values = labels.get(term["key"]), term.get("values", [])
    return {
        "In": value in values,
        "NotIn": value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }[term["operator"]]


def local_volumes(volumes, name):
    """
    Name the persistent volumes that only this node can mount, each with its claim: they are lost with its disk.

    volumes
        PersistentVolume objects.

    name
        The node.

    CLI Example:

    .. code-block:: bash

        salt-call --local kube_node.local_volumes '[]' saw-k8s-w-04
    """
    found = []
    for volume in volumes:
        terms = volume["spec"].get("nodeAffinity", {}).get("required", {}).get("nodeSelectorTerms", [])
        wanted = [term for part in terms for term in part.get("matchExpressions", []) if term["key"] == HOST_NAME]
        if wanted and all(term.get("values") == [name] for term in wanted):
            claim = volume["spec"].get("claimRef")
            of = f" of {claim['namespace']}/{claim['name']}" if claim else ""
            found.append(f"{volume['metadata']['name']}{of}")
    return sorted(found)


def cordon(names):
    """
    Keep new pods off nodes, and have other nodes announce the addresses of services that these do.

    A node that an operator has cordoned, or excluded from load balancers, stays that, and is his to take back. While no
    other node could announce addresses these go on with it.

    names
        List of node names.

    Returns ``{name: what was done}``.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kube_node.cordon '["saw-k8s-w-04"]'
    """
    known = {item["metadata"]["name"]: item for item in __salt__["kube.get"]("nodes")}
    elsewhere = any(_announces(node) for name, node in known.items() if name not in names)
    return {name: _cordon(name, known.get(name), elsewhere) for name in names}


def _announces(node):
    """Whether a node may announce addresses of services."""
    return EXCLUDED not in node["metadata"].get("labels", {}) and __salt__["kube.node_facts"](node)["ready"]


def _cordon(name, node, elsewhere):
    if node is None:
        return "not registered"
    patch = cordon_patch(node, elsewhere)
    if patch:
        _patch(name, patch)
    if not node.get("spec", {}).get("unschedulable"):
        return "cordoned"
    return "is cordoned already" if _is_ours(node, MARK) else "was cordoned by someone else, and stays so"


def cordon_patch(node, exclude=True):
    """
    Build the merge patch that takes a node out of service, each part with the mark that it is ours; {} for nothing.

    One patch: no crash leaves a cordon without its mark.

    node
        The Node object.

    exclude
        Whether others can announce its addresses.

    CLI Example:

    .. code-block:: bash

        salt-call --local kube_node.cordon_patch '{"metadata": {"name": "saw-k8s-w-04"}, "spec": {}}'
    """
    metadata, spec = {}, {}
    if not node.get("spec", {}).get("unschedulable"):
        metadata["annotations"], spec["unschedulable"] = {MARK: US}, True
    if exclude and EXCLUDED not in node["metadata"].get("labels", {}):
        metadata["annotations"] = metadata.get("annotations", {}) | {EXCLUSION_MARK: US}
        metadata["labels"] = {EXCLUDED: ""}
    return {key: value for key, value in (("metadata", metadata), ("spec", spec)) if value}


def _is_ours(node, mark):
    return mark in node["metadata"].get("annotations", {})


def _patch(name, document):
    args = ["patch", "node", name, "--type=merge", f"--patch={json.dumps(document)}", REQUEST_TIMEOUT]
    __salt__["kube.kubectl"](args)


def release(names):
    """
    Take back what :func:`cordon` did, not an operator's own cordon or exclusion.

    names
        List of node names.

    Returns the names that take pods again.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kube_node.release '["saw-k8s-w-04"]'
    """
    known = {item["metadata"]["name"]: item for item in __salt__["kube.get"]("nodes")}
    there = [name for name in names if name in known]
    for name in there:
        patch = release_patch(known[name])
        if patch:
            _patch(name, patch)
    return [name for name in there if _is_ours(known[name], MARK)]


def release_patch(node):
    """
    Build the merge patch that puts a node into service again, as far as it is ours to do so; {} for nothing.

    node
        The Node object.

    CLI Example:

    .. code-block:: bash

        salt-call --local kube_node.release_patch '{"metadata": {"annotations": {"saltern/cordoned-by": "saltern"}}}'
    """
    marks = [mark for mark in (MARK, EXCLUSION_MARK) if _is_ours(node, mark)]
    if not marks:
        return {}
    metadata = {"annotations": dict.fromkeys(marks)}
    metadata |= {"labels": {EXCLUDED: None}} if EXCLUSION_MARK in marks else {}
    return {"metadata": metadata} | ({"spec": {"unschedulable": None}} if MARK in marks else {})


def drain(name, deadline_s=300):
    """
    Move the pods of a node elsewhere, by eviction: disruption budgets are respected, pods get their grace period.

    name
        The node; one that the cluster does not know has nothing to drain.

    deadline_s
        Seconds until it gives up. What has been evicted by then stays evicted.

    Returns a sentence. Raises CommandExecutionError that names each pod that is left, and what holds it.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kube_node.drain saw-k8s-w-04 deadline_s=120
    """
    if __salt__["kube.get"]("node", name) is None:
        return f"{name}: not registered, nothing to drain"
    deadline, answer = time.monotonic() + deadline_s, {"stderr": ""}
    while (left_s := deadline - time.monotonic()) > 0:
        args = ["drain", name, "--ignore-daemonsets", "--delete-emptydir-data", f"--timeout={math.ceil(left_s)}s"]
        answer = __salt__["sandbox.run"]("kubectl", args, timeout_s=left_s + KUBECTL_ENDS_S)
        if not answer["retcode"]:
            return f"{name}: drained"
        if __salt__["kube_node.pods_alone"](name):
            break  # kubectl evicts none at all then
        # One request that failed ends kubectl's wait for that pod: while there is time, it looks again.
        time.sleep(min(1, max(0, deadline - time.monotonic())))
    raise CommandExecutionError(_undrained(name, deadline_s, answer["stderr"]))


def pods_alone(name):
    """
    Name the pods of a node that nothing would make again.

    name
        The node.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kube_node.pods_alone saw-k8s-w-04
    """
    return _carried(pods_on(name), [])["alone"]


def _undrained(name, deadline_s, stderr):
    """What a drain that failed has to say; kubectl's own words when the API does not even answer that."""
    try:
        alone = __salt__["kube_node.pods_alone"](name)
        if alone:
            return f"{name}: not drained: nothing would make {', '.join(alone)} again. {_remedy_alone(alone)}"
        budgets = __salt__["kube.get"]("poddisruptionbudgets", namespace="*")
        left = [_left(pod, budgets) for pod in pods_on(name) if kind(pod) == "moves"] + _silent(name)
    except CommandExecutionError as err:
        left = [f"{__salt__['kube.complaint'](stderr)} ({err})"]
    shown = "; ".join(left[:HELD_SHOWN]) + (f"; and {len(left) - HELD_SHOWN} more" if len(left) > HELD_SHOWN else "")
    return f"{name}: not drained within {deadline_s} s: {shown or __salt__['kube.complaint'](stderr)}"


def _silent(name):
    """A kubelet that does not report ends no pod, and counts as Ready for the first 50 seconds of its silence."""
    node = __salt__["kube.get"]("node", name)
    facts = __salt__["kube.node_facts"](node) if node else {"ready": True}
    return [] if facts["ready"] else [f"the node itself is not Ready by now ({facts['reason']}): remove it by force"]


def _remedy_alone(alone):
    namespace, _, pod = alone[0].partition("/")
    return f"Delete them yourself if they may go: kubectl -n {namespace} delete pod {pod}"


def _left(pod, budgets):
    if pod["metadata"].get("deletionTimestamp"):
        grace = pod["metadata"].get("deletionGracePeriodSeconds")
        return f"{_title(pod)} ({owner(pod)}) is still ending (grace period {grace} s)"
    reason = held(pod, budgets)
    return f"{_title(pod)} ({owner(pod)}) " + (f"is held by {reason}" if reason else "is still there")


def _title(pod):
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def unregister(names):
    """
    Delete Node objects, and nothing else: of nodes whose membership ends next. Their pods go with it.

    names
        List of node names; those that the cluster does not know are no error.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kube_node.unregister '["saw-k8s-w-04"]'
    """
    return __salt__["kube.kubectl"](["delete", "node", *names, "--ignore-not-found", "--wait=false"]).splitlines()


def delete(names):
    """
    Delete nodes whose machines are gone: their Node objects, and the pods that still count as theirs.

    A pod of a machine that is only silent may still run, so the API keeps it, and a StatefulSet waits for it. That a
    machine was destroyed only the caller knows: call it for no other.

    names
        List of node names; those that the cluster does not know are no error.

    Returns the names that were there.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kube_node.delete '["saw-k8s-w-04"]'
    """
    known = {item["metadata"]["name"] for item in __salt__["kube.get"]("nodes")}
    there = [name for name in names if name in known]
    if there:
        __salt__["kube.kubectl"](["delete", "node", *there, "--ignore-not-found"])
    # After the Node: on one that is there, daemon sets make theirs anew at once.
    for name in there:
        chosen = ["--all-namespaces", f"--field-selector=spec.nodeName={name}"]
        __salt__["kube.kubectl"](["delete", "pods", *chosen, "--force", "--grace-period=0", "--wait=false"])
    return there
