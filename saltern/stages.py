"""What each stage of an orchestration does, and when it counts as reached.

Every function takes the :class:`~saltern.run.Run` and returns what to tell, or raises one of ``saltern.run.EXPECTED``
with everything that is wrong. With ``run.test`` nothing is changed: the text says what would be done, where and why.
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from saltern import machines as cloud
from saltern import plan, record
from saltern.job import Call, Judge, Outcome, Problem, Returned, Step, TransportError
from saltern.run import AGAIN, Run, StageError, Ticker, Told

PING_EVERY_S = 5.0
FETCH_TIMEOUT_S = 2.0
READ_S = 60.0


def begin(run: Run, job: str) -> Told:
    """The definition is valid and nobody else is at work: take the lock, open the record."""
    cluster, table = run.cluster, run.table
    run.left_over = _ended_badly(record.last_run(run.directory))
    lock = record.Lock(run.directory, {"user": run.user, "job": job, "jid": run.jid})
    lock.take()
    if run.test:
        lock.release()
    else:
        run.lock = lock
        versions = {"kubernetes": cluster.versions.kubernetes, "crio": cluster.versions.crio}
        facts = {"cluster": cluster.name, "user": run.user, "endpoint": str(cluster.endpoint), "versions": versions}
        run.record = record.Record.open(run.directory, job, run.jid, **facts)
    text = f"{cluster.name}: {len(table.all)} nodes, Kubernetes {cluster.versions.kubernetes} at {cluster.endpoint}"
    return Told(text + _left_behind(lock))


def _ended_badly(last: Mapping[str, Any] | None) -> bool:
    return bool(last) and last["result"] != record.SUCCEEDED  # type: ignore[index]


def _left_behind(lock: record.Lock) -> str:
    if not (gone := lock.left_behind):
        return ""
    return (
        f"; the lock of {gone.get('user')}'s {gone.get('job')} (process {gone.get('pid')}, since {gone.get('since')}) "
        "was taken over: that process has died"
    )


def machines(run: Run, map_file: str, deadline_s: float) -> Told:
    """Every machine of the table runs: salt-cloud makes those that are missing; it is not asked when all answer."""
    accepted = set(run.master.keys().accepted)
    if accepted >= set(run.table.all):
        run.answering = answers(run, run.table.all, deadline_s=PING_EVERY_S)
    absent = [node for node in run.table.all if node not in run.answering]
    if not absent:
        return Told(f"all {len(run.table.all)} machines run: their minions answer")
    if run.test:
        would = f"salt-cloud would be run with {map_file} and create what Proxmox does not have"
        return Told(f"no answer from {', '.join(absent)}: {would}", result=None)
    created = cloud.create(run, map_file, deadline_s)
    return Told(f"created {', '.join(created) or 'nothing'}", changes={node: "created" for node in created})


def minions_answer(run: Run, deadline_s: float) -> Told:
    """Every node's key is accepted, its minion answers, and it has this checkout's modules and pillar."""
    _require_keys(run)
    waited_for = [node for node in run.table.all if node not in run.answering]
    run.answering |= answers(run, waited_for, deadline_s=PING_EVERY_S if run.test else deadline_s)
    missing = [node for node in run.table.all if node not in run.answering]
    if run.test:
        silent = f"; no answer yet from {', '.join(missing)}: would wait for them" if missing else ""
        told = f"{len(run.answering)} of {len(run.table.all)} minions answer{silent}"
        return Told(told, result=None if missing else True)
    if missing:
        raise StageError(*(_silent(run, node, deadline_s) for node in missing))
    return _synchronised(run)


def _require_keys(run: Run) -> None:
    keys = run.master.keys()
    problems = []
    for node in run.table.all:
        if node in keys.accepted or run.test:
            continue
        if node in keys.pending or node in keys.rejected:
            what = "waits for acceptance" if node in keys.pending else "was rejected"
            cause = f"a minion of this name is there, but its key {what}: salt-cloud did not make this machine"
            remedy = f"if it is yours: compare 'salt-key -f {node}' with 'salt-call --local key.finger' on it, then salt-key -a {node}; else: salt-key -d {node}"
        else:
            cause = "the master has no key of this minion: salt-cloud did not make the machine, or its key was deleted"
            remedy = f"salt-cloud -d {node} (destroys the machine), then {AGAIN}"
        problems.append(Problem(node, "Key of the minion", cause, remedy))
    if problems:
        raise StageError(*problems)


def _silent(run: Run, node: str, deadline_s: float) -> Problem:
    if node in run.master.keys().denied:
        cause = "another machine uses this name with a key that the master does not know, and is denied"
        return Problem(node, "Answer of the minion", cause, f"find and stop that machine, salt-key -d {node}, then {AGAIN}")
    cause = f"no answer within {deadline_s:.0f} s: the machine is down, its network is cut, or its minion does not run"
    remedy = f"salt-cloud -a show_instance {node}; on its console: systemctl status salt-minion; then {AGAIN}"
    return Problem(node, "Answer of the minion", cause, remedy)


def answers(run: Run, nodes: Collection[str], deadline_s: float) -> set[str]:
    """Ping nodes until all have answered or the deadline passes; returns those that did.

    A call to a minion that is not connected yet is lost, so the ones that are missing are asked again every 5 s.
    """
    missing, jids = set(nodes), set()
    deadline, asked = run.clock() + deadline_s, float("-inf")
    ticker = Ticker(run, lambda: f"{len(nodes) - len(missing)}/{len(nodes)} answer; missing: {', '.join(sorted(missing))}")
    while missing and run.clock() < deadline:
        if run.clock() - asked >= PING_EVERY_S:
            asked = run.clock()
            jids.add(run.master.publish(sorted(missing), "test.ping", [], {}).jid)
        for event in run.master.events(1.0):
            if isinstance(event, Returned) and event.jid in jids:
                missing.discard(event.node)
        ticker()
    return set(nodes) - missing


def _synchronised(run: Run) -> Told:
    """One call: modules, states, and (which reloads both) the pillar. ``base`` spares rendering the top file."""
    functions = "saltutil.sync_modules,saltutil.sync_states,saltutil.refresh_pillar"
    keywords = {"__kwarg__": True, "saltenv": "base", "refresh": False}
    arg = ([keywords], [keywords], [{"__kwarg__": True, "wait": True}])
    step = Step("sync", "Modules and pillar", run.table.all, Call(functions, arg), deadline_s=plan.QUICK_S)
    outcome = run_steps(run, [step])["sync"]
    changes = {node: names for node, answer in outcome.answers.items() if (names := _synced(answer.value))}
    return Told(f"all {len(run.table.all)} minions answer", changes)


def _synced(value: Mapping[str, Any]) -> list[str]:
    return [*value["saltutil.sync_modules"], *value["saltutil.sync_states"]]


def preflight(run: Run) -> Told:
    """Nothing stands in the way on any node; also learns how far each node is."""
    nodes = [node for node in run.table.all if node in run.answering]
    kubernetes = tuple(node for node in run.table.kubernetes if node in run.answering)
    steps = [
        Step("findings", "Preflight", tuple(nodes), Call("preflight.findings"), deadline_s=READ_S),
        Step("status", "Cluster membership", kubernetes, Call("kubeadm.status"), deadline_s=READ_S),
    ]
    outcomes = run_steps(run, [step for step in steps if step.targets])
    run.status = {node: answer.value for node, answer in _answers(outcomes, "status")}
    reports = {node: answer.value for node, answer in _answers(outcomes, "findings")}
    problems = findings(reports, run.cluster.os.max_clock_skew_s)
    if problems:
        raise StageError(*problems)
    members = [node for node in kubernetes if run.status[node].get("joined")]
    return Told(f"nothing stands in the way on {len(nodes)} nodes; {len(members)} belong to the cluster already")


def _answers(outcomes: Mapping[str, Outcome], key: str) -> Iterable[tuple[str, Any]]:
    return outcomes[key].answers.items() if key in outcomes else ()


def findings(reports: Mapping[str, Mapping[str, Any]], max_clock_skew_s: float) -> list[Problem]:
    """What the nodes' preflight reports amount to, all nodes at once.

    Args:
        reports: node -> {"findings": [{what, where, why, remedy}], "clock_offset_s": node's clock minus the master's}.
        max_clock_skew_s: how far two nodes' clocks may be apart.
    """
    problems = [
        Problem(node, "Preflight", f"{found['what']} ({found['where']}): {found['why']}", found["remedy"])
        for node, report in reports.items()
        for found in report["findings"]
    ]
    return problems + _clock_problems({n: r["clock_offset_s"] for n, r in reports.items()}, max_clock_skew_s)


def _clock_problems(offsets: Mapping[str, float], max_skew_s: float) -> list[Problem]:
    """Nodes whose clock is further than ``max_skew_s`` from the middle one."""
    if not offsets:
        return []
    middle = sorted(offsets.values())[len(offsets) // 2]
    cause = "clock is {:.0f} s off the other nodes': certificates and etcd need {:.0f} s or less"
    remedy = "salt {} cmd.run 'chronyc makestep'; is a time server reachable? chronyc sources"
    return [
        Problem(node, "Preflight", cause.format(offset - middle, max_skew_s), remedy.format(node))
        for node, offset in offsets.items()
        if abs(offset - middle) > max_skew_s
    ]


def reached(run: Run, stage: str) -> Told:
    """The steps of one stage of the bring-up (see saltern.plan.ORDER) have succeeded."""
    if run.test:
        return _would_reach(run, stage)
    if run.job is None:
        run.job = run.new_job(plan.bring_up(picture(run)))
    keys = [step.key for step in run.job.steps.values() if step.stage == stage]
    if problems := run.job.run(until=keys):
        raise StageError(*problems)
    return _told([run.job.outcomes[key] for key in keys])


def _would_reach(run: Run, stage: str) -> Told:
    steps = [step for step in plan.bring_up(picture(run)) if step.stage == stage]
    lines = [f"would do: {step.title} on {', '.join(step.targets)}{_because(step)}" for step in steps]
    return Told("\n".join(lines) or "nothing to do", result=None if steps else True)


def _because(step: Step) -> str:
    return f" ({step.reason})" if step.reason else ""


def picture(run: Run) -> plan.Picture:
    """What is known now, for a plan."""
    return plan.Picture(run.table, run.status, run.master.keys().accepted, run.left_over)


def applied(
    run: Run,
    title: str,
    nodes: Sequence[str],
    sls: Sequence[str],
    pillar: Mapping[str, Any] | None = None,
    one_at_a_time: bool = False,
    deadline_s: float = plan.PREPARE_S,
) -> Told:
    """SLS are applied to nodes; in test mode by the nodes' own test mode."""
    call = plan.apply_call(sls, pillar)
    if run.test:
        call = Call(call.function, kwarg={**call.kwarg, "test": True})
    step = Step("applied", title, tuple(nodes), call, one_at_a_time=one_at_a_time, deadline_s=deadline_s)
    told = _told([run_steps(run, [step])["applied"]])
    return replace(told, result=None) if run.test and told.changes else told


def called(
    run: Run, title: str, nodes: Sequence[str], call: Call, judge: Judge | None = None, deadline_s: float = plan.QUICK_S
) -> Told:
    """A function is called on nodes, and each answer is as expected. Only read-only functions belong here in test mode."""
    step = Step("called", title, tuple(nodes), call, judge=judge, deadline_s=deadline_s)
    if run.test:
        return Told(f"would call {call.function} on {', '.join(nodes)}", result=None)
    return _told([run_steps(run, [step])["called"]])


def run_steps(run: Run, steps: list[Step]) -> dict[str, Outcome]:
    """Run steps to their end. Raises StageError with all that went wrong."""
    job = run.new_job(steps)
    if problems := job.run():
        raise StageError(*problems)
    return job.outcomes


def _told(outcomes: Iterable[Outcome]) -> Told:
    """Counts for the comment, IDs of changed states per node for the changes."""
    changes: dict[str, list[str]] = {}
    lines = []
    for outcome in outcomes:
        lines.append(f"{outcome.step.title}: {len(outcome.answers)} of {len(outcome.step.targets)}")
        for node, answer in outcome.answers.items():
            if answer.changed:
                changes.setdefault(node, []).extend(answer.changed)
    return Told("; ".join(lines) or "nothing to do", changes)


def verified(run: Run, deadline_s: float, fetch: Callable[[str], str] | None = None) -> Told:
    """A web service of the cluster answers on its LoadBalancer address, asked from the master."""
    if run.test:
        return Told("would ask the test service on its LoadBalancer address", result=None)
    if not run.cluster.verification.enabled:
        return Told("switched off in the definition (verification.enabled)")
    address = (run.job.outcomes if run.job else {})["address"].value()
    url, error = f"http://{address}/", ""
    deadline = run.clock() + deadline_s
    ticker = Ticker(run, lambda: f"{url}: {error or 'asking'}")
    while run.clock() < deadline:
        try:
            (fetch or get)(url)
        except OSError as err:
            error = str(err)
            # MetalLB's first announcement of an address may be a few seconds behind the service; nothing tells when.
            list(run.master.events(1.0))
            ticker()
            continue
        return Told(f"{url} answers")
    cause = f"{url} did not answer within {deadline_s:.0f} s ({error})"
    remedy = "kubectl -n metallb-system logs ds/metallb-speaker --tail 20; is the address free? ip neigh; then " + AGAIN
    raise StageError(Problem("", "Test service", cause, remedy))


def get(url: str) -> str:
    """The text at a URL. Raises OSError (a refused connection, a time-out, a status that is not 200)."""
    try:
        with urllib.request.urlopen(url, timeout=FETCH_TIMEOUT_S) as answer:  # noqa: S310 - the address is MetalLB's
            return str(answer.read().decode(errors="replace"))
    except http.client.HTTPException as err:
        raise OSError(f"no HTTP answer: {err!r}") from err


def end(run: Run) -> Told:
    """The record is closed, the lock given back."""
    run.close(record.SUCCEEDED)
    return Told("the cluster is as the table says; see: salt-run cluster.summary")
