"""How a cluster stands: what its nodes tell, held against the definition. Facts in, a judgement out; no I/O.

What counts as wrong is in the ``_wrong_...`` functions, one for each matter, in the order in which an operator wants to
read it: what is down, what is not as the table says, what will be a problem.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from saltern import diagnosis, node_pillar
from saltern.inquiry import Answers
from saltern.model import Cluster
from saltern.parts import Node
from saltern.steps import Problem

APPLY = "salt {node} state.apply"
AGAIN = "salt-run state.orchestrate orchestrate.cluster"
# Parts of a node's pillar that no state of the highstate reads: they are for the jobs of the orchestration, and for
# checks. Charts are compared by their releases, and what a node has to know of others is in other parts too (os.hosts,
# haproxy); the rest is not seen to have changed.
OF_ORCHESTRATION = frozenset({"charts", "kubeadm", "nodes", "verification"})
# A certificate is about to end when that many days are left, or that share of its lifetime for one that lives less
# long. kubeadm's own upgrade renews them once a year, the kubelet renews its own when a fifth or so is left.
SOON_DAYS, SOON_SHARE = 30.0, 0.1
PODS_SHOWN = 10
CHARTS = ("cilium", "metallb")
# Runbooks of what several matters lead to.
ETCD_MEMBER, DRIFTED = "etcd-member-unhealthy", "node-drifted"
NOT_HELD = "virtual-address-not-held"
# The runbook where a node could not tell a part of its facts; the others have the general one.
PARTS = {"etcd": ETCD_MEMBER, "haproxy": "unit-not-running", "backends": "unit-not-running"}


@dataclass
class Standing:
    """The judgement.

    Attributes:
        cluster: the definition.
        answers: what the nodes said.
        problems: everything that is wrong, each with what to type.
    """

    cluster: Cluster
    answers: Answers
    problems: list[Problem] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def judge(cluster: Cluster, answers: Answers, wait_s: float) -> Standing:
    """Hold what the nodes said against the definition.

    Args:
        cluster: the definition.
        answers: of ``saltern.inquiry.ask``.
        wait_s: how long they were waited for.
    """
    problems = [
        *_wrong_answers(answers, wait_s),
        *_wrong_cluster(cluster, answers),
        *_wrong_nodes(cluster, answers),
        *_wrong_etcd(cluster, answers),
        *_wrong_balancers(cluster, answers),
        *_wrong_holders(cluster, answers),
        *_wrong_pods(answers),
        *_wrong_versions(cluster, answers),
        *_wrong_charts(cluster, answers),
        *_drifted(cluster, answers),
        *_ending_certificates(answers),
    ]
    lost = _lost(cluster, answers)
    found = [replace(p, code="control-plane-node-lost") if p.node in lost else p for p in problems]
    return Standing(cluster, answers, found)


def _lost(cluster: Cluster, answers: Answers) -> frozenset[str]:
    """Control-plane nodes that are gone: nobody hears their minion, and the others hear no kubelet or etcd of theirs.

    All that is wrong with such a node has that one cause. Of a cluster that cannot be asked nobody knows.
    """
    unheard = {*answers.silent, *answers.keyless}
    nodes = answers.cluster["nodes"] if answers.cluster else {}
    down = {name for name, seen in nodes.items() if not seen["ready"]}
    down |= {member["name"] for member in answers.members or [] if not member["healthy"]}
    return frozenset(row.name for row in cluster.control_plane if row.name in unheard & down)


def _wrong_answers(answers: Answers, wait_s: float) -> Iterator[Problem]:
    """Nodes that say nothing, or only a part."""
    for node in answers.keyless:
        cause = "the master has no accepted key of its minion"
        remedy = f"salt-key -l all; a machine that is not there is made by: {AGAIN}"
        yield Problem(node, "Minion", cause, remedy, code="minion-key-missing")
    for node in answers.silent:
        cause = f"no answer within {wait_s:g} s: it is down or busy, its network is cut, or its minion does not run"
        remedy = f"salt {node} test.ping; on the node: journalctl -u salt-minion -n 50"
        yield Problem(node, "Minion", cause, remedy, code="minion-silent")
    for node, reason in answers.refused.items():
        remedy = f"salt {node} saltutil.sync_all, then again"
        yield Problem(node, "Minion", f"could not answer: {reason}", remedy, code="call-failed")
    for node, facts in answers.facts.items():
        for part, reason in facts["errors"].items():
            yield Problem(node, part.capitalize(), reason, _mending(node), code=PARTS.get(part, "call-failed"))


def _wrong_cluster(cluster: Cluster, answers: Answers) -> Iterator[Problem]:
    """Nobody could look at the cluster, or its endpoint leads nowhere."""
    seen = answers.cluster
    if seen is None:
        names = [node.name for node in cluster.control_plane]
        found = diagnosis.of_facts(answers.facts, names)
        cause = f"none of {', '.join(names)} could ask an API server{found.note}"
        yield Problem("", "Cluster", cause, f"salt -L {','.join(names)} kubeadm.status", code=found.code)
    elif seen["endpoint"]:
        cause = f"no API server answers at https://{cluster.endpoint}: {seen['endpoint']}"
        balancers = ",".join(node.name for node in cluster.load_balancers)
        remedy = f"salt -L {balancers} unit.facts '[haproxy.service]'"
        yield Problem("", "Endpoint", cause, remedy, code="endpoint-not-answering")


def _wrong_nodes(cluster: Cluster, answers: Answers) -> Iterator[Problem]:
    """Nodes that are not registered, not Ready, or not in the table."""
    if answers.cluster is None:
        return
    nodes = answers.cluster["nodes"]
    for row in cluster.kubernetes_nodes:
        seen = nodes.get(row.name)
        if seen is None:
            yield Problem(row.name, "Node", "not registered in the cluster", AGAIN, code="nodes-not-ready")
        elif not seen["ready"]:
            remedy = f"kubectl describe node {row.name}"
            yield Problem(row.name, "Node", f"not Ready: {seen['reason']}", remedy, code="nodes-not-ready")
    for name in sorted(set(nodes) - {row.name for row in cluster.kubernetes_nodes}):
        cause = "is in the cluster but not in the table"
        remedy = f"add its row to pillar/cluster.sls, or: kubectl delete node {name}"
        yield Problem(name, "Node", cause, remedy, code="node-not-in-table")


def _wrong_etcd(cluster: Cluster, answers: Answers) -> Iterator[Problem]:
    """Members that are missing, learners, unhealthy or strange; views of the leader that differ."""
    # The list of the members needs a majority of them: where there is one, who sees no leader is merely cut off.
    leaderless = diagnosis.NO_QUORUM if answers.members is None else ETCD_MEMBER
    for node, facts in answers.facts.items():
        if (own := facts.get("etcd")) and not own["leader"]:
            yield Problem(node, "etcd", "its member sees no leader", f"salt {node} etcd_facts.own", code=leaderless)
        for error in (own or {}).get("errors", []):
            yield Problem(node, "etcd", error, f"salt {node} etcd_facts.own", code=ETCD_MEMBER)
    if answers.members is None:
        return
    members = {member["name"]: member for member in answers.members}
    for row in cluster.control_plane:
        member = members.pop(row.name, None)
        if member is None:
            yield Problem(row.name, "etcd", "is no member", AGAIN, code=ETCD_MEMBER)
        elif member["learner"]:
            yield Problem(row.name, "etcd", "is a learner still: it does not vote", AGAIN, code=ETCD_MEMBER)
        elif not member["healthy"]:
            remedy = f"salt {row.name} cmd.run 'crictl ps -a --name etcd'"
            yield Problem(row.name, "etcd", member["reason"], remedy, code=ETCD_MEMBER)
    for name, member in members.items():
        what = f"member {name or member['id']} is of no control-plane node of the table"
        yield Problem("", "etcd", what, f"etcdctl member remove {member['id']}", code=ETCD_MEMBER)


def _wrong_balancers(cluster: Cluster, answers: Answers) -> Iterator[Problem]:
    """Servers that a load balancer takes for down; those without a check are not judged."""
    for row in cluster.load_balancers:
        for server in answers.facts.get(row.name, {}).get("backends", []):
            if not server["status"].startswith(("UP", "no check")):
                what = f"{server['backend']}: {server['server']} ({server['address']}) is {server['status']}"
                cause = f"{what}: {server['check'] or 'no reason given'}"
                remedy = f"from {row.name}: curl -k https://{server['address']}/readyz"
                yield Problem(row.name, "HAProxy", cause, remedy, code="backend-down")


def _wrong_holders(cluster: Cluster, answers: Answers) -> Iterator[Problem]:
    """Nobody has the virtual address, or more than one; of a load balancer that is silent nobody knows."""
    address = cluster.settings.virtual_address
    names = [row.name for row in cluster.load_balancers]
    told = {name: answers.facts[name].get("holds_address") for name in names if name in answers.facts}
    holders = [name for name, holds in told.items() if holds]
    remedy = f"salt -L {','.join(names)} unit.journal keepalived.service"
    if address and len(holders) > 1:
        cause = f"{', '.join(holders)} all have {address}: they do not hear each other (VRRP, IP protocol 112)"
        yield Problem("", "Virtual address", cause, remedy, code=NOT_HELD)
    elif address and not holders and list(told.values()) == [False] * len(names):
        cause = f"no load balancer has {address}: keepalived does not run, or its check of HAProxy fails"
        yield Problem("", "Virtual address", cause, remedy, code=NOT_HELD)


def _wrong_pods(answers: Answers) -> Iterator[Problem]:
    """Pods that are not ready; the first ones by name."""
    troubled = answers.cluster["pods"]["not_ready"] if answers.cluster else []
    for trouble in troubled[:PODS_SHOWN]:
        namespace, _, pod = trouble.partition("/")
        name = pod.split(" ")[0].rstrip(":")
        yield Problem("", "Pod", trouble, f"kubectl -n {namespace} describe pod {name}", code="workload-not-ready")
    if len(troubled) > PODS_SHOWN:
        cause = f"{len(troubled) - PODS_SHOWN} more are not ready"
        yield Problem("", "Pod", cause, "kubectl get pods -A", code="workload-not-ready")


def _wrong_versions(cluster: Cluster, answers: Answers) -> Iterator[Problem]:
    """What runs and what is installed, against the table."""
    wanted = {"kubelet": cluster.versions.kubernetes, "CRI-O": cluster.versions.crio}
    seen = answers.cluster or {"nodes": {}, "components": {}}
    for row in cluster.kubernetes_nodes:
        versions = running_versions(seen["nodes"].get(row.name))
        for name, version in versions.items():
            if version != wanted[name]:
                cause = f"{name} {version} runs, the table says {wanted[name]}"
                yield _version(row, cause, APPLY.format(node=row.name))
        for name, version in seen["components"].get(row.name, {}).items():
            if version != cluster.versions.kubernetes:
                cause = f"{name} {version} runs, the table says {cluster.versions.kubernetes}"
                yield _version(row, cause, f"that is an upgrade of the control plane of {row.name}")
        for name, version in answers.facts.get(row.name, {}).get("installed", {}).items():
            artefact = cluster.versions.artefacts.get(name)
            if artefact and name not in cluster.artefacts.disabled and version != artefact.version:
                cause = f"{name} {version} is installed, the table says {artefact.version}"
                yield _version(row, cause, APPLY.format(node=row.name))


def _version(row: Node, cause: str, remedy: str) -> Problem:
    return Problem(row.name, "Version", cause, remedy, code="version-differs")


def running_versions(seen: Mapping[str, Any] | None) -> dict[str, str]:
    """The versions of a Node that run, by name; {} for one that is not registered."""
    if not seen:
        return {}
    kubelet, runtime = seen.get("version") or "?", seen.get("runtime") or "?"
    return {"kubelet": kubelet.removeprefix("v"), "CRI-O": runtime.removeprefix("cri-o://")}


def _wrong_charts(cluster: Cluster, answers: Answers) -> Iterator[Problem]:
    """Releases that are missing, of another version, or not deployed."""
    if answers.cluster is None:
        return
    releases = {release["name"]: release for release in answers.cluster["charts"]}
    for name in CHARTS:
        wanted, release = cluster.versions.artefacts[f"{name}-chart"].version, releases.get(name)
        if cause := _wrong_release(release, wanted):
            yield Problem("", "Chart", f"{name} {cause}", AGAIN, code="chart-not-applied")


def _wrong_release(release: Mapping[str, Any] | None, wanted: str) -> str:
    """What is wrong with a release, "" when nothing is."""
    if release is None:
        return "is not installed"
    if release["status"] != "deployed":
        return f"is {release['status']}"
    return "" if release["version"] == wanted else f"{release['version']} is deployed, the table says {wanted}"


def _drifted(cluster: Cluster, answers: Answers) -> Iterator[Problem]:
    """What differs from the last state run, a run that failed, a definition that has changed since."""
    outdated: dict[str, list[str]] = {}
    for name, facts in answers.facts.items():
        remedy = APPLY.format(node=name)
        for state in facts.get("drift", []):
            cause = f"{'; '.join(state['what'])} ({state['sls']}, applied {state['time']})"
            yield Problem(name, "Drift", cause, remedy, state_id=state["id"], code=DRIFTED)
        if not (applied := facts.get("applied")):
            continue
        if not applied["succeeded"]:
            failed = ", ".join(f'"{state}"' for state in applied["failed"])
            cause = f"the last state run ({applied['time']}) failed: {failed}"
            yield Problem(name, "Drift", cause, remedy, code="state-failed")
        if changed := changed_parts(cluster, cluster.nodes[name], applied["pillar"]):
            outdated.setdefault(", ".join(changed), []).append(name)
    for parts, names in outdated.items():
        # A changed definition concerns many nodes alike.
        cause = f"the definition has changed since the last state run of {', '.join(names)}: {parts}"
        yield Problem("", "Drift", cause, f"salt -L {','.join(names)} state.apply", code="definition-not-applied")


def changed_parts(cluster: Cluster, row: Node, applied: Mapping[str, str]) -> list[str]:
    """Parts of a node's pillar that are not what they were when it was applied (``last_apply.fingerprint``)."""
    pillar = node_pillar.build(cluster, row.name)["saltern"]
    now = {key: _digest(value) for key, value in pillar.items() if key not in OF_ORCHESTRATION}
    return [key for key, digest in now.items() if applied.get(key) != digest]


def _digest(value: Any) -> str:
    """As ``last_apply.fingerprint`` makes it on the node."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _ending_certificates(answers: Answers) -> Iterator[Problem]:
    """Certificates that have ended or are about to."""
    for node, facts in answers.facts.items():
        for certificate in facts.get("certificates", []):
            days = certificate["days"]
            if days < min(SOON_DAYS, certificate["lifetime_days"] * SOON_SHARE):
                what = f"ended {-days:g} days ago" if days < 0 else f"ends in {days:g} days"
                code = diagnosis.EXPIRED if days < 0 else "certificate-ending"
                cause, remedy = f"{certificate['name']} {what}", _renewal(node, certificate["name"])
                yield Problem(node, "Certificate", cause, remedy, code=code)


def _renewal(node: str, name: str) -> str:
    if name.startswith("kubelet"):
        return f"the kubelet renews it by itself: salt {node} unit.journal kubelet.service"
    return f"on {node}: kubeadm certs renew all, then restart its static pods"


def _mending(node: str) -> str:
    return f"{APPLY.format(node=node)}; when that changes nothing, what the message names"
