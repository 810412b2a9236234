"""
How the cluster stands, seen from one control-plane node: its Nodes, pods, Helm releases, and whether the endpoint leads
to an API server. Two programs run for all of it, side by side. Nothing is changed, no secret is returned.
"""

import contextlib
import contextvars
import http.client
import json
import re
import ssl
from concurrent.futures import ThreadPoolExecutor

from salt.exceptions import CommandExecutionError

REQUEST_S = 3
PROGRAM_S = 4
ENDPOINT_S = 1.5
# kubeadm's label of its static pods; their image's tag is what runs.
COMPONENTS = {"kube-apiserver", "kube-controller-manager", "kube-scheduler"}
CHART = re.compile(r"(?P<chart>.+)-(?P<version>v?\d+\.\d+\.\d+.*)")


def facts():
    """
    Give ``{"nodes": {...}, "components": {...}, "pods": {...}, "charts": [...], "endpoint": reason}``.

    nodes: by name what ``kube.node_facts`` tells. components: ``{node: {"kube-apiserver": "1.36.4"}}``. pods:
    ``{"total": n, "not_ready": ["namespace/..."]}``. charts: what :func:`parse_releases` gives. endpoint: why no API
    server answers behind the cluster's endpoint, "" when one does.

    All but ``endpoint`` is asked of the API server of this node, so that a load balancer that is down hides nothing.
    Raises CommandExecutionError when that API server does not answer.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 cluster_facts.facts
    """
    address, port = __pillar__["saltern"]["node"]["address"], __salt__["kubeadm_facts.api_port"]()
    server = f"https://{address}:{port}"
    objects = ["get", "nodes,pods", "--all-namespaces", "--output=json", f"--request-timeout={REQUEST_S}s"]
    with ThreadPoolExecutor(3) as pool:
        listed = _aside(pool, _output, "kubectl", [*objects, f"--server={server}"])
        releases = _aside(pool, _output, "helm", ["list", "-A", "--output=json", f"--kube-apiserver={server}"])
        endpoint = _aside(pool, endpoint_fault)
        return parse_objects(listed.result()) | {
            "charts": parse_releases(releases.result()),
            "endpoint": endpoint.result(),
        }


def _aside(pool, function, *args):
    """Run a function in a thread that sees what this one sees: Salt keeps the minion's pillar per context."""
    return pool.submit(contextvars.copy_context().run, function, *args)


def _output(tool, args):
    answer = __salt__["sandbox.run"](tool, args, timeout_s=PROGRAM_S)
    if answer["retcode"]:
        reason = __salt__["kube.complaint"](answer["stderr"])
        raise CommandExecutionError(f"{__opts__['id']}: {tool} {args[0]}: {reason}")
    return answer["stdout"]


def parse_objects(text):
    """
    Read a list of Nodes and pods; what :func:`facts` gives of them.

    text
        ``kubectl get nodes,pods --all-namespaces --output=json``.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 cluster_facts.parse_objects '{"items": []}'
    """
    items = json.loads(text)["items"]
    pods = [item for item in items if item["kind"] == "Pod"]
    components = {}
    for pod in pods:
        if component := _component(pod):
            components.setdefault(pod["spec"].get("nodeName", ""), {}).update(component)
    nodes = {i["metadata"]["name"]: __salt__["kube.node_facts"](i) for i in items if i["kind"] == "Node"}
    troubled = [(pod["metadata"]["namespace"], __salt__["kube.pod_trouble"](pod)) for pod in pods]
    not_ready = [f"{namespace}/{trouble}" for namespace, trouble in troubled if trouble]
    return {"nodes": nodes, "components": components, "pods": {"total": len(pods), "not_ready": not_ready}}


def _component(pod):
    """``{name: version}`` of a pod of the control plane, None of another."""
    name = pod["metadata"].get("labels", {}).get("component")
    if name not in COMPONENTS or pod["metadata"]["namespace"] != "kube-system":
        return None
    image = pod["spec"]["containers"][0]["image"]
    return {name: image.rpartition(":")[2].removeprefix("v")}


def parse_releases(text):
    """
    Read Helm's releases: ``[{"name", "namespace", "chart", "version", "status"}]``.

    text
        ``helm list -A --output=json``.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 cluster_facts.parse_releases '[]'
    """
    told = []
    for release in json.loads(text):
        # Helm writes chart and version as one word: "cilium-1.20.1".
        found = CHART.fullmatch(release["chart"])
        chart, version = (found["chart"], found["version"]) if found else (release["chart"], "?")
        kept = {key: release[key] for key in ("name", "namespace", "status")}
        told.append(kept | {"chart": chart, "version": version})
    return told


def endpoint_fault():
    """
    Say why no ready API server answers behind the cluster's endpoint, with the cluster's CA; "" when one does.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 cluster_facts.endpoint_fault
    """
    endpoint = __pillar__["saltern"]["cluster"]["endpoint"]
    try:
        context = ssl.create_default_context(cafile=__salt__["sandbox.path"]("etc", "kubernetes", "pki", "ca.crt"))
        connection = http.client.HTTPSConnection(
            endpoint["address"], endpoint["port"], timeout=ENDPOINT_S, context=context
        )
        with contextlib.closing(connection):
            connection.request("GET", "/readyz")
            status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as err:
        return str(err) or type(err).__name__
    return "" if status == http.client.OK else f"HTTP {status} from /readyz"
