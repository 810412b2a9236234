"""A worker comes by one command and goes by another, while the service is asked on and on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from saltern.model import Cluster

from .lab_shell import Shell
from .probe import Probe, wait_until

NAME = "saw-k8s-w-05"
ADDED_S = 300  # a bound for a broken run, no aim: docs/performance.md has the figures
# MetalLB announces a service's address from one node, and chooses anew when a node comes or goes: what is on its way at
# that moment may be lost, once for each of both.
LOST_WHEN_THE_ADDRESS_MOVES = 2

ON_THE_NEW_NODE = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "on-the-new-node", "namespace": "default"},
}


@pytest.fixture(scope="module")
def web(shell: Shell) -> Iterator[Probe]:
    """The verification service, asked from outside while this file's tests run."""
    service = shell.kubectl("-n", "saltern-verification", "get", "service", "web")
    with Probe(shell, f"http://{service['status']['loadBalancer']['ingress'][0]['ip']}/") as probe:
        yield probe


@pytest.fixture(scope="module")
def further_worker(shell: Shell, web: Probe) -> Iterator[str]:
    """A worker that is not in the operator's table, made by one command; gone afterwards, whatever happened."""
    begin = time.monotonic()
    made = shell.run("salt-cloud", "-p", "worker", NAME, timeout_s=300)
    made_s = time.monotonic() - begin
    print(f"{NAME}: machine after {made_s:.0f} s")
    wait_until(f"{NAME} is Ready\n{made.stdout}{log_of(shell)}", lambda: is_ready(shell, NAME), ADDED_S)
    print(f"{NAME}: Ready after {time.monotonic() - begin:.0f} s")
    yield NAME
    if NAME in shell.run("salt-cloud", "-Q", "--out=json").stdout:
        shell.run("salt-cloud", "-y", "-d", NAME, timeout_s=120)
    shell.run("kubectl", "delete", "node", NAME, "--ignore-not-found", timeout_s=60)


def log_of(shell: Shell) -> str:
    """The end of what the reactor's orchestration printed."""
    log = directory(shell) / "node_add.log"
    return log.read_text()[-3000:] if log.exists() else ""


def directory(shell: Shell) -> Path:
    """Where the product keeps what it knows of the cluster: runs, rows, the log of additions."""
    return Path(shell.environment["SALTERN_STATE"]) / "saw-k8s"


def is_ready(shell: Shell, name: str) -> bool:
    """Whether the Node is there and Ready."""
    for node in shell.kubectl("get", "nodes")["items"]:
        if node["metadata"]["name"] == name:
            return any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"]["conditions"])
    return False


def last_addition(shell: Shell) -> dict[str, Any] | None:
    """The record of the newest orchestrate.node_add, None before there is one."""
    runs = shell.json("salt-run", "--out=json", "cluster.history")
    return next((run for run in runs if run["job"] == "orchestrate.node_add"), None)


def test_a_further_worker_is_made_ready_by_one_command(shell: Shell, table: Cluster, further_worker: str) -> None:
    machine = shell.json("salt-cloud", "-F", "--out=json")["my-proxmox-config"]["proxmox"][further_worker]
    assert machine["state"] == "running"
    assert machine["private_ips"] == [str(table.settings.worker_range.first)]
    isos = shell.run("salt-cloud", "--list-images", "my-proxmox-config").stdout
    assert "seed" not in isos, f"a seed image with a minion's key is still in Proxmox: {isos}"


def test_the_addition_is_recorded_and_touched_nobody_else(shell: Shell, table: Cluster, further_worker: str) -> None:
    def ended() -> bool:
        run = last_addition(shell)
        return run is not None and run["result"] == "succeeded"

    wait_until("the addition is recorded as succeeded", ended, deadline_s=60)
    run = shell.json("salt-run", "--out=json", "cluster.show_run")
    asked = {node for stage in run["stages"] for step in stage["steps"] for node in step["nodes"]}
    # The control plane is asked what it is; all else is between the new worker and one of it.
    assert asked <= {further_worker, *(row.name for row in table.control_plane)}, run["stages"]


def test_the_new_worker_runs_pods(shell: Shell, table: Cluster, further_worker: str) -> None:
    chosen = {"nodeName": further_worker, "terminationGracePeriodSeconds": 0}
    container = {"name": "web", "image": table.verification.image, "args": ["pause"]}
    pod = ON_THE_NEW_NODE | {"spec": chosen | {"containers": [container]}}
    shell.run("bash", "-c", 'kubectl apply -f - <<< "$0"', json.dumps(pod))
    shell.run("kubectl", "wait", "--for=condition=Ready", "pod/on-the-new-node", "--timeout=60s", timeout_s=90)
    shell.run("kubectl", "delete", "pod/on-the-new-node", "--timeout=30s")


def test_a_second_state_run_changes_nothing_on_it(shell: Shell, further_worker: str) -> None:
    states = shell.salt(further_worker, "state.apply")[further_worker]
    assert {key: state for key, state in states.items() if state["changes"] or not state["result"]} == {}


def test_it_goes_without_a_trace_and_the_service_went_on(
    shell: Shell, table: Cluster, further_worker: str, web: Probe
) -> None:
    row = directory(shell) / "nodes.d" / f"{further_worker}.yml"
    assert row.exists()
    pillar = f'pillar={{"node": "{further_worker}", "confirm": true}}'
    shell.run("salt-run", "state.orchestrate", "orchestrate.node_remove", pillar, timeout_s=300)
    assert further_worker not in shell.run("salt-key", "-L").stdout
    assert further_worker not in shell.run("salt-cloud", "-Q", "--out=json").stdout
    names = {node["metadata"]["name"] for node in shell.kubectl("get", "nodes")["items"]}
    assert names == {row.name for row in table.kubernetes_nodes}
    assert not row.exists()
    assert web.answered > 50 and web.failed <= LOST_WHEN_THE_ADDRESS_MOVES, f"web service: {web}"
    print(f"web service meanwhile: {web}")
