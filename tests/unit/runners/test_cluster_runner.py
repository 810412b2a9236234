"""The runner's functions on a fake master: what they return, and that a failure is one to salt-run."""

from __future__ import annotations

import importlib.util
import json
import stat
from pathlib import Path

import pytest

from saltern import definition, node_pillar, record
from tests.salt_node import load
from tests.unit.saltern.definitions import overlaid
from tests.unit.saltern_job.fakes import Clock, FakeMaster, Reaction

CHECKOUT = Path(__file__).parents[3]
MEMBER = {"joined": True, "healthy": True, "foreign": None}
SYNC = "saltutil.sync_modules,saltutil.sync_states,saltutil.refresh_pillar"
NODES = {
    name: {"ready": True, "reason": "", "version": "v1.36.4"}
    for name in (*(f"saw-k8s-m-0{n}" for n in (1, 2, 3)), *(f"saw-k8s-w-0{n}" for n in (1, 2, 3, 4)))
}
STATUS = CHECKOUT / "tests" / "unit" / "saltern_job" / "captured" / "node-status.json"


class Runner:
    """The runner's module, loaded as Salt's loader does, with a fake master behind it."""

    def __init__(self, directory: Path) -> None:
        spec = importlib.util.spec_from_file_location("cluster_under_test", CHECKOUT / "_runners" / "cluster.py")
        self.module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.module)
        self.clock = Clock()
        self.master = FakeMaster(self.clock)
        self.opts = {
            "conf_file": "/etc/salt/master",
            "gather_job_timeout": 5,
            "module_dirs": [str(CHECKOUT / "salt")],
            "extension_modules": str(directory / "extmods"),
            "saltern": {
                "pillar_dirs": [str(path) for path in overlaid(directory)],
                "state_dir": str(directory / "state"),
            },
        }
        vars(self.module).update(
            __opts__=self.opts, __utils__={"saltern_bus.transport": lambda conf_file: self.master}, __salt__={}
        )
        original = self.module.Run
        vars(self.module)["Run"] = lambda **rest: original(**rest, clock=self.clock, report=lambda line: None)
        self.state = directory / "state" / "saw-k8s"
        self.master.accepted = set(NODES) | {"saw-k8s-ha-01"}
        self.master.react("*", SYNC, Reaction({"saltutil.sync_modules": [], "saltutil.sync_states": []}))
        self.master.react("*", "sys.list_functions", Reaction(["preflight.findings"]))
        self.master.react("*", "preflight.findings", Reaction({"findings": []}))
        self.master.react("*", "kubeadm.status", Reaction(MEMBER))
        self.master.react("*", "kube.nodes", Reaction(NODES))


@pytest.fixture
def runner(tmp_path):
    return Runner(tmp_path)


def test_validate_a_valid_definition(runner):
    assert runner.module.validate() == {"valid": "saw-k8s: 8 nodes", "warnings": []}


def test_validate_tells_all_errors(runner, tmp_path):
    (tmp_path / "overlay" / "cluster.sls").write_text("cluster: {pod_cidr: 10.0.0.0/14, nonsense: 1}\n")
    told = runner.module.validate()
    assert told["retcode"] == 1 and len(told["errors"]) >= 2


def test_preflight(runner):
    assert "nothing stands in the way on 8 nodes" in runner.module.preflight()["data"]


def test_preflight_with_findings_fails(runner):
    found = {"code": "port-taken", "what": "port 6443 taken", "where": "w", "why": "y", "remedy": "r"}
    runner.master.react("saw-k8s-m-01", "preflight.findings", Reaction({"findings": [found]}))
    told = runner.module.preflight()
    assert told["retcode"] == 1 and "saw-k8s-m-01: Preflight: port 6443 taken" in told["error"]
    assert "problems" not in told
    runner.opts["output"] = "json"
    (problem,) = runner.module.preflight()["problems"]
    assert (problem["node"], problem["code"], problem["remedy"]) == ("saw-k8s-m-01", "port-taken", "r")


def test_plan_changes_nothing(runner):
    told = runner.module.plan()
    assert told["outputter"] == "txt" and "Preparation of worker members" in told["data"]
    assert not runner.master.calls("state.apply") and not runner.master.calls(SYNC)


def test_plan_as_data(runner):
    runner.opts["output"] = "json"
    assert {step["stage"] for step in runner.module.plan()} >= {"prepared", "serving"}


def statuses(runner):
    """Nodes that answer as those of a real, healthy cluster did."""
    cluster = definition.load([Path(path) for path in runner.opts["saltern"]["pillar_dirs"]])
    fingerprint = load(CHECKOUT / "_modules" / "last_apply.py", {}).fingerprint
    for name, facts in json.loads(STATUS.read_text()).items():
        pillar = fingerprint(node_pillar.build(cluster, name)["saltern"])
        facts["applied"] |= {"succeeded": True, "failed": [], "pillar": pillar}
        runner.master.react(name, "node_status.facts", Reaction(facts, after_s=0.5))


def test_status_of_a_healthy_cluster(runner):
    statuses(runner)
    told = runner.module.status()
    assert set(told) == {"data", "outputter"}  # else Salt prints it as it is
    assert told["data"]["retcode"] == 0
    printed = load(CHECKOUT / "_output" / f"{told['outputter']}.py", {}).output(told["data"])
    assert printed.startswith("saw-k8s: healthy. Kubernetes 1.36.4")
    assert len(runner.master.sent) == 1


def test_status_of_a_cluster_that_is_not_healthy(runner):
    statuses(runner)
    runner.master.react("saw-k8s-w-01", "*", Reaction(silent=True, alive=False))
    told = runner.module.status(wait_s=2)["data"]
    assert told["retcode"] == 1 and "saw-k8s-w-01: Minion: no answer within 2 s" in told["text"]
    assert runner.clock.now == pytest.approx(2)


def test_status_as_data(runner):
    statuses(runner)
    runner.opts["output"] = "json"
    assert runner.module.status()["healthy"] is True
    runner.master.react("saw-k8s-w-01", "*", Reaction(silent=True, alive=False))
    told = runner.module.status()
    assert (told["retcode"], told["healthy"]) == (1, False)


def test_no_status_without_a_master(runner):
    runner.master.refuses = "no Salt master listens"
    told = runner.module.status()
    assert told["retcode"] == 1 and told["error"].startswith("no Salt master listens")


def test_one_control_plane_node_that_answers_is_enough(runner):
    runner.master.react("saw-k8s-m-01", "*", Reaction(silent=True, alive=False))
    runner.master.react("saw-k8s-m-02", "kube.nodes", Reaction("API does not answer", ok=False))
    assert "saw-k8s-m-01" in runner.module.summary()["data"]


def test_no_control_plane_node_that_answers_is_a_failure(runner):
    runner.master.react("*", "kube.nodes", Reaction("API does not answer", ok=False))
    told = runner.module.summary()
    assert told["retcode"] == 1 and told["error"].count("API does not answer") == 3


def test_summary_of_the_last_run(runner):
    run = record.Record.open(record.cluster_dir(runner.state.parent, "saw-k8s"), "orchestrate.cluster", "1")
    run.stage("Nodes are prepared", 0, 31, record.SUCCEEDED)
    run.close(record.SUCCEEDED, 200)
    assert "Nodes are prepared  31.0" in runner.module.summary()["data"]
    runner.opts["output"] = "json"
    assert runner.module.summary()["run"]["seconds"] == 200
    json.dumps(runner.module.summary())


def recorded(runner, *jids):
    """Runs that succeeded."""
    for jid in jids:
        run = record.Record.open(record.cluster_dir(runner.state.parent, "saw-k8s"), "orchestrate.cluster", jid)
        run.stage("Nodes are prepared", 0, 31, record.SUCCEEDED, changed={"saw-k8s-w-01": ["created"]})
        run.close(record.SUCCEEDED, 200)


def test_the_history_is_newest_first_and_bounded(runner):
    assert runner.module.history()["data"] == "no run is recorded yet"
    recorded(runner, "1", "2", "3")
    assert [line.split()[0] for line in runner.module.history(limit=2)["data"].splitlines()] == ["RUN", "3", "2"]
    runner.opts["output"] = "json"
    assert [(row["id"], row["changed_nodes"]) for row in runner.module.history(limit=0)] == [
        ("3", 1), ("2", 1), ("1", 1),
    ]  # fmt: skip
    assert runner.master.sent == []


def test_a_run_is_shown_the_last_one_by_default(runner):
    assert "no run is recorded in" in runner.module.show_run()["error"]
    recorded(runner, "1", "2")
    assert runner.module.show_run()["data"].startswith("Run 2: ")
    # Salt's command line reads digits as a number.
    assert runner.module.show_run(1)["data"].startswith("Run 1: ")
    assert runner.module.show_run("3")["retcode"] == 1
    runner.opts["output"] = "json"
    assert runner.module.show_run()["stages"][0]["seconds"] == 31


@pytest.fixture
def sealing(runner):
    """Control-plane nodes that seal a kubeconfig with the product's own module."""
    import salt.loader

    seal = salt.loader.raw_mod(runner.opts, "sealed", functions={})["sealed.seal"]
    reaction = Reaction(lambda kwarg: seal(kwarg["public_key"], {"kubeconfig": "apiVersion: v1\n"}))
    runner.master.react("*", "kubeadm.admin_kubeconfig", reaction)
    return runner


def test_kubeconfig_into_a_private_file(sealing, tmp_path):
    path = tmp_path / "kube" / "config"
    told = sealing.module.kubeconfig(str(path))
    assert path.read_text() == "apiVersion: v1\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert told["data"] == f"{path}: written, for https://192.168.100.150:6443"


@pytest.mark.parametrize(("path", "why"), [("taken", "Is a directory"), ("file/config", "File exists")])
def test_a_kubeconfig_that_cannot_be_written_says_why_and_leaves_nothing(sealing, tmp_path, path, why):
    (tmp_path / "taken").mkdir()
    (tmp_path / "file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    told = sealing.module.kubeconfig(str(tmp_path / path))
    assert told["retcode"] == 1
    assert told["error"].startswith(f"Kubeconfig: {tmp_path / path} cannot be written: {why}")
    assert "salt-run cluster.kubeconfig path=FILE" in told["error"]
    assert sorted(tmp_path.rglob("*")) == before


def test_kubeconfig_to_standard_output_is_not_in_the_return(sealing, capsys):
    told = sealing.module.kubeconfig()
    assert capsys.readouterr().out == "apiVersion: v1\n"
    assert told == {"data": "", "outputter": "told"}


def test_the_connection_is_closed(runner):
    runner.module.summary()
    assert runner.master.closed
