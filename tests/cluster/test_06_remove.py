"""A worker leaves the cluster and comes back: the plan, what stops it, the removal, the web service meanwhile."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from saltern.model import Cluster

from .lab_shell import Shell
from .probe import Probe, wait_until
from .test_02_failover import node_is_ready

NODE = "saw-k8s-w-04"
# A pod of the node that may not be away: its budget wants the one replica that there is.
HELD = f"""
apiVersion: v1
kind: Namespace
metadata: {{name: held}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db, namespace: held}}
spec:
  replicas: 1
  serviceName: db
  selector: {{matchLabels: {{app: db}}}}
  template:
    metadata: {{labels: {{app: db}}}}
    spec:
      nodeSelector: {{kubernetes.io/hostname: {NODE}}}
      terminationGracePeriodSeconds: 1
      containers: [{{name: db, image: "IMAGE", args: [pause]}}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{name: db, namespace: held}}
spec: {{minAvailable: 1, selector: {{matchLabels: {{app: db}}}}}}
"""


def remove(shell: Shell, **pillar: Any) -> tuple[int, dict[str, dict[str, Any]]]:
    """orchestrate.node_remove; its exit code and its stages by title."""
    done = shell.run(
        "salt-run", "--out=json", "state.orchestrate", "orchestrate.node_remove", f"pillar={json.dumps(pillar)}",
        timeout_s=300, check=False,
    )  # fmt: skip
    states = next(iter(json.loads(done.stdout[done.stdout.index("{") :])["data"].values()))
    return done.returncode, {state["__id__"]: state for state in states.values()}


def failure(stages: dict[str, dict[str, Any]]) -> str:
    """What the stage that failed says."""
    return next(state["comment"] for state in stages.values() if state["result"] is False)


def specs(shell: Shell) -> dict[str, dict[str, Any]]:
    """Specs of all nodes: what a run that only looks must leave alone."""
    return {node["metadata"]["name"]: node["spec"] for node in shell.kubectl("get", "nodes")["items"]}


@pytest.fixture
def held_pod(shell: Shell, table: Cluster) -> Iterator[None]:
    """A pod on the node that its disruption budget holds there."""
    manifest = HELD.replace("IMAGE", table.verification.image)
    subprocess.run(["kubectl", "apply", "-f", "-"], input=manifest, text=True, env=shell.environment, check=True)
    shell.run("kubectl", "-n", "held", "rollout", "status", "statefulset/db", "--timeout=60s")
    yield
    shell.run("kubectl", "delete", "namespace", "held", "--timeout=60s")


@pytest.fixture
def whole_again(shell: Shell) -> Iterator[None]:
    """Whatever the test does, the cluster is the table's again afterwards: by the command that an operator types."""
    yield
    shell.run("kubectl", "uncordon", NODE, check=False)
    shell.run("salt-run", "state.orchestrate", "orchestrate.cluster", timeout_s=600)
    wait_until(f"{NODE} is Ready again", lambda: node_is_ready(shell, NODE), deadline_s=30)


def test_a_removal_that_is_not_confirmed_only_tells(shell: Shell) -> None:
    before = specs(shell)
    code, stages = remove(shell, node=NODE)
    assert code == 0
    plan = stages["It is known who leaves, what goes and what moves"]["comment"]
    for text in (NODE, "with its disks", "minion key", "Nothing was changed", '"confirm": true', "cluster.sls:"):
        assert text in plan
    assert specs(shell) == before
    assert NODE in shell.run("salt-key", "-L").stdout
    assert shell.json("salt-cloud", "-Q", "--out=json")["my-proxmox-config"]["proxmox"][NODE]["state"] == "running"


def test_what_would_harm_the_cluster_is_refused(shell: Shell, table: Cluster) -> None:
    code, stages = remove(shell, nodes=[row.name for row in table.workers], confirm=True)
    assert code == 1 and "no worker would be left" in failure(stages)
    code, stages = remove(shell, node="saw-k8s-w-99", confirm=True)
    assert code == 1 and "neither the table, nor the cluster, nor etcd has a node of this name" in failure(stages)


def test_a_drain_that_a_budget_holds_leaves_the_node_as_it_was(shell: Shell, held_pod: None, whole_again: None) -> None:
    """Once the cordon is the removal's, and goes with it; once it is the operator's, and stays."""
    for own in (False, True):
        if own:
            shell.run("kubectl", "cordon", NODE)
        code, stages = remove(shell, node=NODE, confirm=True, drain_timeout_s=8)
        assert code == 1
        assert "held/db-0 (StatefulSet db) is held by PodDisruptionBudget db" in failure(stages)
        node = shell.kubectl("get", "node", NODE)
        assert node["spec"].get("unschedulable", False) is own
        assert not {"saltern/cordoned-by", "saltern/excluded-by"} & set(node["metadata"].get("annotations", {}))
        assert "node.kubernetes.io/exclude-from-external-load-balancers" not in node["metadata"]["labels"]


def test_a_worker_leaves_without_a_trace_and_the_service_goes_on(
    shell: Shell, table: Cluster, whole_again: None
) -> None:
    service = shell.kubectl("-n", "saltern-verification", "get", "service", "web")
    address = service["status"]["loadBalancer"]["ingress"][0]["ip"]
    with Probe(shell, f"http://{address}/") as web:
        code, stages = remove(shell, node=NODE, confirm=True)
    assert code == 0, stages
    assert web.answered > 20 and web.failed == 0, f"web service: {web}"
    print(f"web service: {web}")
    for kind in ("nodes", "ciliumnodes", "leases -n kube-node-lease"):
        names = {item["metadata"]["name"] for item in shell.kubectl("get", *kind.split())["items"]}
        assert len(names) == 6 and NODE not in names, kind
    chosen = f"--field-selector=spec.nodeName={NODE}"
    wait_until(f"no pod is of {NODE}", lambda: not shell.kubectl("get", "pods", "-A", chosen)["items"], 30)
    assert NODE not in shell.run("salt-key", "-L").stdout
    assert NODE not in shell.run("salt-cloud", "-Q", "--out=json").stdout
    assert "the next orchestrate.cluster makes the node again" in stages["The cluster has forgotten them"]["comment"]
