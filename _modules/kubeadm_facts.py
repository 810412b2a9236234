"""
What kubeadm has made of this node: read from its files and asked of its kubelet and API server. Changes nothing.
"""

import base64
import hashlib
import http.client
import json
import socket
import ssl
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from salt.exceptions import CommandExecutionError

PROBE_TIMEOUT_S = 5
# HAProxy finds another server within 6 s; a cluster that is dead has to be told of before the master gives up asking.
PATIENCE_S = 15
# X509_V_ERR_CERT_NOT_YET_VALID and ..._HAS_EXPIRED: OpenSSL looks at the times of a certificate after its signature,
# so it is the CA's own; another cluster's fails before.
OUTDATED = (9, 10)
KUBELET_HEALTH = ("127.0.0.1", 10248)
KUBERNETES_DIR = "/etc/kubernetes"
KUBECONFIGS = (
    "admin.conf",
    "super-admin.conf",
    "kubelet.conf",
    "bootstrap-kubelet.conf",
    "controller-manager.conf",
    "scheduler.conf",
)
UNASKED = "the cluster could not be asked for this node through its endpoint"
STATIC_PODS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
# kubeadm's own port checks name no process.
PORTS = {
    "control_plane": {
        6443: "kube-apiserver",
        2379: "etcd",
        2380: "etcd",
        10250: "kubelet",
        10257: "kube-controller-manager",
        10259: "kube-scheduler",
    },
    "worker": {10250: "kubelet"},
}


def status(ca_hash=None):
    """
    Tell what this node is in the cluster.

    ca_hash
        ``sha256:...`` of the cluster's CA as someone else knows it, to recognise a member of another cluster.

    Returns a mapping, no secrets in it:

    * ``control_plane``: it has manifests of the control plane, or etcd's data
    * ``initialised``: it is a control-plane node that init or join has finished
    * ``joined``: it is a node that init or join has finished
    * ``unfinished``: "init" or "join" when one was begun and not ended, else None
    * ``node_registered``: the cluster has a Node of its name (None: could not be asked)
    * ``healthy``: a finished member whose kubelet, API server and Node answer
    * ``unhealthy``: what does not, as a list of sentences
    * ``endpoint_silent``: all that is wrong with a control-plane node is that the cluster's endpoint does not answer
    * ``expired``: the certificates of a member that is not well that have ended, by their names
    * ``etcd_leader``: whether the etcd of a control-plane node that is not well sees a leader; None: it does not answer
    * ``cluster_ca_hash``: ``sha256:...`` or None
    * ``foreign``: why its files are another cluster's, or None

    CLI Example:

    .. code-block:: bash

        salt '*' kubeadm_facts.status
    """
    files = member_files()
    marker = unfinished()
    joined = files["kubelet_conf"] and marker is None
    foreign = foreign_reason(files, marker, ca_hash)
    unhealthy, registered = _probe(files["control_plane"]) if joined and not foreign else ([], None)
    expired, leader, reasons = _reasons(files["control_plane"]) if unhealthy else ([], None, [])
    return {
        "role": _pillar()["node"]["role"],
        "control_plane": files["control_plane"],
        "initialised": joined and files["control_plane"] and "admin.conf" in files["servers"],
        "joined": joined,
        "unfinished": marker,
        "node_registered": registered,
        "healthy": joined and not foreign and not unhealthy,
        "unhealthy": [*reasons, *unhealthy],
        "endpoint_silent": files["control_plane"] and unhealthy == [UNASKED] and not expired,
        "expired": expired,
        "etcd_leader": leader,
        "cluster_ca_hash": files["ca_hash"],
        "foreign": foreign,
    }


def member_files():
    """
    Read what lies in /etc/kubernetes and etcd's data directory.

    Returns ``{servers: {kubeconfig name: URL}, kubelet_conf: bool, control_plane: bool, ca_hash, left: [paths]}``.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kubeadm_facts.member_files
    """
    etc = Path(__salt__["sandbox.path"]("etc", "kubernetes"))
    etcd = Path(__salt__["sandbox.path"]("var", "lib", "etcd"))
    servers = {name: _server(etc / name) for name in KUBECONFIGS if (etc / name).exists()}
    manifests = sorted((etc / "manifests").glob("*.yaml"))
    certificates = [etc / "pki" / "ca.crt"] if (etc / "pki" / "ca.crt").exists() else []
    data = [etcd / "member"] if (etcd / "member").exists() else []
    # A manifest that is gone is drift, not another role.
    served = {path.name for path in manifests} & {f"{name}.yaml" for name in STATIC_PODS}
    return {
        "servers": servers,
        "kubelet_conf": "kubelet.conf" in servers,
        "control_plane": bool(served or data),
        "ca_hash": ca_hash(certificates[0].read_bytes()) if certificates else None,
        "left": [str(path) for path in [*(etc / name for name in servers), *manifests, *certificates, *data]],
    }


def static_pods():
    """
    Name the static pods of a control-plane node; each is the name of its manifest and of its container too.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kubeadm_facts.static_pods
    """
    return list(STATIC_PODS)


def _server(kubeconfig):
    """The API server that a kubeconfig names; everything else in it is secret and stays there."""
    try:
        return yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    except (yaml.YAMLError, KeyError, IndexError, TypeError):
        return f"unreadable ({kubeconfig})"


def ca_hash(pem):
    """
    Give the hash of a CA's public key as kubeadm's discovery takes it: ``sha256:...``.

    pem
        Certificate, PEM bytes.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kubeadm_facts.ca_hash "$(cat ca.crt)"
    """
    key = x509.load_pem_x509_certificate(pem if isinstance(pem, bytes) else pem.encode()).public_key()
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return f"sha256:{hashlib.sha256(der).hexdigest()}"


def marker_path():
    """
    Give the path of the marker that an init or join leaves while it is not finished.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kubeadm_facts.marker_path
    """
    return __salt__["sandbox.path"]("etc", "provisioner", "kubeadm-unfinished.json")


def unfinished():
    """
    Tell which of this project's calls was begun on this node and not ended: "init", "join" or None.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kubeadm_facts.unfinished
    """
    try:
        return json.loads(Path(marker_path()).read_text())["verb"]
    except FileNotFoundError:
        return None


def foreign_reason(files, marker, wanted_ca_hash=None):
    """
    Say why the files of this node belong to another cluster, or None. What an unfinished call of ours left is ours.

    files
        What :func:`member_files` gave.

    marker
        What :func:`unfinished` gave.

    wanted_ca_hash
        ``sha256:...`` of the cluster's CA, when known.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kubeadm_facts.foreign_reason '{"servers": {}, "kubelet_conf": false, "left": []}' null
    """
    if marker:
        return None
    ours = _own_servers()
    for name, server in files["servers"].items():
        if server in ours or (proof := _trusts_this_cluster(name, files["ca_hash"])):
            continue
        silence = "; no API server answers that could tell whether it is this cluster's all the same"
        reason = f"{KUBERNETES_DIR}/{name} points at {server}, the endpoint of this cluster is {ours[0]}"
        return reason + (silence if proof is None else "")
    if wanted_ca_hash and files["ca_hash"] and files["ca_hash"] != wanted_ca_hash:
        return f"the CA on this node is {files['ca_hash']}, that of the cluster is {wanted_ca_hash}"
    if files["left"] and not files["kubelet_conf"]:
        return f"files of a cluster are left on this node: {', '.join(files['left'])}"
    if files["kubelet_conf"] and __salt__["kubeadm_facts.endpoint_trusted"]() is False:
        return f"the CA on this node did not sign the certificate of {ours[0]}"
    return None


def _trusts_this_cluster(name, own_ca_hash):
    """
    Whether a kubeconfig that names a strange server is this cluster's all the same, its URL merely wrong: it trusts
    the CA of this node, and that CA did sign the certificate of an API server. None when none answers.
    """
    try:
        cluster = yaml.safe_load(Path(__salt__["sandbox.path"]("etc", "kubernetes", name)).read_text())["clusters"][0]
        trusted = ca_hash(base64.b64decode(cluster["cluster"]["certificate-authority-data"]))
    except (OSError, yaml.YAMLError, KeyError, IndexError, TypeError, ValueError):
        return False
    return trusted == own_ca_hash and _api_trusted()


def _api_trusted():
    """As :func:`endpoint_trusted`; while the endpoint fails over, the first API server that answers is asked."""
    rows = [row["address"] for row in _pillar()["nodes"] if row["role"] == "control_plane"]
    places = [None, *((address, api_port()) for address in rows)]
    answers = (__salt__["kubeadm_facts.endpoint_trusted"](*(place or ())) for place in places)
    return next((answer for answer in answers if answer is not None), None)


def _own_servers():
    """The endpoint, and the node's own API server, at which kubeadm points the kubelet of a control-plane node."""
    pillar = _pillar()
    endpoint = pillar["cluster"]["endpoint"]
    return [f"https://{endpoint['address']}:{endpoint['port']}", f"https://{pillar['node']['address']}:{api_port()}"]


def api_port():
    """
    Give the TCP port on which an API server of this cluster listens on its own node.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kubeadm_facts.api_port
    """
    control_plane = _pillar()["kubeadm"].get("join", {}).get("controlPlane", {})
    return control_plane.get("localAPIEndpoint", {}).get("bindPort", 6443)


def endpoint_trusted(address=None, port=None):
    """
    Tell whether the endpoint's certificate is signed by the CA on this node, outdated or not; None when the endpoint
    does not answer.

    address, port
        Another place where an API server listens, instead of the endpoint.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-w-01 kubeadm_facts.endpoint_trusted
    """
    endpoint = _pillar()["cluster"]["endpoint"]
    place = (address or endpoint["address"], port or endpoint["port"])
    try:
        context = _cluster_trust()
        context.check_hostname = False  # the question is who signed it, not which names are in it
        with socket.create_connection(place, PROBE_TIMEOUT_S) as plain:
            context.wrap_socket(plain, server_hostname=place[0]).close()
    except ssl.SSLCertVerificationError as err:
        return err.verify_code in OUTDATED
    except OSError:
        return None
    return True


def _cluster_trust():
    """A TLS client that trusts the cluster's CA alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(__salt__["sandbox.path"]("etc", "kubernetes", "pki", "ca.crt"))
    return context


def _probe(control_plane):
    """Ask kubelet, API server (on a control-plane node) and cluster; gives ``([what does not answer], registered)``."""
    unhealthy = []
    if not __salt__["kubeadm_facts.kubelet_answers"]():
        unhealthy.append("the kubelet does not answer on 127.0.0.1:10248 (journalctl -u kubelet)")
    if control_plane and not __salt__["kubeadm_facts.api_server_ready"]():
        unhealthy.append(f"the API server of this node is not ready on port {api_port()} (crictl ps -a; crictl logs)")
    registered = __salt__["kubeadm_facts.node_registered"]()
    if registered is None:
        unhealthy.append(UNASKED)
    elif not registered:
        unhealthy.append("the cluster has no Node of this name")
    return unhealthy, registered


def _reasons(control_plane):
    """Why a member may be unwell: ``([certificates that have ended], whether its etcd sees a leader, [sentences])``."""
    expired, leader, reasons = [], None, []
    try:
        expired = [found["name"] for found in __salt__["certificates.expiries"]() if found["days"] < 0]
    except (OSError, ValueError, yaml.YAMLError) as err:
        reasons.append(f"its certificates cannot be read: {err}")
    if expired:
        reasons.append(f"certificates have expired: {', '.join(expired)} (kubeadm certs check-expiration)")
    if control_plane:
        leader = __salt__["kubeadm_facts.etcd_leader"]()
    if leader is False:
        reasons.append("its member of etcd sees no leader: too few members answer (crictl ps -a --name etcd)")
    return expired, leader, reasons


def etcd_leader():
    """
    Tell whether this node's member of etcd sees a leader; None when it does not answer.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kubeadm_facts.etcd_leader
    """
    try:
        return bool(__salt__["etcd_facts.own"]()["leader"])
    except CommandExecutionError:
        return None


def kubelet_answers():
    """
    Tell whether the kubelet says that it is well.

    CLI Example:

    .. code-block:: bash

        salt '*' kubeadm_facts.kubelet_answers
    """
    return _ok(http.client.HTTPConnection(*KUBELET_HEALTH, timeout=PROBE_TIMEOUT_S), "/healthz")


def api_server_ready(address=None):
    """
    Tell whether the API server of a node is ready, its etcd with it (/readyz), under the cluster's CA.

    address
        The node's address; default this node's own.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kubeadm_facts.api_server_ready
    """
    try:
        context = _cluster_trust()
    except OSError:
        return False
    address = address or _pillar()["node"]["address"]
    return _ok(http.client.HTTPSConnection(address, api_port(), timeout=PROBE_TIMEOUT_S, context=context), "/readyz")


def _ok(connection, path):
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def node_registered():
    """
    Tell whether the cluster has a Node of this name, asked with the kubelet's credentials; None without an answer.

    CLI Example:

    .. code-block:: bash

        salt '*' kubeadm_facts.node_registered
    """
    kubeconfig = __salt__["sandbox.path"]("etc", "kubernetes", "kubelet.conf")
    try:
        name = _pillar()["node"]["name"]
        return __salt__["kube.get"]("node", name, kubeconfig=kubeconfig, patience_s=PATIENCE_S) is not None
    except CommandExecutionError:
        return None


def complete(verb):
    """
    Tell whether a call whose end nobody saw had succeeded: asked of the cluster, by the last things that kubeadm does.

    verb
        "init" or "join".

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kubeadm_facts.complete init
    """
    files = member_files()
    control_plane = _pillar()["node"]["role"] == "control_plane"
    if not files["kubelet_conf"] or files["control_plane"] != control_plane or _probe(control_plane)[0]:
        return False
    if not control_plane:
        return True
    marked = "control-plane" in __salt__["kube.nodes"]()[_pillar()["node"]["name"]]["roles"]
    return marked and (verb != "init" or _addons_made())


def _addons_made():
    """Init ends with the public cluster-info, by which nodes join, and with CoreDNS."""
    info = __salt__["kube.get"]("configmap", "cluster-info", "kube-public")
    return info is not None and __salt__["kube.get"]("deployment", "coredns", "kube-system") is not None


def other_members():
    """
    Name the other nodes of the cluster that this control-plane node's API knows; none when there is no API to ask.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kubeadm_facts.other_members
    """
    if not __salt__["kubeadm_facts.api_server_ready"]():
        return []
    return sorted(set(__salt__["kube.nodes"]()) - {_pillar()["node"]["name"]})


def mounted():
    """
    Tell whether /etc/kubernetes and the sandbox's are one directory: kubeadm writes the one, all else reads the other.

    CLI Example:

    .. code-block:: bash

        salt '*' kubeadm_facts.mounted
    """
    try:
        return Path(KUBERNETES_DIR).samefile(__salt__["sandbox.path"]("etc", "kubernetes"))
    except FileNotFoundError:
        return False


def ports_taken():
    """
    Say which ports that this node's role needs are taken, for a node that is no member yet: ``["port 6443 ..."]``.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kubeadm_facts.ports_taken
    """
    needed = PORTS[_pillar()["node"]["role"]]
    holders = __salt__["ports.holders"](list(needed))
    return [f"port {port}, which {needed[port]} needs, is taken by {holder}" for port, holder in holders.items()]


def _pillar():
    pillar = __pillar__.get("saltern", {})
    if "kubeadm" not in pillar:
        raise CommandExecutionError(
            f"{__opts__['id']}: its pillar has no saltern:kubeadm, which control_plane and worker rows have. "
            "Check its row in pillar/cluster.sls"
        )
    return pillar
