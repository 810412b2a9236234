"""A cluster that is made anew: the confirmation, what goes, what stays, how a run that was cut off goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from saltern import machines, rebuild, record, stages
from saltern.rebuild import taken_down_at
from saltern.rows import Rows
from saltern.run import StageError
from tests.unit.saltern_job.test_replacement import PATIENT, WORKER, Played

JOB, BRING_UP = "orchestrate.cluster_rebuild", "orchestrate.cluster"
TITLES = ["Begin", "Plan", "Taken down", "Machines", "End"]


class Rebuilding(Played):
    """A cluster that runs, and a request to make it anew; the bring-up is played as far as its machines."""

    def __init__(self, directory: Path, jid: str = "7", state: Played | None = None, **pillar: object) -> None:
        super().__init__(directory, jid, state, **pillar)
        self.run.orchestration, self.run.titles = JOB, TITLES

    def work(self) -> list[Any]:
        with machines.map_of({name: row.role for name, row in self.run.cluster.nodes.items()}) as map_file:
            works = [
                lambda: rebuild.begin(self.run, self.pillar),
                lambda: rebuild.planned(self.run, self.salt_cloud),
                lambda: rebuild.taken_down(self.run, self.salt_cloud, PATIENT.gone_s),
                lambda: stages.machines(self.run, self.salt_cloud, map_file, PATIENT.made_s),
                lambda: stages.end(self.run),
            ]
            told = []
            for title, one in zip(TITLES, works, strict=True):
                told.append(self.run.do(title, one))
                if told[-1].result is False:
                    break
        return told

    def again(self, jid: str = "8", **pillar: object) -> Rebuilding:
        return Rebuilding(self.cloud.parent, jid, self, **(pillar or self.pillar))


def destroyed(scene: Rebuilding) -> list[str]:
    return [line.split()[0] for line in scene.cloud_calls("-d")]


def test_every_machine_is_made_anew_in_one_run(tmp_path):
    scene = Rebuilding(tmp_path, confirm="saw-k8s")
    before = scene.machines()
    told = scene.work()
    assert [one.result for one in told] == [True] * 5, told[-1].comment
    table = scene.run.table
    assert destroyed(scene) == [*table.workers, *table.control_plane, *table.load_balancers]
    assert set(told[3].changes) == set(before) and set(told[3].changes.values()) == {"created"}
    after = scene.machines()
    assert set(after) == set(before) and not [name for name in after if after[name]["id"] == before[name]["id"]]
    assert scene.record()["result"] == "succeeded" and scene.record()["taken_down"].startswith("20")


def test_unless_the_cluster_is_named_it_is_a_plan_and_looks_no_further(tmp_path):
    scene = Rebuilding(tmp_path)
    begun, plan, down, made, end = scene.work()
    assert (begun.result, plan.result, down.result, made.result, end.result) == (True, None, None, None, None)
    for line in (
        "Rebuild of saw-k8s: 8 nodes.",
        "  the table: this run makes the cluster anew from it",
        f"""Nothing was changed. To do it: salt-run state.orchestrate {JOB} pillar='{{"confirm": "saw-k8s"}}'""",
    ):
        assert line in plan.comment
    assert made.comment == "would then be done as orchestrate.cluster does it on machines that have just been made"
    assert scene.cloud_calls("-d") == scene.cloud_calls("-P") == scene.cloud_calls("-Q") == []
    assert scene.master.closed and list((scene.state / "saw-k8s" / "runs").iterdir()) == []


@pytest.mark.parametrize(
    ("pillar", "said"),
    [
        ({"confirm": "other"}, """to take this cluster down it has to be its name: pillar='{"confirm": "saw-k8s"}'"""),
        ({"confirm": "saw-k8s", "keep_machines": True}, "keep_machines is for orchestrate.cluster_remove"),
    ],
)
def test_a_request_that_is_no_rebuild_of_this_cluster_is_refused(tmp_path, pillar, said):
    scene = Rebuilding(tmp_path, **pillar)
    (told,) = scene.work()
    assert told.result is False and said in told.comment and "removal-refused.md" in told.comment


def test_rows_that_the_product_wrote_are_made_anew_too(tmp_path):
    scene = Rebuilding(tmp_path, confirm="saw-k8s")
    row = {"role": "worker", "address": "192.168.100.160", "cpus": 2, "memory_gib": 16, "disk_gib": 20}
    rows = Rows(scene.state, "saw-k8s")
    rows.add("saw-k8s-w-05", row)
    scene.cloud.write_text(json.dumps(scene.machines() | {"saw-k8s-w-05": {"id": 150, "state": "running"}}))
    scene.run.reread()
    told = scene.work()
    assert "rows that the product wrote" not in told[1].comment
    assert list(rows.rows()) == ["saw-k8s-w-05"] and told[3].changes["saw-k8s-w-05"] == "created"
    assert "saw-k8s-w-05 saw-k8s-w-05" in scene.cloud_calls("-d"), "the driver is told that the row stays"


def test_one_that_failed_when_the_machines_were_gone_does_not_take_them_down_again(tmp_path):
    scene = Rebuilding(tmp_path, confirm="saw-k8s")
    (tmp_path / "storage-full").touch()
    assert "the storage is full" in scene.work()[-1].comment
    (tmp_path / "storage-full").unlink()
    gone = destroyed(scene)

    later = scene.again()
    told = later.work()
    assert [one.result for one in told] == [True] * 5, told[-1].comment
    assert told[1].comment.startswith("goes on: saw-k8s was taken down at 20")
    assert destroyed(later) == gone
    # Records are dropped one day: each says it anew.
    assert record.read(later.run.directory, "8")["taken_down"] == record.read(later.run.directory, "7")["taken_down"]

    once_more = later.again("9")
    assert [one.result for one in once_more.work()] == [True] * 5
    assert destroyed(once_more) == gone + gone, "one that ended well is no reason to spare the cluster the next time"


def test_one_that_was_killed_while_machines_went_takes_down_the_rest(tmp_path):
    scene = Rebuilding(tmp_path, confirm="saw-k8s")
    rebuild.begin(scene.run, scene.pillar)
    rebuild.planned(scene.run, scene.salt_cloud)
    left = {name: row for name, row in scene.machines().items() if name != WORKER}
    scene.cloud.write_text(json.dumps(left))
    scene.run.close(record.INTERRUPTED)
    later = scene.again()
    assert [one.result for one in later.work()] == [True] * 5
    assert set(destroyed(later)) == set(left)


def run(job: str, result: str, at: str = "") -> dict[str, str]:
    return {"job": job, "result": result} | ({"taken_down": at} if at else {})


@pytest.mark.parametrize(
    ("runs", "at"),
    [
        ([], ""),
        ([run(JOB, "failed")], ""),  # refused, or cut off before the last machine was gone
        ([run(JOB, "failed", "then")], "then"),
        ([run(BRING_UP, "failed"), run("orchestrate.node_add", "succeeded"), run(JOB, "interrupted", "then")], "then"),
        ([run(BRING_UP, "succeeded"), run(JOB, "failed", "then")], ""),
        ([run(JOB, "succeeded", "later"), run(JOB, "failed", "then")], ""),
    ],
)
def test_a_cluster_is_down_until_it_has_been_brought_up(runs, at):
    assert taken_down_at(runs, JOB) == at


def test_stages_in_the_wrong_order_are_a_message(tmp_path):
    scene = Rebuilding(tmp_path)
    with pytest.raises(StageError, match="nothing was asked for"):
        rebuild.planned(scene.run, scene.salt_cloud)
