"""What an operator reads about a cluster: summary, plan, status. Data in, text out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from saltern.inquiry import Answers
from saltern.job import seconds_text
from saltern.model import Cluster
from saltern.parts import Node
from saltern.standing import Standing, running_versions
from saltern.steps import Problem, Step, listed

NEXT_COMMANDS = (
    ("how it stands", "salt-run cluster.status"),
    ("a kubeconfig of your own", "salt-run cluster.kubeconfig path=$HOME/.kube/config"),
    ("another worker", "salt-cloud -p worker NAME"),
    ("correct drift", "salt '*' state.apply"),
    ("the same run again", "salt-run state.orchestrate orchestrate.cluster"),
)


def table(rows: Sequence[Sequence[Any]], indent: str = "  ") -> str:
    """Rows as aligned columns; the first row is the head."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in texts) for column in range(len(texts[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in texts)
    return "\n".join(indent + line for line in lines)


def summary(cluster: Cluster, nodes: Mapping[str, Mapping[str, Any]], run: Mapping[str, Any] | None) -> str:
    """The end of a bring-up: nodes, versions, endpoint, time per stage, what is switched off, what to type next.

    Args:
        cluster: the definition.
        nodes: as ``kube.nodes`` reports them: name -> {ready, version, ...}.
        run: the record of the last orchestrate.cluster, if there is one.
    """
    parts = [
        f"{cluster.name}: Kubernetes {cluster.versions.kubernetes}, API at https://{cluster.endpoint}",
        table([("NODE", "ROLE", "ADDRESS", "READY", "KUBELET"), *_node_rows(cluster, nodes)]),
        versions(cluster),
    ]
    if run:
        took = f"{seconds_text(run.get('seconds', 0))} minutes"
        parts.append(f"Last run: {run['result']}, {run['started']}, {took}, {changes_text(run)}")
        parts.append(table([("STAGE", "SECONDS"), *((s["title"], f"{s['seconds']:.1f}") for s in run["stages"])]))
    if off := switched_off(cluster):
        parts.append(f"Switched off in this definition: {', '.join(off)}")
    parts.append("What to type next:\n" + table([(f"{what}:", command) for what, command in NEXT_COMMANDS]))
    return "\n\n".join(parts)


def changes_text(run: Mapping[str, Any]) -> str:
    """What a recorded run changed, in a few words: machines made and modules handed out count as well as states."""
    changed = changes(run)
    if not changed:
        return "nothing changed"
    return f"{sum(map(len, changed.values()))} changes on {len(changed)} nodes"


def changes(run: Mapping[str, Any]) -> dict[str, list[str]]:
    """What a recorded run changed: {node: [state IDs, and what no state did]}, nodes without a change left out."""
    found: dict[str, list[str]] = {}
    for stage in run["stages"]:
        for node, items in stage.get("changed", {}).items():
            found.setdefault(node, []).extend(items)
        for step in stage.get("steps", []):
            for node, facts in step["nodes"].items():
                found.setdefault(node, []).extend(facts["changed"])
    return {node: items for node, items in found.items() if items}


def history_row(run: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the history, as data, from a record."""
    return {
        "id": run["jid"],
        "job": run["job"],
        "who": run.get("user", ""),
        "when": run["started"],
        "seconds": run.get("seconds"),
        "result": run["result"],
        "changed_nodes": len(changes(run)),
    }


def history(rows: Sequence[Mapping[str, Any]]) -> str:
    """The recorded runs as a table."""
    if not rows:
        return "no run is recorded yet"
    head = ("RUN", "JOB", "WHO", "WHEN", "DURATION", "RESULT", "CHANGED NODES")
    cells = [(*list(row.values())[:4], duration_text(row["seconds"]), *list(row.values())[5:]) for row in rows]
    return table([head, *cells], indent="")


def duration_text(seconds: float | None) -> str:
    """How long a run took, "?" of one that could not say so."""
    return "?" if seconds is None else seconds_text(seconds)


def run(data: Mapping[str, Any]) -> str:
    """What one recorded run did: stages and steps with their times, changes on each node, problems."""
    who = f"{data['job']} by {data.get('user') or 'somebody'}, {data['started']}"
    ended = f", last sign of it {data['last_sign']}" if "last_sign" in data else ""
    took = f" after {duration_text(data['seconds'])} minutes" if "seconds" in data else ""
    parts = [f"Run {data['jid']}: {who}\n{data['result']}{took}{ended}; {changes_text(data)}"]
    if data.get("versions"):
        parts.append("Versions: " + ", ".join(f"{name} {version}" for name, version in data["versions"].items()))
    if data["stages"]:
        rows = [row for stage in data["stages"] for row in _stage_rows(stage)]
        parts.append(table([("AT", "SECONDS", "STAGE OR STEP", "RESULT", "NODES"), *rows], indent=""))
    changed = [f"{node}: {', '.join(items)}" for node, items in changes(data).items()]
    parts += ["Changes\n" + "\n".join(f"  {line}" for line in changed)] if changed else []
    problems = listed([_problem(problem) for problem in data["problems"]])
    parts += ["Problems\n" + "\n".join(f"  {text}" for text in problems)] if problems else []
    return "\n\n".join(parts)


def _problem(data: Mapping[str, str]) -> Problem:
    """A recorded problem; what another version of this product wrote besides is left out, and it may have no code."""
    names = {field.name for field in fields(Problem)} - {"code"}
    return Problem(**{key: value for key, value in data.items() if key in names}, code=data.get("code", ""))


def _stage_rows(stage: Mapping[str, Any]) -> Iterable[tuple[str, ...]]:
    """A stage and, indented, the steps that ended in it; of each step its slowest node."""
    nodes = ", ".join(stage.get("changed", {}))
    yield seconds_text(stage["started_s"]), f"{stage['seconds']:.1f}", stage["title"], stage["result"], nodes
    for step in stage.get("steps", []):
        times = {node: facts["seconds"] for node, facts in step["nodes"].items()}
        slowest = f"{len(times)}, slowest {max(times, key=lambda n: times[n])}" if len(times) > 1 else ", ".join(times)
        yield seconds_text(step["started_s"]), f"{step['seconds']:.1f}", f"  {step['title']}", "", slowest


def _node_rows(cluster: Cluster, nodes: Mapping[str, Mapping[str, Any]]) -> Iterable[tuple[str, ...]]:
    for name, row in cluster.nodes.items():
        seen = nodes.get(name)
        if row.role == "load_balancer":
            ready, version = "-", "-"
        else:
            ready = "yes" if seen and seen["ready"] else "no"
            version = str(seen["version"]) if seen else "not registered"
        yield name, row.role, str(row.address), ready, version


def versions(cluster: Cluster) -> str:
    """The versions of what was installed, on one line."""
    enabled = {n: a.version for n, a in cluster.versions.artefacts.items() if n not in cluster.artefacts.disabled}
    return "Versions: " + ", ".join(f"{name} {version}" for name, version in sorted(enabled.items()))


def switched_off(cluster: Cluster) -> list[str]:
    """What the definition leaves out, each with the key that does."""
    off = [f"{name} (artefacts.disabled)" for name in cluster.artefacts.disabled]
    return off if cluster.verification.enabled else [*off, "the test service (verification.enabled)"]


def plan(steps: Sequence[Step]) -> str:
    """The steps of a bring-up: what, on which nodes, after what, why."""
    rows = [
        (step.stage, step.title, ", ".join(step.targets), ", ".join(step.after) or "-", step.reason or "-")
        for step in steps
    ]
    return table([("STAGE", "STEP", "NODES", "AFTER", "WHY"), *rows])


def plan_data(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """The same as data."""
    return [
        {"stage": s.stage, "step": s.title, "nodes": list(s.targets), "after": list(s.after), "why": s.reason}
        for s in steps
    ]


def status(stands: Standing) -> str:
    """How the cluster stands: a table of nodes, a line for each other matter, then everything that is wrong."""
    cluster, facts = stands.cluster, stands.answers
    verdict = "healthy" if stands.healthy else f"NOT healthy: {_count(len(stands.problems), 'problem')}, see below"
    parts = [
        f"{cluster.name}: {verdict}. Kubernetes {cluster.versions.kubernetes}, API at https://{cluster.endpoint}",
        table([STATUS_HEAD, *(_status_row(stands, row) for row in cluster.nodes.values())]),
        "\n".join([_etcd_line(facts), *_balancer_lines(stands), _chart_line(facts), _pod_line(facts)]),
    ]
    problems = [f"  {text}" for text in listed(stands.problems)]
    parts += ["What is wrong\n" + "\n".join(problems)] if problems else []
    return "\n\n".join(parts)


STATUS_HEAD = ("NODE", "ROLE", "READY", "KUBELET", "CRI-O", "SYSTEM", "KERNEL", "DRIFT", "CERTIFICATES")


def _status_row(stands: Standing, row: Node) -> tuple[str, ...]:
    told = node_status(stands, row)
    certificate = told["certificate"]
    drift = {None: "?", 0: "none"}.get(told["drift"]) or _count(told["drift"], "state")
    ends = f"{certificate['days']:.0f} d ({certificate['name']})" if certificate else "-"
    words = [told[key] or "-" for key in ("ready", "kubelet", "CRI-O", "os", "kernel")]
    return row.name, row.role, *words, drift, ends


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def node_status(stands: Standing, row: Node) -> dict[str, Any]:
    """What is known of one node: Ready, versions, drifted states (None: not known), the certificate that ends first."""
    facts = stands.answers.facts.get(row.name, {})
    seen = (stands.answers.cluster or {"nodes": {}})["nodes"].get(row.name)
    versions = running_versions(seen)
    certificates = facts.get("certificates") or [None]
    return {
        "role": row.role,
        "answers": bool(facts),
        "ready": _ready(stands, row, seen),
        "kubelet": versions.get("kubelet"),
        "CRI-O": versions.get("CRI-O"),
        "haproxy": facts.get("haproxy"),
        "os": facts.get("os"),
        "kernel": facts.get("kernel"),
        "drift": len(facts["drift"]) if "drift" in facts else None,
        "applied": (facts.get("applied") or {}).get("time"),
        "certificate": certificates[0],
    }


def _ready(stands: Standing, row: Node, seen: Mapping[str, Any] | None) -> str | None:
    """Of a Kubernetes node what the cluster says; None of a load balancer, "?" when nobody could be asked."""
    if row.role == "load_balancer":
        return None
    if stands.answers.cluster is None:
        return "?"
    return "yes" if seen and seen["ready"] else "no"


def _etcd_line(facts: Answers) -> str:
    own = {node: told["etcd"] for node, told in facts.facts.items() if "etcd" in told}
    leaders = sorted({node for node, told in own.items() if told["id"] == told["leader"]})
    if facts.members is None:
        return "etcd: its members are not known"
    healthy = sum(member["healthy"] and not member["learner"] for member in facts.members)
    version = next(iter(own.values()))["version"] if own else "?"
    led = f"leader {', '.join(leaders)}" if leaders else "leader not known"
    return f"etcd {version}: {healthy} of {len(facts.members)} members healthy, {led}"


def _balancer_lines(stands: Standing) -> Iterable[str]:
    for row in stands.cluster.load_balancers:
        told = stands.answers.facts.get(row.name, {})
        up: dict[str, list[bool]] = {}
        for server in told.get("backends", []):
            if server["status"] != "no check":
                up.setdefault(server["backend"], []).append(server["status"].startswith("UP"))
        counts = ", ".join(f"{name} {sum(servers)} of {len(servers)} servers up" for name, servers in up.items())
        servers = counts or "its servers are not known"
        yield f"{row.name}: HAProxy {told.get('haproxy', '?')}, {servers}{_holding(stands.cluster, told)}"


def _holding(cluster: Cluster, told: Mapping[str, Any]) -> str:
    """Of a load balancer that shares an address, whether it has it now."""
    address = cluster.settings.virtual_address
    if address is None:
        return ""
    words = {True: f"has {address}", False: "stands by"}
    return f", {words.get(told.get('holds_address', ''), f'whether it has {address} is not known')}"


def _chart_line(facts: Answers) -> str:
    if facts.cluster is None:
        return "charts: not known"
    charts = [f"{release['name']} {release['version']} {release['status']}" for release in facts.cluster["charts"]]
    return f"charts: {', '.join(charts) or 'none'}"


def _pod_line(facts: Answers) -> str:
    if facts.cluster is None:
        return "pods: not known"
    pods = facts.cluster["pods"]
    return f"pods: {pods['total']}, {len(pods['not_ready']) or 'none'} not ready"


def status_data(stands: Standing) -> dict[str, Any]:
    """The same as data, and all that the nodes said."""
    cluster, facts = stands.cluster, stands.answers
    seen = facts.cluster or {}
    return {
        "cluster": cluster.name,
        "endpoint": str(cluster.endpoint),
        "healthy": stands.healthy,
        "problems": [asdict(problem) for problem in stands.problems],
        "nodes": {name: node_status(stands, row) | _details(facts, name) for name, row in cluster.nodes.items()},
        "etcd": {"members": facts.members},
        "charts": seen.get("charts"),
        "pods": seen.get("pods"),
    }


def _details(facts: Answers, node: str) -> dict[str, Any]:
    """Of a node, what only data has room for."""
    told = facts.facts.get(node, {})
    kept = ("installed", "drift", "certificates", "backends", "holds_address", "etcd")
    details = {f"{key}_details" if key == "drift" else key: told[key] for key in kept if key in told}
    return details | {"components": (facts.cluster or {}).get("components", {}).get(node, {})}
