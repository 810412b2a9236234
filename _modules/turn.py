"""Taking turns: one control-plane node at a time restarts what its part of the control plane is made of.

``salt '*' state.apply`` runs on all nodes at once. What would take a control-plane node out of service for a moment
goes through :func:`during`: it takes a Lease of the cluster, makes sure that the other control-plane nodes serve, acts,
waits until this node answers again wherever it did before, and gives the Lease back.

A holder that died keeps the others waiting until its Lease has run out; the same node takes it again at once. A node
that is not well after its act keeps the Lease on purpose. Where no API server answers there is nothing left to protect
and nobody to ask: then the act goes on without. Test mode has no turn to take.
"""

import datetime
import json
import logging
import time

from salt.exceptions import CommandExecutionError

log = logging.getLogger(__name__)

LEASE = "saltern-control-plane-turn"
NAMESPACE = "kube-system"
REASON = "saltern/reason"
# An act (unit.act: 120 s a unit, of which there is one in a turn) and the wait after it fit in.
HOLD_S = 420
WELL_S = 180
# preflight refuses to start above this difference of clocks (os.max_clock_skew_s in cluster.sls).
CLOCK_SKEW_S = 30
# A dead holder's Lease, and two nodes' turns before ours.
DEADLINE_S = 1200
# So long a node that restarts may be not ready; one that is still not is down, and needs somebody.
UNWELL_S = 150
POLL_S = 2
REQUEST_TIMEOUT = "--request-timeout=5s"
# For as long no API server may answer before it is taken for "there is no control plane".
SILENCE_S = 20


class SilenceError(CommandExecutionError):
    """No API server of the cluster answers, neither through the load balancer nor on its own node."""


def during(reason, act, deadline_s=DEADLINE_S):
    """Call a function while no other control-plane node is out of service; returns what it returns.

    reason: what is done, for those who wait; act: a function without arguments; deadline_s: to get the turn.
    On a node that is no control-plane member the function is called at once. Raises CommandExecutionError when the turn
    cannot be had (who has it, since when, for what), or when this node is not well afterwards.

    CLI Example (needs a function, so from modules only):

    .. code-block:: bash

        salt saw-k8s-m-01 turn.holder
    """
    if not _is_member():
        return act()
    try:
        take(reason, deadline_s)
    except SilenceError as err:
        log.warning("%s: %s; nobody to take turns with: %s", __opts__["id"], err, reason)
        return act()
    before = _silent()
    try:
        return act()
    finally:
        _end(reason, before)


def take(reason, deadline_s=DEADLINE_S):
    """Take the turn, or wait for it. Having it already renews it.

    reason: what it is for; deadline_s: seconds until it gives up. Raises SilenceError, or CommandExecutionError that
    says who has the turn or which node does not serve.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 turn.take 'restart of the kubelet'
    """
    began = time.monotonic()
    unwell_since = None
    while True:
        limit = began + deadline_s
        hindrance = _taken_by_another(reason)
        if hindrance:
            unwell_since = None
        else:
            hindrance = _others_hindrance()
            if not hindrance:
                return
            # Whoever is not well may be waiting for this very turn.
            give_back()
            unwell_since = unwell_since or time.monotonic()
            limit = min(limit, unwell_since + UNWELL_S)
        if time.monotonic() > limit:
            raise CommandExecutionError(
                f"{__opts__['id']}: waited {limit - began:.0f} s for the turn to act ({reason}): {hindrance}. "
                f"Mend that, then apply again (salt {__opts__['id']} turn.holder)"
            )
        time.sleep(POLL_S)


def give_back():
    """Give the turn back, if this node has it.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 turn.give_back
    """
    lease = _get()
    if lease and lease["spec"].get("holderIdentity") == __opts__["id"]:
        _put(lease, "", "")


def holder():
    """Who has the turn: ``{"node", "since", "reason", "expired": bool}``, None when nobody has.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 turn.holder
    """
    return _described(_get())


def _described(lease):
    """The Lease in our words; None for one that nobody holds."""
    spec = lease["spec"] if lease else {}
    if not spec.get("holderIdentity"):
        return None
    return {
        "node": spec["holderIdentity"],
        "since": spec["renewTime"],
        "reason": lease["metadata"].get("annotations", {}).get(REASON, ""),
        "expired": _seconds_since(spec["renewTime"]) > spec["leaseDurationSeconds"] + CLOCK_SKEW_S,
    }


def _end(reason, before):
    """Give the turn back once this node answers wherever it did before; else keep it, and say so.

    What was silent before (a kubelet that a later state starts) is not this act's matter.
    """
    deadline = time.monotonic() + WELL_S
    while lost := [what for what in _silent() if what not in before]:
        if time.monotonic() > deadline:
            raise CommandExecutionError(
                f"{__opts__['id']}: not well {WELL_S} s after: {reason}: {'; '.join(lost)}. Other control-plane nodes "
                f"wait until its turn has run out ({HOLD_S} s)"
            )
        time.sleep(POLL_S)
    give_back()


def _silent():
    """What of this node does not answer, as sentences."""
    silent = []
    if not __salt__["kubeadm_facts.kubelet_answers"]():
        silent.append("its kubelet does not answer (journalctl -u kubelet)")
    if not __salt__["kubeadm_facts.api_server_ready"]():
        silent.append("its API server is not ready (crictl ps -a; crictl logs)")
    return silent


def _is_member():
    """Whether this node serves, or is to serve, a part of the control plane."""
    pillar = __pillar__.get("saltern", {})
    if pillar.get("node", {}).get("role") != "control_plane":
        return False
    return __salt__["kubeadm_facts.member_files"]()["kubelet_conf"] and not __salt__["kubeadm_facts.unfinished"]()


def _taken_by_another(reason):
    """Try to write our name into the Lease. Returns who has it, or None when it is ours."""
    lease = _get()
    who = _described(lease)
    if who and who["node"] != __opts__["id"] and not who["expired"]:
        return f"{who['node']} has it since {who['since']} ({who['reason']})"
    if who and who["expired"]:
        log.warning("%s: %s left its turn of %s behind", __opts__["id"], who["node"], who["since"])
    return None if _put(lease, __opts__["id"], reason) else "another node was faster"


def _others_hindrance():
    """Why this node must not go out of service now, or None. One that is out of service itself may always act."""
    if not __salt__["kubeadm_facts.api_server_ready"]():
        return None
    silent = [row["name"] for row in _other_members() if not __salt__["kubeadm_facts.api_server_ready"](row["address"])]
    return f"the API server of {', '.join(silent)} is not ready (crictl ps -a; crictl logs there)" if silent else None


def _other_members():
    """The rows of the other control-plane nodes that have joined."""
    pillar = __pillar__["saltern"]
    rows = [row for row in pillar["nodes"] if row["role"] == "control_plane" and row["name"] != pillar["node"]["name"]]
    answer = _ask(["get", "nodes", "--output=name"])
    joined = {line.removeprefix("node/") for line in answer["stdout"].split()}
    return [row for row in rows if row["name"] in joined]


def _get():
    """The Lease, None when nobody has made it yet."""
    args = ["get", "lease", LEASE, f"--namespace={NAMESPACE}", "--ignore-not-found", "--output=json"]
    text = _ask(args)["stdout"]
    return json.loads(text) if text.strip() else None


def _put(lease, node, reason):
    """Write the Lease, unless somebody has written it since it was read (the API server sees to it). Returns if so."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    metadata = {"name": LEASE, "namespace": NAMESPACE, "annotations": {REASON: reason}}
    if lease:
        metadata["resourceVersion"] = lease["metadata"]["resourceVersion"]
    spec = {"holderIdentity": node, "leaseDurationSeconds": HOLD_S, "acquireTime": now, "renewTime": now}
    wanted = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
    # Without validation: it would ask for the whole OpenAPI document first.
    verb = "replace" if lease else "create"
    answer = _ask([verb, "--filename=-", "--validate=false"], json.dumps(wanted), accepted=_is_conflict)
    return answer["retcode"] == 0


def _is_conflict(stderr):
    """Whether another node was faster: kubectl has no exit code of its own for it, the API's reason is in brackets."""
    return "(Conflict)" in stderr or "(AlreadyExists)" in stderr or "(NotFound)" in stderr


def _ask(args, stdin=None, accepted=lambda _stderr: False):
    """Run kubectl against the endpoint and, when that is silent, each control-plane node's own API server."""
    deadline = time.monotonic() + SILENCE_S
    while True:
        for server in _servers():
            where = [f"--server={server}"] if server else []
            answer = __salt__["sandbox.run"]("kubectl", [*args, REQUEST_TIMEOUT, *where], stdin=stdin, timeout_s=30)
            if answer["retcode"] == 0 or accepted(answer["stderr"]):
                return answer
            if not __salt__["kube.got_lost"](answer):
                complaint = __salt__["kube.complaint"](answer["stderr"])
                raise CommandExecutionError(f"{__opts__['id']}: kubectl {args[0]} lease {LEASE}: {complaint}")
        if time.monotonic() > deadline:
            raise SilenceError(f"no API server answers within {SILENCE_S} s")
        time.sleep(POLL_S)


def _servers():
    """None for the endpoint that admin.conf names, then the URLs of the nodes' own API servers."""
    pillar, port = __pillar__["saltern"], __salt__["kubeadm_facts.api_port"]()
    return [None, *(f"https://{row['address']}:{port}" for row in pillar["nodes"] if row["role"] == "control_plane")]


def _seconds_since(text):
    """Seconds since a MicroTime of the API."""
    then = datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=datetime.UTC)
    return (datetime.datetime.now(datetime.UTC) - then).total_seconds()
