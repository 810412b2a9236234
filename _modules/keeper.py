"""
Which control-plane node keeps what is in the cluster's API: releases, address pools, labels and taints.

``salt '*' state.apply`` runs on all control-plane nodes at once, and one is enough. It is the first of the table whose
Node is Ready: all of them, and a dry run before, come to the same answer without a word between them. No node is the
first for ever: one that is down is passed over.
"""

from salt.exceptions import CommandExecutionError


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
        nodes = __salt__["kube.nodes"]()
    except CommandExecutionError as err:
        reason = f"the API did not answer, so what it holds was not compared: apply again once it does ({err})"
        return _answer(None, reason, failure=True)
    rows = [row["name"] for row in __pillar__["saltern"]["nodes"] if row["role"] == "control_plane"]
    ready = [name for name in rows if nodes.get(name, {}).get("ready")]
    if not ready:
        return _answer(None, f"none of {', '.join(rows)} is Ready: kubectl get nodes", failure=True)
    return _answer(ready[0], f"{ready[0]} keeps them, the first control-plane node that is Ready")


def _answer(node, reason, failure=False):
    return {"node": node, "here": node == __opts__["id"], "reason": reason, "failure": failure}
