"""orchestrate.node_add through salt-run, on real minions: who is asked, what is changed, what is said."""

from __future__ import annotations

import json
import shutil

import pytest

from saltern import record
from tests.integration.jobs.conftest import parts
from tests.integration.jobs.test_orchestrate import returned


@pytest.fixture
def add(run_cli, standing, minions):
    """A cluster that has lost its worker; (pillar, arguments) -> the result of orchestrate.node_add."""
    shutil.rmtree(parts(minions, "job-w"))

    def added(pillar: dict, *args: str):
        return run_cli.run("state.orchestrate", "orchestrate.node_add", f"pillar={json.dumps(pillar)}", *args)

    return added


def changed(result: object) -> dict[str, set[str]]:
    """{node: the states that changed something} of an orchestration."""
    found: dict[str, set[str]] = {}
    for state in returned(result).values():
        for node, items in state["changes"].items():
            found.setdefault(node, set()).update(items)
    return found


def test_a_worker_is_added_and_a_second_time_nothing_is_changed(add, minions, roots):
    result = add({"node": "job-w"})
    assert result.returncode == 0, result.stdout + result.stderr
    whole = {"os", "binaries", "crio", "kubelet", "kubeconfig:endpoints", "kubeadm:joined", "cilium:node"}
    assert {path.name for path in parts(minions, "job-w").iterdir()} >= whole
    assert "job-ha" not in changed(result)
    run = record.last_run(roots / "state" / "jobs")
    assert (run["job"], run["result"]) == ("orchestrate.node_add", "succeeded")

    again = add({"node": "job-w"})
    assert (again.returncode, changed(again)) == (0, {})


def test_a_dry_run_says_what_would_be_done_and_does_nothing(add, minions):
    told = "\n".join(state["comment"] for state in returned(add({"node": "job-w"}, "test=True")).values())
    assert "would do: Preparation of workers: job-w" in told
    assert "would do: Worker join: job-w (not a member yet)" in told
    assert not parts(minions, "job-w").exists()


def test_names_that_cannot_be_added_are_told_all_at_once(add):
    result = add({"nodes": ["job-w", "job-ha", "stranger"]})
    assert result.returncode == 1
    (said,) = [state["comment"] for state in returned(result).values() if state["result"] is False]
    assert "job-ha: Addition: is a load balancer" in said
    assert "stranger: Addition: has no row in the table" in said
