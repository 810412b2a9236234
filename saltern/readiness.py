"""Are the nodes there, and does nothing stand in the way: the stages that come before any change.

Every minion's key is accepted, it answers, it has this checkout's modules and pillar; then all findings at once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from saltern import plan
from saltern.run import Run, StageError, Ticker, Told
from saltern.steps import Call, Outcome, Problem, Returned, Step

PING_EVERY_S = 5.0
READ_S = 60.0


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
            compare = f"compare 'salt-key -f {node}' with 'salt-call --local key.finger' on the machine"
            remedy = f"if it is yours: {compare}, then salt-key -a {node}; else: salt-key -d {node}"
        else:
            cause = "the master has no key of this minion: salt-cloud did not make the machine, or its key was deleted"
            remedy = f"salt-cloud -d {node} (destroys the machine), then {run.again}"
        problems.append(Problem(node, "Key of the minion", cause, remedy))
    if problems:
        raise StageError(*problems)


def _silent(run: Run, node: str, deadline_s: float) -> Problem:
    if node in run.master.keys().denied:
        cause = "another machine uses this name with a key that the master does not know, and is denied"
        remedy = f"find and stop that machine, then: salt-key -d {node}; {run.again}"
        return Problem(node, "Answer of the minion", cause, remedy)
    cause = f"no answer within {deadline_s:.0f} s: the machine is down, its network is cut, or its minion does not run"
    remedy = f"salt-cloud -a show_instance {node} (stopped: salt-cloud -a start {node}); on its console: "
    remedy += f"systemctl status salt-minion; then {run.again}"
    return Problem(node, "Answer of the minion", cause, remedy)


def answers(run: Run, nodes: Collection[str], deadline_s: float) -> set[str]:
    """Ping nodes until all have answered or the deadline passes; returns those that did.

    A call to a minion that is not connected yet is lost, so the ones that are missing are asked again every 5 s.
    """
    missing, jids = set(nodes), set[str]()
    deadline, asked = run.clock() + deadline_s, float("-inf")

    def how_far() -> str:
        return f"{len(nodes) - len(missing)}/{len(nodes)} minions answer; missing: {', '.join(sorted(missing))}"

    ticker = Ticker(run, how_far)
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
    nodes = _equipped(run) if run.test else run.table.all
    kubernetes = tuple(node for node in run.table.kubernetes if node in nodes)
    steps = [
        Step("findings", "Preflight", nodes, Call("preflight.findings"), deadline_s=READ_S),
        Step("status", "Cluster membership", kubernetes, Call("kubeadm.status"), deadline_s=READ_S),
    ]
    outcomes = run_steps(run, steps)
    run.status = {node: answer.value for node, answer in outcomes["status"].answers.items()}
    problems = findings(outcomes["findings"], run.cluster.os.max_clock_skew_s)
    problems += [_foreign(run, node, status["foreign"]) for node, status in run.status.items() if status.get("foreign")]
    if problems:
        raise StageError(*problems)
    members = [node for node in kubernetes if run.status[node].get("joined")]
    unasked = [node for node in run.table.all if node not in nodes]
    rest = f"; not asked, because they have no modules yet: {', '.join(unasked)}" if unasked else ""
    return Told(f"nothing stands in the way on {len(nodes)} nodes; {len(members)} belong to the cluster already{rest}")


def _equipped(run: Run) -> tuple[str, ...]:
    """Nodes that answer and have this product's modules: in test mode none are sent to a new node."""
    nodes = tuple(node for node in run.table.all if node in run.answering)
    ask = Step("modules", "Modules", nodes, Call("sys.list_functions", ("preflight.findings",)), deadline_s=READ_S)
    return tuple(node for node, answer in run_steps(run, [ask])["modules"].answers.items() if answer.value)


def _foreign(run: Run, node: str, reason: str) -> Problem:
    remedy = f"if that cluster is gone, wipe its traces: salt {node} kubeadm.reset confirm={node}; then {run.again}"
    return Problem(node, "Cluster membership", f"{reason}: it may be in use", remedy)


def findings(outcome: Outcome, max_clock_skew_s: float) -> list[Problem]:
    """What the nodes' preflight reports amount to, all nodes at once.

    Args:
        outcome: of ``preflight.findings``: {"findings": [{what, where, why, remedy}], "epoch_s": the node's clock}.
        max_clock_skew_s: how far two nodes' clocks may be apart.
    """
    problems = [
        Problem(node, "Preflight", f"{found['what']} ({found['where']}): {found['why']}", found["remedy"])
        for node, answer in outcome.answers.items()
        for found in answer.value["findings"]
    ]
    # A node's clock against the moment at which its answer came: only the differences between nodes mean something.
    offsets = {n: a.value["epoch_s"] - outcome.started - a.seconds for n, a in outcome.answers.items()}
    return problems + _clock_problems(offsets, max_clock_skew_s)


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


def run_steps(run: Run, steps: list[Step]) -> dict[str, Outcome]:
    """Run steps to their end. Raises StageError with all that went wrong."""
    job = run.new_job(steps)
    if problems := job.run():
        raise StageError(*problems)
    return job.outcomes
