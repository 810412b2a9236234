"""
Which control-plane node keeps what is in the cluster's API: releases, address pools, labels and taints.

``salt '*' state.apply`` runs on all control-plane nodes at once, and one is enough. It is the first of the table whose
Node is Ready: all of them, and a dry run before, come to the same answer without a word between them. No node is the
first for ever: one that is down is passed over.
"""

import http.client
import json
import ssl

from salt.exceptions import CommandExecutionError

ASK_S = 10
# The credential of this node's API server towards kubelets; its group may read nodes (kubeadm: kubeadm:cluster-admins).
CREDENTIAL = "apiserver-kubelet-client"


def named():
    """
    Say who it is: ``{"node": name or None, "here": bool, "reason": sentence, "failure": bool}``.

    None on a node that is no member of a cluster (no failure), and when the API did not answer (a failure: then nobody
    can say whether what it holds is as defined).

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 keeper.named
    """
    files, unfinished = __salt__["kubeadm_facts.member_files"](), __salt__["kubeadm_facts.unfinished"]()
    if not files["kubelet_conf"] or unfinished or "admin.conf" not in files["servers"]:
        return _answer(None, "no member of a cluster yet")
    try:
        nodes = _nodes()
    except CommandExecutionError as err:
        reason = f"the API did not answer, so what it holds was not compared: apply again once it does ({err})"
        return _answer(None, reason, failure=True)
    rows = [row["name"] for row in __pillar__["saltern"]["nodes"] if row["role"] == "control_plane"]
    ready = [name for name in rows if nodes.get(name, {}).get("ready")]
    if not ready:
        return _answer(None, f"none of {', '.join(rows)} is Ready: kubectl get nodes", failure=True)
    return _answer(ready[0], f"{ready[0]} keeps them, the first control-plane node that is Ready")


def _nodes():
    """{name: facts}, by kubectl; by the API itself where kubectl is gone: the run that asks will bring it back."""
    if __salt__["sandbox.missing"]("kubectl"):
        items = _asked("/api/v1/nodes")["items"]
        return {item["metadata"]["name"]: __salt__["kube.node_facts"](item) for item in items}
    return __salt__["kube.nodes"]()


def _asked(path):
    """What the endpoint answers, parsed. Raises CommandExecutionError."""
    pki, endpoint = __salt__["sandbox.path"]("etc", "kubernetes", "pki"), __pillar__["saltern"]["cluster"]["endpoint"]
    connection = None
    try:
        context = ssl.create_default_context(cafile=f"{pki}/ca.crt")
        context.load_cert_chain(f"{pki}/{CREDENTIAL}.crt", f"{pki}/{CREDENTIAL}.key")
        connection = http.client.HTTPSConnection(
            endpoint["address"], endpoint["port"], timeout=ASK_S, context=context
        )  # fmt: skip
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise CommandExecutionError(f"HTTP {answer.status} from {path}")
        return json.load(answer)
    except (OSError, ValueError, http.client.HTTPException) as err:
        raise CommandExecutionError(f"https://{endpoint['address']}:{endpoint['port']}{path}: {err}") from err
    finally:
        if connection:
            connection.close()


def _answer(node, reason, failure=False):
    return {"node": node, "here": node == __opts__["id"], "reason": reason, "failure": failure}
