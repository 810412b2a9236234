"""orchestrate.cluster_rebuild through salt-run, on real minions; salt-cloud is the stand-in of test_node_replace."""

from __future__ import annotations

import json
from pathlib import Path

from saltern import record
from tests.integration.jobs.conftest import parts
from tests.integration.jobs.test_node_replace import cloud
from tests.integration.jobs.test_orchestrate import returned

__all__ = ["cloud"]

JOB = "orchestrate.cluster_rebuild"


def test_the_cluster_is_made_anew_in_one_run(run_cli, cloud, standing, minions, roots):
    before = {name: {path.name for path in parts(minions, name).iterdir()} for name in minions}

    plan = run_cli.run("state.orchestrate", JOB)
    assert plan.returncode == 0, plan.stdout + plan.stderr
    told = [state["comment"] for state in returned(plan).values()]
    assert any("Rebuild of jobs: 3 nodes." in text for text in told)
    assert told[-1].startswith("would then be done as orchestrate.cluster does it")
    assert cloud.calls("-d") == [] and all(parts(minions, name).exists() for name in minions)

    result = run_cli.run("state.orchestrate", JOB, f"pillar={json.dumps({'confirm': 'jobs'})}")
    assert result.returncode == 0, result.stdout + result.stderr
    assert [call[2] for call in cloud.calls("-d")] == ["job-w", "job-m", "job-ha"]
    assert len(cloud.calls("-P")) == 1
    assert {name: {path.name for path in parts(minions, name).iterdir()} for name in minions} == before
    run = record.last_run(Path(roots, "state", "jobs"))
    assert (run["job"], run["result"]) == (JOB, "succeeded")
    assert {step["key"] for stage in run["stages"] for step in stage["steps"]} >= {"initialised", "workers joined"}
