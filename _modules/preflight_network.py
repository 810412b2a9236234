"""
Ask the network what a bring-up needs of it: names, artefacts, registries, other nodes. Changes nothing.

Before the cluster exists nobody listens on its ports, so a connection to another node cannot be asked to succeed. But
a machine that is there refuses it at once; a firewall that drops packets, a wrong VLAN or a wrong address leaves it
without an answer, and a router says that there is no way. So accepted and refused are well, everything else is a
finding. What this cannot tell: a firewall that refuses in the machine's place (``reject with tcp reset``), UDP, and
whether the network carries packets with the addresses of pods. Connections do not wait for each other: a node's share
of "each to each" lasts as long as its slowest answer, at most REACH_S for each MOST_AT_ONCE of them.
"""

import errno
import http.client
import ipaddress
import os
import selectors
import socket
import ssl
import time
import urllib.error
import urllib.request
from functools import partial
from urllib.parse import urlsplit

from salt.exceptions import CommandExecutionError

# A server that answers at all does so in less, two lost packets included (TCP repeats after 1 and 3 s). Seconds.
CONNECT_S = 5
REACH_S = 3.5
# Below the usual limit of open files (1024), which the minion's own count towards.
MOST_AT_ONCE = 400

# What each role connects to on the others. kubeadm's constants; Cilium 1.20, "Firewall Rules": health checks 4240,
# Hubble 4244; MetalLB 0.15: 7946, by which speakers learn of each other's death.
ETCD = (2379, 2380)
KUBELET = (10250,)
BETWEEN_NODES = (4240, 4244, 7946)

# A registry answers this with 200, or asks for credentials (OCI distribution specification, "end-1").
REGISTRY_PROBE = "/v2/"
REGISTRY_ANSWERS = (200, 401, 403)
# Servers that do not know HEAD, and storage behind a redirect whose signed address is good for GET alone.
HEAD_REFUSED = (405, 501)
REFUSED_AFTER_REDIRECT = (401, 403, *HEAD_REFUSED)


# -- what is asked while the rest is looked at


def probes(role, begun, peers=None):
    """
    Give what has to be asked of the network, as functions without arguments that may each take a few seconds.

    role
        The node's role.
    begun
        Whether an init or join has begun here: then nothing has to be fetched but artefacts that are missing.
    peers
        Names of the nodes that are up; default: the whole table.

    Returns ``{(kind, what): function}``; ``preflight_answers`` takes what they returned, under the same keys.

    CLI Example: none, it is for Python: ``__salt__["preflight_network.probes"]("worker", False)``.
    """
    asked = {("artefact", item["url"]): partial(fetchable, item["url"]) for item in missing_artefacts()}
    if role != "load_balancer" and not begun:
        asked |= {("registry", url): partial(serves, url) for urls in registries().values() for url in urls}
    hosts = {urlsplit(url).hostname for _, url in asked}
    asked |= {("name", host): partial(resolves, host) for host in hosts if not is_address(host)}
    asked["nodes", ""] = partial(blocked, targets(role, begun, peers))
    return asked


def missing_artefacts():
    """
    Give the artefacts of this node that the states would fetch.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 preflight_network.missing_artefacts
    """
    pillar = __pillar__["saltern"]
    records = f"{pillar['paths']['sandbox']}/etc/provisioner/artefacts"
    return [artefact for artefact in pillar["artefacts"] if _is_missing(artefact, records)]


def _is_missing(artefact, records):
    try:
        return __salt__["artefact.difference"](artefact, records) is not None
    except CommandExecutionError:
        return True  # its record is damaged: it is fetched anew once that is removed


def registries():
    """
    Give the URLs at which each allowed registry has to answer, its mirrors in its place: ``{"quay.io": [URL]}``.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 preflight_network.registries
    """
    settings = __pillar__["saltern"]["crio"]["registries"]
    found = {registry: [] for registry in settings["allowed"]}
    for mirror in settings["mirrors"]:
        scheme = "http" if mirror["insecure"] else "https"
        found.setdefault(mirror["registry"], []).append(f"{scheme}://{mirror['mirror'].partition('/')[0]}")
    return {registry: urls or [f"https://{registry.partition('/')[0]}"] for registry, urls in found.items()}


def targets(role, begun, peers=None):
    """
    Give what this node has to reach on others: ``[[name, address, port]]``, a port of a node once.

    role
        The node's role.
    begun
        Whether an init or join has begun here: then the endpoint has to be there.
    peers
        Names of the nodes that are up; default: the whole table.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 preflight_network.targets control_plane False
    """
    pillar = __pillar__["saltern"]
    own = pillar["node"]["name"]
    nodes = [node for node in pillar["nodes"] if node["name"] != own and (peers is None or node["name"] in peers)]
    if role == "load_balancer":
        return _balanced(pillar["haproxy"]["backends"], {node["name"] for node in nodes})
    endpoint = pillar["cluster"]["endpoint"]
    found = [[node["name"], node["address"], port] for node in nodes for port in _ports(role, node, endpoint["port"])]
    shared = endpoint["address"] not in [node["address"] for node in pillar["nodes"]]
    # A shared address is nobody's before the load balancers are prepared.
    return [*found, ["", endpoint["address"], endpoint["port"]]] if shared and begun else found


def _balanced(backends, up):
    """What a load balancer passes connections on to, of the nodes that are up."""
    servers = [server for backend in backends for server in backend["servers"] if server["name"] in up]
    pairs = ((server["name"], *server["address"].rsplit(":", 1)) for server in servers)
    return [[name, address, int(port)] for name, address, port in pairs]


def _ports(role, node, api_port):
    """Ports of another node that a Kubernetes node of a role connects to."""
    if node["role"] == "load_balancer":
        return (api_port,)
    if role == "worker":
        return BETWEEN_NODES
    return BETWEEN_NODES + KUBELET + (ETCD if node["role"] == "control_plane" else ())


def is_address(host):
    """
    Tell whether a host is given as an IP address.

    host
        Name or address.

    CLI Example:

    .. code-block:: bash

        salt-call --local preflight_network.is_address 192.168.100.1
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


# -- asking (free of Salt's names: these run in threads)


def resolves(host):
    """
    Resolve a name as every program of this node does; give why that fails, or None.

    host
        The name.

    CLI Example:

    .. code-block:: bash

        salt '*' preflight_network.resolves registry.k8s.io
    """
    try:
        socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as err:
        return str(err.strerror or err)
    return None


def fetchable(url):
    """
    Ask a server whether it has a file, without fetching it; give why not, or None.

    url
        The file's URL.

    CLI Example:

    .. code-block:: bash

        salt '*' preflight_network.fetchable https://dl.k8s.io/release/v1.36.4/bin/linux/amd64/kubeadm
    """
    try:
        _ask(url, "HEAD")
    except urllib.error.HTTPError as err:
        tolerated = REFUSED_AFTER_REDIRECT if err.url != url else HEAD_REFUSED
        return None if err.code in tolerated else f"HTTP {err.code} {err.reason}"
    except (OSError, http.client.HTTPException) as err:
        return _reason(err)
    return None


def serves(url):
    """
    Ask whether an image registry answers; give why not, or None. What speaks no plain HTTP is asked by TLS, unverified,
    as CRI-O does for a mirror that is called insecure.

    url
        ``http://HOST:PORT`` or ``https://HOST:PORT``.

    CLI Example:

    .. code-block:: bash

        salt '*' preflight_network.serves https://registry.k8s.io
    """
    refused = _registry_refusal(url)
    if refused is None or not url.startswith("http://"):
        return refused
    secure = _registry_refusal(url.replace("http://", "https://", 1), ssl._create_unverified_context())  # noqa: S323
    return refused if secure else None


def _registry_refusal(url, context=None):
    try:
        _ask(f"{url}{REGISTRY_PROBE}", "GET", context)
    except urllib.error.HTTPError as err:
        return None if err.code in REGISTRY_ANSWERS else f"HTTP {err.code} {err.reason} for {REGISTRY_PROBE}"
    except (OSError, http.client.HTTPException) as err:
        return _reason(err)
    return None


def _ask(url, method, context=None):
    """Ask for a URL's head. Raises HTTPError for an answer that is an error, OSError for none."""
    request = urllib.request.Request(url, method=method)  # noqa: S310 - http and https only: the model's rule for URLs
    with urllib.request.urlopen(request, timeout=CONNECT_S, context=context):  # noqa: S310
        pass


def _reason(err):
    """What a failed connection tells, in a few words."""
    inner = getattr(err, "reason", err)
    if isinstance(inner, TimeoutError):
        return f"no answer within {CONNECT_S} s"
    if isinstance(inner, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {inner.verify_message}"
    return str(getattr(inner, "strerror", None) or inner or type(inner).__name__)


def blocked(targets, timeout_s=REACH_S):
    """
    Connect to ports of other nodes; give those to which there is no way: ``[[name, port, reason]]``.

    targets
        ``[[name, address, port]]``.
    timeout_s
        How long an answer may take, in seconds.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 preflight_network.blocked '[[saw-k8s-m-02, 192.168.100.152, 2380]]'
    """
    found = []
    for first in range(0, len(targets), MOST_AT_ONCE):
        found += _blocked_at_once(targets[first : first + MOST_AT_ONCE], timeout_s)
    return found


def _blocked_at_once(targets, timeout_s):
    deadline, found = time.monotonic() + timeout_s, []
    with selectors.DefaultSelector() as waiting:
        try:
            for name, address, port in targets:
                connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
                waiting.register(connection, selectors.EVENT_WRITE, (name, port))
                error = connection.connect_ex((address, port))
                if error != errno.EINPROGRESS:
                    found += _ended(waiting, connection, error)
            while waiting.get_map() and (left := deadline - time.monotonic()) > 0:
                for key, _ in waiting.select(left):
                    error = key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    found += _ended(waiting, key.fileobj, error)
            found += [[*key.data, f"no answer within {timeout_s:g} s"] for key in waiting.get_map().values()]
        finally:
            for key in list(waiting.get_map().values()):
                key.fileobj.close()
    return found


def _ended(waiting, connection, error):
    """Close a connection whose fate is known: accepted or refused, the machine is there and its network lets us in."""
    name, port = waiting.unregister(connection).data
    connection.close()
    return [] if error in (0, errno.ECONNREFUSED, errno.ECONNRESET) else [[name, port, os.strerror(error).lower()]]
