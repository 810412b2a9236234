"""
Facts of the cluster by kubectl, and waits that say what they wait for.

Runs on a control-plane node, as root, with that node's own admin.conf. Reads fail loudly: "the API server did not
answer" is never taken for "there is no such object".
"""

import json
import math
import re
import time

from salt.exceptions import CommandExecutionError

TROUBLED_PODS_SHOWN = 3
KUBECTL_TIMEOUT_S = 60
# kubectl's own time-outs add up to minutes when packets to the endpoint are dropped.
REQUEST_TIMEOUT = "--request-timeout=15s"
# The way to the API server breaks for seconds while Cilium takes over a control-plane node's network, etcd elects a
# leader, or HAProxy learns that a server has gone. These are client-go's and etcd's words for it; none is an answer.
LOST_ON_THE_WAY = re.compile(
    r": EOF$|unexpected EOF|connection refused|was refused|connection reset|client connection lost|no route to host"
    r"|failed to download openapi|i/o timeout|TLS handshake timeout|Client\.Timeout exceeded|ServiceUnavailable"
    r"|etcdserver: (request timed out|leader changed)",
    re.MULTILINE,
)
# The API server has no better sign for "the webhook's endpoint is not there yet" than this text.
UNCALLED_WEBHOOK = "failed calling webhook"
PATIENCE_S = 60


def kubectl(args, stdin=None, timeout_s=KUBECTL_TIMEOUT_S, kubeconfig=None, patience_s=None):
    """
    Run kubectl and return its standard output.

    args
        List of arguments, never a secret.

    stdin
        Text for standard input (manifests).

    timeout_s
        Seconds until it is killed.

    kubeconfig
        Path; default the node's admin.conf.

    patience_s
        As for :func:`patiently`.

    Raises CommandExecutionError with kubectl's own last line.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kube.kubectl '["get", "pods", "-A"]'
    """
    answer = patiently("kubectl", args, stdin, timeout_s, kubeconfig, patience_s)
    if answer["retcode"]:
        raise CommandExecutionError(f"{__opts__['id']}: kubectl {' '.join(args[:3])}: {complaint(answer['stderr'])}")
    return answer["stdout"]


def patiently(tool, args, stdin=None, timeout_s=KUBECTL_TIMEOUT_S, kubeconfig=None, patience_s=None, before_again=None):
    """
    Run a tool that may be run again without harm (a read, a server-side apply, a delete) until the API server answers.

    tool, args, stdin, timeout_s, kubeconfig
        As for ``sandbox.run``.

    patience_s
        Seconds from the first try after which a request that got lost on the way is given up; default PATIENCE_S.

    before_again
        From Python only: a function without arguments that clears away what a try may have left in the next one's way.

    Returns what ``sandbox.run`` does, of the last try.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kube.patiently helm '["list", "-A"]'
    """
    deadline = time.monotonic() + (PATIENCE_S if patience_s is None else patience_s)
    while True:
        answer = __salt__["sandbox.run"](tool, args, stdin=stdin, timeout_s=timeout_s, kubeconfig=kubeconfig)
        if not got_lost(answer) or time.monotonic() >= deadline:
            return answer
        time.sleep(2)  # HAProxy looks at each server every 2 s
        if before_again:
            before_again()


def got_lost(answer):
    """
    Tell whether a request never got its answer. That a webhook could not be called is an answer.

    answer
        What ``sandbox.run`` gave.

    CLI Example:

    .. code-block:: bash

        salt-call --local kube.got_lost '{retcode: 1, stderr: "dial tcp 192.0.2.1:6443: connect: connection refused"}'
    """
    stderr = answer["stderr"].strip()
    return bool(answer["retcode"] and UNCALLED_WEBHOOK not in stderr and LOST_ON_THE_WAY.search(stderr))


def complaint(stderr):
    """
    Give the telling lines of kubectl's or helm's standard error: without client-go's logging and warnings.

    stderr
        What the tool printed.

    CLI Example:

    .. code-block:: bash

        salt-call --local kube.complaint 'Error from server (NotFound): nodes "a" not found'
    """
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    telling = [line for line in lines if not _is_log_line(line) and not line.startswith("Warning:")]
    return "; ".join(telling or lines[-1:]) or "it failed without a word"


def _is_log_line(line):
    """Klog writes ``E1120 21:04:30.393338   23577 memcache.go:265] ...``."""
    return line[:1] in "IWEF" and line[1:5].isdigit() and "]" in line


def get(kind, name=None, namespace=None, selector=None, kubeconfig=None, patience_s=None):
    """
    Read one object (a mapping, or None when there is none) or, without a name, all of a kind (a list).

    kind
        Resource as kubectl knows it. Secrets are refused: what a function returns is kept in the job cache.

    name, namespace, selector
        As for kubectl; namespace "*" means all.

    kubeconfig
        Path; default the node's admin.conf.

    patience_s
        As for :func:`patiently`.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kube.get deployment coredns namespace=kube-system
    """
    if kind.split(".")[0].lower() in ("secret", "secrets"):
        raise CommandExecutionError("kube.get does not read secrets: its result would stay in the job cache")
    args = ["get", kind, *([name] if name else []), "--ignore-not-found", "--output=json", REQUEST_TIMEOUT]
    args += {None: [], "*": ["--all-namespaces"]}.get(namespace, [f"--namespace={namespace}"])
    args += [f"--selector={selector}"] if selector else []
    text = kubectl(args, kubeconfig=kubeconfig, patience_s=patience_s)
    if name:
        return json.loads(text) if text.strip() else None
    return json.loads(text)["items"] if text.strip() else []


def nodes():
    """
    Give the nodes of the cluster: ``{name: {ready, reason, roles, address, version, runtime, ...}}``.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kube.nodes
    """
    return {item["metadata"]["name"]: node_facts(item) for item in get("nodes")}


def node_facts(node):
    """
    Tell what matters of a Node object.

    node
        The object as the API server gives it.

    Returns ``{ready: bool, reason: str, roles: [str], address, version, runtime, unschedulable: bool, taints: [str]}``;
    version: the kubelet's, runtime: like "cri-o://1.36.3".

    CLI Example:

    .. code-block:: bash

        salt-call --local kube.node_facts '{"metadata": {"name": "a"}}'
    """
    status, spec = node.get("status", {}), node.get("spec", {})
    ready = next((c for c in status.get("conditions", []) if c["type"] == "Ready"), {})
    prefix = "node-role.kubernetes.io/"
    addresses = [a["address"] for a in status.get("addresses", []) if a["type"] == "InternalIP"]
    info = status.get("nodeInfo", {})
    return {
        "ready": ready.get("status") == "True",
        "reason": ready.get("message", "the kubelet has not reported yet"),
        "roles": sorted(k.removeprefix(prefix) for k in node["metadata"].get("labels", {}) if k.startswith(prefix)),
        "address": addresses[0] if addresses else None,
        "version": info.get("kubeletVersion"),
        "runtime": info.get("containerRuntimeVersion"),
        "unschedulable": spec.get("unschedulable", False),
        "taints": sorted(_taint_text(taint) for taint in spec.get("taints", [])),
    }


def _taint_text(taint):
    value = f"={taint['value']}" if taint.get("value") else ""
    return f"{taint['key']}{value}:{taint['effect']}"


def etcd_members():
    """
    Give etcd's members as etcd itself sees them: ``[{name, id, learner, peer_urls}]``, by the etcd pod of this node.

    A member without a name was added and has never started.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kube.etcd_members
    """
    keys = __salt__["sandbox.path"]("etc", "kubernetes", "pki", "etcd")
    etcdctl = ["etcdctl", "--endpoints=https://127.0.0.1:2379", f"--cacert={keys}/ca.crt"]
    etcdctl += [f"--cert={keys}/server.crt", f"--key={keys}/server.key", "member", "list", "--write-out=json"]
    pod = f"etcd-{__pillar__['saltern']['node']['name']}"
    return parse_etcd_members(kubectl(["--namespace=kube-system", "exec", pod, "--container=etcd", "--", *etcdctl]))


def parse_etcd_members(text):
    """
    Read ``etcdctl member list --write-out=json``.

    text
        What etcdctl printed.

    Returns ``[{name, id (hex, as etcdctl takes it), learner, peer_urls}]`` sorted by name.

    CLI Example:

    .. code-block:: bash

        salt-call --local kube.parse_etcd_members '{"members": []}'
    """
    members = [
        {
            "name": member.get("name", ""),
            "id": f"{member['ID']:x}",
            "learner": member.get("isLearner", False),
            "peer_urls": member.get("peerURLs", []),
        }
        for member in json.loads(text)["members"]
    ]
    return sorted(members, key=lambda member: (member["name"], member["id"]))


def unready_pods(namespace, selector=None):
    """
    Say for each pod that is not ready why: ``["cilium-x7k2p on saw-k8s-w-01: config waits: ImagePullBackOff: ..."]``.

    namespace, selector
        Which pods; namespace "*" means all.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kube.unready_pods kube-system k8s-app=cilium
    """
    pods = get("pods", namespace=namespace, selector=selector)
    troubled = [(pod, trouble) for pod in pods if (trouble := pod_trouble(pod))]
    explained = [f"{trouble}{_last_warning(pod)}" for pod, trouble in troubled[:TROUBLED_PODS_SHOWN]]
    return explained + [trouble for _, trouble in troubled[TROUBLED_PODS_SHOWN:]]


def pod_trouble(pod):
    """
    Say in one line why a pod is not ready, or None when it is (or has completed).

    pod
        The Pod object.

    CLI Example:

    .. code-block:: bash

        salt-call --local kube.pod_trouble '{"metadata": {"name": "p"}, "spec": {}, "status": {"phase": "Pending"}}'
    """
    status = pod.get("status", {})
    conditions = {c["type"]: c for c in status.get("conditions", [])}
    if status.get("phase") == "Succeeded" or conditions.get("Ready", {}).get("status") == "True":
        return None
    where = f" on {pod['spec']['nodeName']}" if pod.get("spec", {}).get("nodeName") else ""
    return f"{pod['metadata']['name']}{where}: {_pod_reason(status, conditions)}"


def _pod_reason(status, conditions):
    if conditions.get("PodScheduled", {}).get("status") == "False":
        return f"not scheduled: {conditions['PodScheduled'].get('message', 'no reason given')}"
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        reason = _container_reason(container)
        if reason:
            return f"{container['name']} {reason}"
    return f"phase {status.get('phase', 'unknown')}"


def _container_reason(container):
    """Tell why a container is not ready, or None; a finished init container and a ready one have no trouble."""
    state = container.get("state", {})
    if "waiting" in state:
        waiting = state["waiting"]
        last = container.get("lastState", {}).get("terminated", {})
        detail = waiting.get("message") or (f"last exit code {last['exitCode']}" if last else "")
        return f"waits: {waiting.get('reason', 'no reason given')}{': ' + detail if detail else ''}"
    ended = state.get("terminated")
    if ended:
        return f"ended with exit code {ended['exitCode']} ({ended.get('reason', '?')})" if ended["exitCode"] else None
    return None if container.get("ready") or container.get("started") is None else "runs but is not ready"


def _last_warning(pod):
    """The last warning event of a pod: a sandbox that cannot be made is told nowhere else."""
    metadata = pod["metadata"]
    chosen = f"--field-selector=type=Warning,involvedObject.uid={metadata.get('uid', '')}"
    text = kubectl(["get", "events", f"--namespace={metadata['namespace']}", chosen, "--output=json"])
    events = sorted(json.loads(text)["items"], key=lambda e: e.get("lastTimestamp") or e.get("eventTime") or "")
    return f" ({events[-1]['reason']}: {events[-1]['message']})" if events else ""


def rolled_out(workload):
    """
    Tell whether a Deployment, DaemonSet or StatefulSet runs everywhere in its newest form, and how far it is.

    workload
        The object, or None.

    Returns ``(bool, "3 of 7 available")``.

    CLI Example:

    .. code-block:: bash

        salt-call --local kube.rolled_out '{"kind": "Deployment", "metadata": {}, "spec": {"replicas": 1}}'
    """
    if workload is None:
        return False, "not there yet"
    status = workload.get("status", {})
    if workload["kind"] == "DaemonSet":
        wanted = status.get("desiredNumberScheduled", 0)
        updated, available = status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0)
    else:
        wanted = workload["spec"].get("replicas", 1)
        updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    seen = status.get("observedGeneration", 0) >= workload["metadata"].get("generation", 1)
    return seen and updated >= wanted and available >= wanted, f"{min(updated, available)} of {wanted} available"


def wait_rollout(kind, name, namespace, deadline_s=300):
    """
    Wait until a Deployment, DaemonSet or StatefulSet runs as specified on every node that it should.

    kind, name, namespace
        Which.

    deadline_s
        Seconds until it gives up.

    Returns a sentence. Raises CommandExecutionError that names each pod that is not ready, and why.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kube.wait_rollout daemonset cilium kube-system deadline_s=60
    """

    def explain():
        workload = get(kind, name, namespace)
        if workload is None:
            return f"there is no {kind} {name}"
        labels = workload["spec"]["selector"].get("matchLabels", {})
        return _listed(unready_pods(namespace, ",".join(f"{key}={value}" for key, value in sorted(labels.items()))))

    what = f"{kind} {name} in {namespace}"
    return _wait(["rollout", "status", f"{kind}/{name}", f"--namespace={namespace}"], what, deadline_s, explain)


def wait_nodes_ready(names, deadline_s=300):
    """
    Wait until every node named is registered and Ready.

    names
        List of node names.

    deadline_s
        Seconds until it gives up.

    Returns a sentence. Raises CommandExecutionError that names each node that is not, and the kubelet's reason.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kube.wait_nodes_ready '["saw-k8s-w-01"]'
    """

    def explain():
        known = nodes()
        missing = [f"{name}: not registered" for name in names if name not in known]
        unready = [f"{name}: {known[name]['reason']}" for name in names if name in known and not known[name]["ready"]]
        return _listed(missing + unready)

    args = ["wait", "--for=create", "--for=condition=Ready", *(f"node/{name}" for name in names)]
    return _wait(args, f"{len(names)} nodes Ready", deadline_s, explain)


def wait_pods_ready(namespace, deadline_s=300):
    """
    Wait until every pod of a namespace is ready; those that have completed do not count.

    namespace
        Which.

    deadline_s
        Seconds until it gives up.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kube.wait_pods_ready kube-system
    """
    chosen = ["--all", "--field-selector=status.phase!=Succeeded", f"--namespace={namespace}"]
    args = ["wait", "pods", *chosen, "--for=condition=Ready"]
    return _wait(args, f"the pods of {namespace}", deadline_s, lambda: _listed(unready_pods(namespace)))


def wait_endpoints(service, namespace, deadline_s=120):
    """
    Wait until a service has a ready endpoint behind it.

    service, namespace
        Which.

    deadline_s
        Seconds until it gives up.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kube.wait_endpoints metallb-webhook-service metallb-system
    """
    chosen = f"--selector=kubernetes.io/service-name={service}"
    ready = "--for=jsonpath={.endpoints[0].conditions.ready}=true"
    args = ["wait", "endpointslice", chosen, ready, f"--namespace={namespace}"]
    return _wait(args, f"an endpoint of service {service}", deadline_s, lambda: _listed(unready_pods(namespace)))


def wait_load_balancer(service, namespace, deadline_s=120):
    """
    Wait until a service of type LoadBalancer has been given an address, and return the address.

    service, namespace
        Which.

    deadline_s
        Seconds until it gives up.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kube.wait_load_balancer web verification
    """

    def explain():
        return "no address was given: see the pools (kubectl -n metallb-system get ipaddresspools) and its events"

    args = ["wait", f"service/{service}", f"--namespace={namespace}", "--for=create"]
    args += ["--for=jsonpath={.status.loadBalancer.ingress[0].ip}"]
    _wait(args, f"an address of {service}", deadline_s, explain)
    return load_balancer_address(get("service", service, namespace))


def load_balancer_address(service):
    """
    Give the address of a Service object of type LoadBalancer, or None.

    service
        The object, or None.

    CLI Example:

    .. code-block:: bash

        salt-call --local kube.load_balancer_address '{"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}'
    """
    ingress = ((service or {}).get("status", {}).get("loadBalancer", {}) or {}).get("ingress") or []
    return ingress[0].get("ip") if ingress else None


def _listed(troubles):
    return "; ".join(troubles) or "everything looks ready now: run again"


def _wait(args, what, deadline_s, explain):
    """Run a watching kubectl until it succeeds or the deadline passes, then explain."""
    deadline, answer = time.monotonic() + deadline_s, {"retcode": 1, "stderr": ""}
    while (left_s := deadline - time.monotonic()) > 0:
        command = [*args, f"--timeout={math.ceil(left_s)}s"]  # never 0: "rollout status" takes that for "no limit"
        answer = __salt__["sandbox.run"]("kubectl", command, timeout_s=left_s + KUBECTL_TIMEOUT_S)
        if not answer["retcode"]:
            return f"{what}: ready"
        # kubectl's watch ends early when the object does not exist yet (its controller has not run) and when the load
        # balancer closes the connection because a control-plane node joins or leaves. Both pass: ask again.
        time.sleep(min(1, max(0, deadline - time.monotonic())))
    raise CommandExecutionError(f"{__opts__['id']}: waited {deadline_s} s for {what}: {_explained(explain, answer)}")


def _explained(explain, answer):
    """What explain() finds out, or kubectl's own words when the API server does not even answer that."""
    if got_lost(answer):  # the deadline has passed: no more patience
        return complaint(answer["stderr"])
    try:
        return explain()
    except CommandExecutionError as err:
        return f"{complaint(answer['stderr'])} ({err})"
