"""
The documents that kubeadm reads, from the pillar of a node. Pure: data in, data out.

kubeadm.k8s.io/v1beta4 only: v1beta3 is gone in Kubernetes 1.37.
"""

import copy
import json

import yaml

KUBEADM_API = "kubeadm.k8s.io/v1beta4"
INIT_LIFETIME = "10m0s"


def init_documents(kubeadm, token):
    """
    Build what ``kubeadm init`` reads.

    kubeadm
        Pillar ``saltern:kubeadm`` of a control-plane node.

    token
        A bootstrap token for kubeadm's own phase. It would otherwise make one that lives for a day; this one is
        deleted as soon as init ends.

    Returns ``[InitConfiguration, ClusterConfiguration, KubeletConfiguration]``. Init leaves out its phase
    kubelet-finalize, which restarts the kubelet: the caller runs it when the kubelet's kubeconfig names the endpoint.

    CLI Example:

    .. code-block:: bash

        salt-call --local kubeadm_config.init_documents '{"init": {}, "cluster": {}, "kubelet": {}}' "$TOKEN"
    """
    init = copy.deepcopy(kubeadm["init"])
    init["bootstrapTokens"] = [{"token": token, "ttl": INIT_LIFETIME, "description": "saltern: init"}]
    init["skipPhases"] = [*init.get("skipPhases", []), "kubelet-finalize"]
    _ignore_checks(init, kubeadm)
    return [init, kubeadm["cluster"], kubeadm["kubelet"]]


def endpoint_documents(kubeadm, endpoint):
    """
    Build what ``kubeadm init phase kubeconfig`` reads to make kubeconfigs that name the endpoint: the cluster, as a
    node would see it whose own API server is at the endpoint. For that phase only.

    kubeadm
        Pillar ``saltern:kubeadm`` of a control-plane node.

    endpoint
        ``{"address": IP, "port": int}``.

    Returns ``[InitConfiguration, ClusterConfiguration]``.

    CLI Example:

    .. code-block:: bash

        salt-call --local kubeadm_config.endpoint_documents '{"init": {}, "cluster": {}}' '{"address": "1.2.3.4", ...}'
    """
    local = {"advertiseAddress": endpoint["address"], "bindPort": endpoint["port"]}
    return [kubeadm["init"] | {"localAPIEndpoint": local}, kubeadm["cluster"]]


def join_document(kubeadm, material):
    """
    Build what ``kubeadm join`` reads.

    kubeadm
        Pillar ``saltern:kubeadm`` of the joining node.

    material
        ``{"endpoint": "address:port", "token", "ca_hashes": ["sha256:..."], "certificate_key": hex or None}``.

    Returns a JoinConfiguration.

    CLI Example:

    .. code-block:: bash

        salt-call --local kubeadm_config.join_document '{"join": {}}' '{"endpoint": "192.0.2.1:6443", ...}'
    """
    join = copy.deepcopy(kubeadm["join"])
    join["discovery"] = {
        "bootstrapToken": {
            "apiServerEndpoint": material["endpoint"],
            "token": material["token"],
            "caCertHashes": material["ca_hashes"],
        }
    }
    if "controlPlane" in join:
        join["controlPlane"]["certificateKey"] = material["certificate_key"]
    _ignore_checks(join, kubeadm)
    return join


def render_documents(kubeadm, address):
    """
    Build what ``kubeadm init phase`` reads to render the files of this node, however it became a member.

    kubeadm
        Pillar ``saltern:kubeadm`` of any member.

    address
        The node's address, so that kubeadm does not look for one.

    Returns ``[InitConfiguration, ClusterConfiguration, KubeletConfiguration]``.

    CLI Example:

    .. code-block:: bash

        salt-call --local kubeadm_config.render_documents '{"join": {}, "cluster": {}, "kubelet": {}}' 192.0.2.1
    """
    init = kubeadm.get("init") or {
        "apiVersion": KUBEADM_API,
        "kind": "InitConfiguration",
        "localAPIEndpoint": {"advertiseAddress": address},
        "nodeRegistration": kubeadm["join"]["nodeRegistration"],
    }
    return [init, kubeadm["cluster"], kubeadm["kubelet"]]


def upload_documents(kubeadm, certificate_key):
    """
    Build what ``kubeadm init phase upload-certs`` reads: the cluster, and the key that encrypts its certificates.

    kubeadm
        Pillar ``saltern:kubeadm`` of a control-plane node.

    certificate_key
        64 hexadecimal digits.

    CLI Example:

    .. code-block:: bash

        salt-call --local kubeadm_config.upload_documents '{"init": {}, "cluster": {}}' "$KEY"
    """
    return [kubeadm["init"] | {"certificateKey": certificate_key}, kubeadm["cluster"]]


def reset_document(cri_socket, certificates_dir):
    """
    Build what ``kubeadm reset`` reads.

    cri_socket
        URL of CRI-O's socket.

    certificates_dir
        The cluster's certificatesDir; kubeadm empties its default one otherwise.

    CLI Example:

    .. code-block:: bash

        salt-call --local kubeadm_config.reset_document unix:///var/run/crio/crio.sock /etc/kubernetes/pki
    """
    return {
        "apiVersion": KUBEADM_API,
        "kind": "ResetConfiguration",
        "force": True,
        "cleanupTmpDir": True,
        "criSocket": cri_socket,
        "certificatesDir": certificates_dir,
    }


def kubelet_patch(kubeadm, resolv_conf):
    """
    Build the patch of this node's kubelet configuration, or None when there is nothing to patch.

    The KubeletConfiguration of init is the whole cluster's (each joining node downloads it); which file names the real
    DNS servers is each node's own matter. So it goes in as a patch, which kubeadm applies on this node only. A
    resolvConf in the definition is the operator's word for all nodes and stays.

    kubeadm
        Pillar ``saltern:kubeadm``.

    resolv_conf
        Path for the kubelet's resolvConf.

    CLI Example:

    .. code-block:: bash

        salt-call --local kubeadm_config.kubelet_patch '{}' /run/systemd/resolve/resolv.conf
    """
    return None if "resolvConf" in kubeadm.get("kubelet", {}) else {"resolvConf": resolv_conf}


def text(documents):
    """
    Write documents as one YAML stream.

    documents
        List of mappings.

    CLI Example:

    .. code-block:: bash

        salt-call --local kubeadm_config.text '[{"kind": "ResetConfiguration"}]'
    """
    # Pillar data comes in Salt's own mappings and lists, which PyYAML knows only where Salt has taught it to.
    return yaml.safe_dump_all(json.loads(json.dumps(documents)), sort_keys=False)


def _ignore_checks(document, kubeadm):
    ignored = kubeadm.get("ignore_preflight_errors", [])
    if ignored:
        document.setdefault("nodeRegistration", {})["ignorePreflightErrors"] = ignored
