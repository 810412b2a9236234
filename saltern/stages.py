"""What each stage of an orchestration does, and when it counts as reached.

Every function takes the :class:`~saltern.run.Run` and returns what to tell, or raises one of ``saltern.run.EXPECTED``
with everything that is wrong. With ``run.test`` nothing is changed: the text says what would be done, where and why.
"""

from __future__ import annotations

import http.client
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from saltern import artefacts, plan, reachable, record, verification
from saltern import machines as cloud
from saltern.answers import STATE_FUNCTIONS
from saltern.model import Cluster
from saltern.readiness import PING_EVERY_S, answers, run_steps
from saltern.run import Run, StageError, Ticker, Told, told
from saltern.steps import Call, Judge, Outcome, Problem, Step

FETCH_TIMEOUT_S = 2.0


def begin(run: Run) -> Told:
    """The definition is valid and nobody else is at work: take the lock, open the record."""
    cluster = run.cluster
    run.left_over = _ended_badly(record.last_run(run.directory))
    if run.test:
        record.require_free(run.directory)
        return Told(_outline(cluster))
    run.lock = record.Lock(run.directory, {"user": run.user, "job": run.orchestration, "jid": run.jid})
    run.lock.take()
    run.record = record.Record.open(run.directory, run.orchestration, run.jid, run.keep_runs, **_facts(run))
    return Told(_outline(cluster) + _left_behind(run.lock))


def _outline(cluster: Cluster) -> str:
    return f"{cluster.name}: {len(cluster.nodes)} nodes, Kubernetes {cluster.versions.kubernetes} at {cluster.endpoint}"


def _facts(run: Run) -> dict[str, Any]:
    """What a record says of the run itself: for whom, on which nodes, with which versions."""
    cluster, table = run.cluster, run.table
    return {
        "cluster": cluster.name,
        "user": run.user,
        "endpoint": str(cluster.endpoint),
        "versions": {name: cluster.versions.artefacts[name].version for name in artefacts.enabled(cluster)},
        "nodes": {role: list(table.of_role(role)) for role in plan.ROLES},
    }


def _ended_badly(last: Mapping[str, Any] | None) -> bool:
    return last is not None and last["result"] != record.SUCCEEDED


def _left_behind(lock: record.Lock) -> str:
    if not (gone := lock.left_behind):
        return ""
    return (
        f"; the lock of {gone.get('user')}'s {gone.get('job')} (process {gone.get('pid')}, since {gone.get('since')}) "
        "was taken over: that process has died"
    )


def machines(run: Run, salt_cloud: Sequence[str], map_file: str, deadline_s: float) -> Told:
    """Every machine of the table runs; not looked at when all minions answer.

    salt-cloud makes those that are missing, and starts those that are switched off.

    Args:
        run: the run.
        salt_cloud: the command with its configuration, as a list of arguments.
        map_file: path of the map of the table.
        deadline_s: seconds for all machines together.
    """
    accepted = set(run.master.keys().accepted)
    if accepted >= set(run.table.all):
        run.answering = answers(run, run.table.all, deadline_s=PING_EVERY_S)
    absent = [node for node in run.table.all if node not in run.answering]
    if not absent:
        return Told(f"all {len(run.table.all)} machines run: their minions answer")
    if run.test:
        command = " ".join(cloud.create_command(salt_cloud, map_file))
        would = f"{command} would create what Proxmox does not have; what is switched off would be started"
        return Told(f"no answer from {', '.join(absent)}: {would}", result=None)
    return made(run, salt_cloud, map_file, absent, deadline_s)


def made(run: Run, salt_cloud: Sequence[str], map_file: str, absent: Sequence[str], deadline_s: float) -> Told:
    """The machines of a map exist, and of the absent ones none is switched off.

    Args:
        run: the run.
        salt_cloud: the command with its configuration, as a list of arguments.
        map_file: path of the map.
        absent: machines whose minions do not answer.
        deadline_s: seconds for all machines together.
    """
    created = cloud.create(run, cloud.create_command(salt_cloud, map_file), deadline_s)
    started = cloud.start_stopped(run, salt_cloud, [node for node in absent if node not in created])
    changes = dict.fromkeys(created, "created") | dict.fromkeys(started, "started")
    said = [f"{what} {', '.join(names)}" for what, names in (("created", created), ("started", started)) if names]
    return Told("; ".join(said) or "all machines exist and run", changes)


def reached(run: Run, stage: str) -> Told:
    """The steps of one stage of the bring-up (see saltern.plan.ORDER) have succeeded."""
    first = Told("")
    if run.job is None:
        first = reachable.restored(run, picture)
        steps = plan.bring_up(picture(run))
        run.job = run.new_job(asking(steps) if run.test else steps)
    keys = [step.key for step in run.job.steps.values() if step.stage == stage]
    if problems := run.job.run(until=keys):
        raise StageError(*problems)
    found = told([run.job.outcomes[key] for key in keys])
    return _foretold(run, stage, found) if run.test else _both(first, found)


def _both(first: Told, second: Told) -> Told:
    """What two parts of one stage have to tell."""
    changes = {node: [*first.changes.get(node, ()), *second.changes.get(node, ())] for node in first.changes}
    comment = "; ".join(filter(None, (first.comment, second.comment)))
    return replace(second, comment=comment, changes={**second.changes, **changes})


def asking(steps: Sequence[Step]) -> list[Step]:
    """The steps of a bring-up that the nodes' own test mode can answer for, as calls in test mode."""
    asked = {step.key for step in steps if step.in_test_mode == "ask"}
    return [
        replace(step, call=_tested(step.call), after=tuple(key for key in step.after if key in asked))
        for step in steps
        if step.key in asked
    ]


def _tested(call: Call | Callable[[Mapping[str, Outcome]], Call]) -> Call | Callable[[Mapping[str, Outcome]], Call]:
    """A call, or what makes it, in test mode; a function that only reads is called as it is."""
    if not isinstance(call, Call):
        return lambda outcomes: _in_test_mode(call(outcomes))
    return _in_test_mode(call)


def _in_test_mode(call: Call) -> Call:
    return replace(call, kwarg={**call.kwarg, "test": True}) if call.function in STATE_FUNCTIONS else call


def _foretold(run: Run, stage: str, told: Told) -> Told:
    """What a stage would do: states that would change by the nodes' own word, and steps that are still to be done."""
    steps = [s for s in plan.bring_up(picture(run)) if s.stage == stage and s.in_test_mode == "say"]
    lines = _promised(steps)
    lines += [f"would change on {node}: {', '.join(states)}" for node, states in told.changes.items()]
    if not lines and picture(run).behind_silence:
        return replace(told, comment="not known before the load balancers answer", result=None)
    return replace(told, comment="\n".join(lines) or "nothing to change", result=None if lines else True)


def foretold(steps: Sequence[Step]) -> Told:
    """What steps would do that no node is asked about."""
    lines = _promised(steps)
    return Told("\n".join(lines) or "nothing to do", result=None if lines else True)


def _promised(steps: Sequence[Step]) -> list[str]:
    return [f"would do: {step.title}: {', '.join(step.targets)}{_because(step)}" for step in steps]


def _because(step: Step) -> str:
    return f" ({step.reason})" if step.reason else ""


def picture(run: Run) -> plan.Picture:
    """What is known now, for a plan."""
    keys = run.master.keys().accepted
    return plan.Picture(run.table, run.status, keys, service=_service(run), left_over=run.left_over)


def _service(run: Run) -> tuple[str, str] | None:
    """(namespace, name) of the web service that proves the cluster; None when it is switched off."""
    return (verification.NAMESPACE, verification.NAME) if run.cluster.verification.enabled else None


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
        call = _in_test_mode(call)
    step = Step("applied", title, tuple(nodes), call, one_at_a_time=one_at_a_time, deadline_s=deadline_s)
    found = told([run_steps(run, [step])["applied"]])
    return replace(found, result=None) if run.test and found.changes else found


def called(
    run: Run, title: str, nodes: Sequence[str], call: Call, judge: Judge | None = None, deadline_s: float = plan.QUICK_S
) -> Told:
    """A function is called on nodes and each answer is as expected; in test mode it is only named."""
    step = Step("called", title, tuple(nodes), call, judge=judge, deadline_s=deadline_s)
    if run.test:
        return Told(f"would call {call.function} on {', '.join(nodes)}", result=None)
    return told([run_steps(run, [step])["called"]])


def verified(run: Run, deadline_s: float, fetch: Callable[[str], str] | None = None) -> Told:
    """A web service of the cluster answers on its LoadBalancer address, asked from the master."""
    if run.test:
        return Told("would ask the test service on its LoadBalancer address; that changes nothing")
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
    remedy = (
        "kubectl -n metallb-system logs ds/metallb-speaker --tail 20; is the address free? ip neigh; then " + run.again
    )
    raise StageError(Problem("", "Test service", cause, remedy, code="service-not-answering"))


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
    return Told("nothing was changed" if run.test else "recorded; see: salt-run cluster.summary")
