"""Orchestrations through salt-run, on real minions: what is printed, what is returned, the exit code."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil

from saltern import record, runbooks
from tests.integration.jobs.conftest import BRING_UP, environment, parts


def stage(title: str, function: str, /, **arguments: object) -> str:
    """One stage as SLS text."""
    lines = "".join(f"    - {key}: {value}\n" for key, value in arguments.items())
    return f"{title}:\n  stage.{function}:\n{lines}    - failhard: True\n"


def comment(result: object, title: str) -> str:
    """The comment of a stage."""
    return next(ret["comment"] for ret in returned(result).values() if ret["__id__"] == title)


def returned(result: object) -> dict[str, dict]:
    """The states of an orchestration, from salt-run --out=json."""
    return next(iter(result.data["data"].values()))


def test_progress_goes_to_standard_error_while_a_stage_runs(orchestrate):
    result = orchestrate(stage("All is slow", "applied", sls="[slow]", roles="[control_plane, worker]"))
    assert result.returncode == 0, result.stderr
    assert "stage 1/1: All is slow | begins" in result.stderr
    # "after": how far a node is by its last event; another may not have begun yet on a busy machine.
    assert re.search(r'\[0:\d\d\] .* \| All is slow [01]/2 \(.*job-[mw] 1/2 after "A first thing" \d+ s', result.stderr)
    assert "stage 1/1: All is slow | done in" in result.stderr


def test_changes_name_the_states_per_node(orchestrate):
    result = orchestrate(stage("Good", "applied", sls="[good]", nodes="[job-ha, job-w]"))
    (ret,) = returned(result).values()
    assert ret["changes"] == {"job-ha": ["Another thing has changed"], "job-w": ["Another thing has changed"]}
    assert ret["comment"] == "Good: 2 of 2"


def test_a_failed_state_stops_the_run_and_names_node_state_cause_and_command(orchestrate):
    bad, late = (stage(title, "applied", sls=f"[{title}]", roles="[worker]") for title in ("bad", "good"))
    result = orchestrate(bad + late)
    assert result.returncode == 1
    assert comment(result, "bad") == (
        'job-w: bad: "This goes wrong": the disk is full\n    next: salt-run state.orchestrate orchestrate.story'
        f"\n    see {runbooks.DIRECTORY}/state-failed.md"
    )
    assert [ret["__id__"] for ret in returned(result).values()] == ["bad"]


def test_an_sls_that_does_not_render_fails(orchestrate):
    result = orchestrate(stage("Broken", "applied", sls="[broken]", nodes="[job-w]"))
    assert result.returncode == 1
    assert "job-w: Broken: Rendering SLS" in comment(result, "Broken")


def test_a_function_that_raises_or_answers_otherwise_fails(orchestrate):
    result = orchestrate(stage("Red", "called", function="fact.colour", nodes="[job-w]", expect="red"))
    assert result.returncode == 1 and "returned 'blue', expected 'red'" in comment(result, "Red")
    result = orchestrate(stage("Refused", "called", function="fact.refuse", nodes="[job-w]"))
    assert result.returncode == 1 and "no such fact" in comment(result, "Refused")


def test_a_minion_without_accepted_key_fails(orchestrate):
    result = orchestrate(stage("Stranger", "applied", sls="[good]", nodes="[job-w, job-stranger]"))
    assert result.returncode == 1
    assert "job-stranger: Stranger: the master has no accepted key of this minion" in comment(result, "Stranger")


def test_a_minion_that_stops_answering_is_named(orchestrate, minions):
    with stopped(minions["job-w"]):
        result = orchestrate(stage("Gone", "applied", sls="[good]", nodes="[job-m, job-w]"))
    assert result.returncode == 1
    assert "job-w: Gone: its minion has not answered for" in comment(result, "Gone")
    assert "job-m" not in comment(result, "Gone")


class stopped:  # noqa: N801 - reads as a sentence with "with"
    """A minion whose processes are stopped for a while: it is connected, and silent."""

    def __init__(self, daemon: object) -> None:
        self.processes = [psutil.Process(daemon.pid), *psutil.Process(daemon.pid).children(recursive=True)]

    def __enter__(self) -> None:
        self._send(signal.SIGSTOP)

    def __exit__(self, *err: object) -> None:
        self._send(signal.SIGCONT)

    def _send(self, number: int) -> None:
        for process in self.processes:
            with suppress(psutil.NoSuchProcess):  # a job's process may just have ended
                process.send_signal(number)


def test_minions_get_pillar_from_the_definition(orchestrate):
    result = orchestrate(stage("Role", "called", function="fact.role", nodes="[job-w]", expect="worker"))
    assert result.returncode == 0, comment(result, "Role")


def test_a_whole_bring_up_then_nothing_to_do(orchestrate, fresh, web, roots):
    result = orchestrate(BRING_UP)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "unclosed" not in result.stderr  # Salt's warnings about itself
    data = record.last_run(roots / "state" / "jobs")
    assert data["result"] == "succeeded" and data["job"] == "orchestrate.cluster"
    assert {step["key"] for s in data["stages"] for step in s["steps"]} >= {"initialised", "workers joined", "metallb"}
    assert "sealed for" not in json.dumps(data)

    again = orchestrate(BRING_UP)
    assert again.returncode == 0
    assert [ret["changes"] for ret in returned(again).values()] == [{}] * len(returned(again))


def test_test_mode_changes_nothing_and_says_what_would_be_done(orchestrate, fresh, minions):
    result = orchestrate(BRING_UP, "test=True")
    told = "\n".join(ret["comment"] for ret in returned(result).values())
    assert "would do: kubeadm init: job-m (no control-plane node has the cluster)" in told
    assert "would do: Worker join: job-w" in told
    assert not [name for name in minions if parts(minions, name).exists()]


def test_a_dry_run_foresees_what_a_run_then_changes(orchestrate, standing, minions):
    """On a cluster that is whole nothing; on one of which something is gone, that and nothing else, node by node."""
    whole = orchestrate(BRING_UP, "test=True")
    assert [ret["changes"] for ret in returned(whole).values()] == [{}] * len(returned(whole))
    assert "would do" not in "\n".join(ret["comment"] for ret in returned(whole).values())

    for name, part in (("job-w", "crio"), ("job-m", "cilium"), ("job-m", "cluster:marked"), ("job-ha", "haproxy")):
        (parts(minions, name) / part).unlink()
    there = len(list(parts(minions, "job-ha").iterdir()))
    foreseen = orchestrate(BRING_UP, "test=True")
    assert len(list(parts(minions, "job-ha").iterdir())) == there, "a dry run changes nothing"
    done = orchestrate(BRING_UP)
    told, did = ({ret["__id__"]: ret["changes"] for ret in returned(run).values()} for run in (foreseen, done))
    assert told == did
    changed = {(node, state) for stage in did.values() for node, states in stage.items() for state in states}
    assert changed == {
        ("job-w", "crio is as wanted"), ("job-m", "cilium is as wanted"), ("job-m", "cluster/marked is as wanted"),
        ("job-ha", "haproxy is as wanted"),
    }  # fmt: skip


def test_a_dry_run_on_a_half_built_cluster_says_who_would_join_and_why(orchestrate, standing, minions):
    shutil.rmtree(parts(minions, "job-w"))
    told = "\n".join(ret["comment"] for ret in returned(orchestrate(BRING_UP, "test=True")).values())
    assert "would do: Worker join: job-w (not a member yet)" in told
    assert "kubeadm init" not in told


def test_a_minion_that_is_silent_stops_no_other_and_fails_the_command(master, minions, fresh):
    cli = master.salt_cli(timeout=60, environ=environment())
    with stopped(minions["job-w"]):
        result = cli.run("state.apply", "good", "--timeout=3", minion_tgt="job-*")
    assert result.returncode != 0
    answered = {name for name, states in result.data.items() if isinstance(states, dict)}
    assert answered == {"job-ha", "job-m"}
    assert "Minion did not return" in str(result.data["job-w"])


def test_findings_stop_the_run_before_any_change(orchestrate, fresh, minions, roots):
    found = {"code": "port-taken", "what": "port 6443 is taken by nginx", "where": "TCP ports", "why": "w"}
    found = [found | {"remedy": "stop nginx"}]
    Path(minions["job-m"].config["root_dir"], "findings.json").write_text(json.dumps(found))
    result = orchestrate(BRING_UP)
    assert result.returncode == 1
    expected = "job-m: Preflight: port 6443 is taken by nginx (TCP ports): w\n    next: stop nginx"
    assert comment(result, "Nothing stands in the way") == expected + runbooks.see(["port-taken"])
    assert record.last_run(roots / "state" / "jobs")["result"] == "failed"
    assert not [name for name in minions if parts(minions, name).exists()]


def test_a_second_operator_is_told_who_works(orchestrate, roots):
    directory = record.cluster_dir(roots / "state", "jobs")
    with record.Lock(directory, {"user": "mia", "job": "orchestrate.upgrade", "jid": "1"}):
        result = orchestrate(BRING_UP)
    assert result.returncode == 1
    assert "mia runs orchestrate.upgrade since" in result.stdout


def test_an_interrupt_ends_the_run_and_lets_go(start, roots):
    process = start(stage("Begun", "begin") + stage("Slow", "applied", sls="[slow]", nodes="[job-w]"))
    for line in process.stderr:
        if "Slow | begins" in line:
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode != 0
    assert record.last_run(roots / "state" / "jobs")["result"] == "interrupted"
    assert record.read_owner(roots / "state" / "jobs" / "lock") is None


def test_a_killed_run_is_recorded_and_the_next_one_says_whose_lock_it_takes(start, orchestrate, run_cli):
    text = stage("Begun", "begin") + stage("Slow", "applied", sls="[slow]", nodes="[job-w]")
    process = start(text)
    for line in process.stderr:
        if "Slow | begins" in line:
            break
    refused = orchestrate(stage("Begun", "begin"))
    assert refused.returncode == 1
    assert re.search(rf"runs orchestrate.story since 20\S+Z \(process {process.pid}, ", refused.stdout)
    process.kill()
    process.communicate(timeout=30)
    killed = run_cli.run("cluster.show_run").data
    assert (killed["result"], [done["title"] for done in killed["stages"]]) == ("interrupted", ["Begun"])
    result = orchestrate(stage("Begun", "begin") + stage("Ended", "end"))
    assert result.returncode == 0, result.stdout
    assert f"(process {process.pid}, since" in comment(result, "Begun")
    assert "was taken over: that process has died" in comment(result, "Begun")
    last, before = run_cli.run("cluster.history", "limit=2").data
    assert (last["result"], before["result"], before["id"]) == ("succeeded", "interrupted", killed["jid"])


def test_runners_answer_and_fail_with_an_exit_code(master, minions, run_cli):
    valid = run_cli.run("cluster.validate")
    assert valid.returncode == 0 and valid.data["valid"] == "jobs: 3 nodes"
    status = run_cli.run("cluster.status", "wait_s=20")
    problems = [(problem["node"], problem["step"], problem["cause"]) for problem in status.data["problems"]]
    assert problems == [("job-w", "Node", "not Ready: no CNI")]
    assert status.returncode == 1 and status.data["nodes"]["job-m"]["ready"] == "yes"


def test_the_status_as_text_has_an_exit_code_too(master, minions, run_cli):
    argv = [word for word in run_cli.cmdline("cluster.status", "wait_s=20") if "--out" not in word]
    done = subprocess.run(argv, capture_output=True, text=True, env=environment(), timeout=60)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("jobs: NOT healthy: 1 problem, see below. Kubernetes 1.36.4")
    assert "  job-w: Node: not Ready: no CNI\n    next: kubectl describe node job-w\n" in done.stdout
    assert "retcode" not in done.stdout


def test_a_status_waits_for_a_dead_minion_no_longer_than_told(master, minions, run_cli):
    processes = psutil.Process(minions["job-w"].pid).children(recursive=True)
    processes.append(psutil.Process(minions["job-w"].pid))
    for process in processes:
        process.suspend()
    try:
        began = time.monotonic()
        status = run_cli.run("cluster.status", "wait_s=3")
        took_s = time.monotonic() - began
    finally:
        for process in processes:
            process.resume()
    causes = {problem["node"]: problem["cause"] for problem in status.data["problems"]}
    assert causes["job-w"].startswith(("no answer within 3 s", "not Ready"))
    assert "job-w" not in status.data["nodes"] or status.data["nodes"]["job-w"]["answers"] is False
    # The time of salt-run's own start, on a machine that does other things meanwhile.
    assert took_s < 3 + 12
