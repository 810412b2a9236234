"""Are the nodes there, and does nothing stand in the way: the stages that come before any change.

Every minion's key is accepted, it answers, it has this checkout's modules and pillar; then all findings at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from saltern import plan
from saltern import preflight as checks
from saltern.run import Keys, Run, StageError, Ticker, Told
from saltern.steps import Call, Outcome, Problem, Returned, Step

FINDINGS, STATUS = "preflight.findings", "kubeadm.status"
PING_EVERY_S = 5.0
# A node waits up to 40 s for a package manager that is at work (_modules/preflight_packages.py).
READ_S = 90.0
CLOCK_ROUNDS = 2


def minions_answer(run: Run, deadline_s: float, nodes: Collection[str] | None = None) -> Told:
    """Of every node, or of those given: its key is accepted, its minion answers, it has this checkout's modules."""
    wanted = run.table.all if nodes is None else tuple(nodes)
    if problems := [] if run.test else _key_problems(run, wanted):
        raise StageError(*problems)
    missing = _missing(run, wanted, deadline_s=PING_EVERY_S if run.test else deadline_s)
    if run.test:
        silent = f"; no answer yet from {', '.join(missing)}: would wait for them" if missing else ""
        told = f"{len(wanted) - len(missing)} of {len(wanted)} minions answer{silent}"
        return Told(told, result=None if missing else True)
    if missing:
        raise StageError(*(_silent(run, node, deadline_s) for node in missing))
    return synchronised(run, wanted)


def examined(run: Run, deadline_s: float) -> Told:
    """For whoever wants to know all at once: who does not answer, and what stands in the way on those that do.

    Raises StageError with everything. The nodes that answer get this checkout's modules and pillar.
    """
    problems = _key_problems(run, run.table.all)
    keyless = {problem.node for problem in problems}
    missing = [node for node in _missing(run, run.table.all, deadline_s) if node not in keyless]
    problems += [_silent(run, node, deadline_s) for node in missing]
    up = [node for node in run.table.all if node in run.answering]
    told = Told("")
    try:
        synchronised(run, up)
    except StageError as err:
        problems += err.problems
        up = [node for node in up if node not in {problem.node for problem in err.problems}]
    try:
        told = preflight(run, up)
    except StageError as err:
        problems += err.problems
    if problems:
        raise StageError(*problems)
    return told


def _missing(run: Run, nodes: Collection[str], deadline_s: float) -> list[str]:
    """Nodes that have not answered when the deadline passes; those that answered earlier are not asked again."""
    waited_for = [node for node in nodes if node not in run.answering]
    run.answering |= answers(run, waited_for, deadline_s)
    return [node for node in nodes if node not in run.answering]


def _key_problems(run: Run, nodes: Collection[str]) -> list[Problem]:
    keys = run.master.keys()
    return [_key_problem(run, keys, node) for node in nodes if node not in keys.accepted]


def _key_problem(run: Run, keys: Keys, node: str) -> Problem:
    if node in keys.pending or node in keys.rejected:
        what = "waits for acceptance" if node in keys.pending else "was rejected"
        cause = f"a minion of this name is there, but its key {what}: salt-cloud did not make this machine"
        compare = f"compare 'salt-key -f {node}' with 'salt-call --local key.finger' on the machine"
        remedy = f"if it is yours: {compare}, then salt-key -a {node}; else: salt-key -d {node}"
    else:
        cause = "the master has no key of this minion: salt-cloud did not make the machine, or its key was deleted"
        remedy = f"salt-cloud -d {node} (destroys the machine), then {run.again}"
    return Problem(node, "Key of the minion", cause, remedy, code="minion-key-missing")


def _silent(run: Run, node: str, deadline_s: float) -> Problem:
    if node in run.master.keys().denied:
        cause = "another machine uses this name with a key that the master does not know, and is denied"
        remedy = f"find and stop that machine, then: salt-key -d {node}; {run.again}"
        return Problem(node, "Answer of the minion", cause, remedy, code="minion-name-taken")
    cause = f"no answer within {deadline_s:.0f} s: the machine is down, its network is cut, or its minion does not run"
    remedy = f"salt-cloud -a show_instance {node} (stopped: salt-cloud -a start {node}); on its console: "
    remedy += f"systemctl status salt-minion; then {run.again}"
    return Problem(node, "Answer of the minion", cause, remedy, code="minion-silent")


def answers(run: Run, nodes: Collection[str], deadline_s: float) -> set[str]:
    """Ping nodes until all have answered or the deadline passes; returns those that did."""
    return asked_until(run, nodes, "test.ping", lambda _: True, deadline_s, "minions answer")


def asked_until(
    run: Run,
    nodes: Collection[str],
    function: str,
    accepted: Callable[[Returned], bool],
    deadline_s: float,
    what: str,
) -> set[str]:
    """Ask nodes until all have answered as wished or the deadline passes; returns those that did.

    A call to a minion that is not connected yet is lost, so the ones that are missing are asked again every 5 s.

    Args:
        run: the run.
        nodes: whom.
        function: what they are asked; a quick one.
        accepted: whether an answer is what is waited for.
        deadline_s: seconds.
        what: what is waited for, after "3/4" in the progress lines.
    """
    missing, jids = set(nodes), set[str]()
    deadline, asked = run.clock() + deadline_s, float("-inf")

    def how_far() -> str:
        return f"{len(nodes) - len(missing)}/{len(nodes)} {what}; missing: {', '.join(sorted(missing))}"

    ticker = Ticker(run, how_far)
    while missing and run.clock() < deadline:
        if run.clock() - asked >= PING_EVERY_S:
            asked = run.clock()
            jids.add(run.master.publish(sorted(missing), function, [], {}).jid)
        for event in run.master.events(1.0):
            if isinstance(event, Returned) and event.jid in jids and accepted(event):
                missing.discard(event.node)
        ticker()
    return set(nodes) - missing


def synchronised(run: Run, nodes: Collection[str]) -> Told:
    """One call: modules, states, and (which reloads both) the pillar. ``base`` spares rendering the top file."""
    functions = "saltutil.sync_modules,saltutil.sync_states,saltutil.refresh_pillar"
    keywords = {"__kwarg__": True, "saltenv": "base", "refresh": False}
    arg = ([keywords], [keywords], [{"__kwarg__": True, "wait": True}])
    step = Step("sync", "Modules and pillar", tuple(nodes), Call(functions, arg), deadline_s=plan.QUICK_S)
    outcome = run_steps(run, [step])["sync"]
    changes = {node: names for node, answer in outcome.answers.items() if (names := _synced(answer.value))}
    return Told(f"all {len(nodes)} minions answer", changes)


def _synced(value: Mapping[str, Any]) -> list[str]:
    return [*value["saltutil.sync_modules"], *value["saltutil.sync_states"]]


def preflight(run: Run, nodes: Collection[str] | None = None) -> Told:
    """Nothing stands in the way on any node, or on those given; also learns how far each of them is."""
    wanted = [node for node in run.table.all if nodes is None or node in nodes]
    asked = _equipped(run, wanted) if run.test else tuple(wanted)
    reports, status, problems = _look(run, asked)
    run.status |= status
    if problems := problems + checks.problems(reports, status, run.cluster):
        raise StageError(*problems)
    members = [node for node in status if status[node].get("joined")]
    unasked = [node for node in wanted if node not in asked]
    rest = f"; not asked, because they have no modules yet: {', '.join(unasked)}" if unasked else ""
    return Told(f"nothing stands in the way on {len(asked)} nodes; {len(members)} belong to the cluster already{rest}")


def _equipped(run: Run, nodes: Iterable[str]) -> tuple[str, ...]:
    """Nodes that answer and have this product's modules: in test mode none are sent to a new node."""
    up = tuple(node for node in nodes if node in run.answering)
    ask = Step("modules", "Modules", up, Call("sys.list_functions", (FINDINGS,)), deadline_s=READ_S)
    return tuple(node for node, answer in run_steps(run, [ask])["modules"].answers.items() if answer.value)


def _look(
    run: Run, nodes: Collection[str]
) -> tuple[dict[str, checks.Report], dict[str, dict[str, Any]], list[Problem]]:
    """The nodes' reports, what ``kubeadm.status`` says of the Kubernetes nodes, and what went wrong with asking."""
    job = run.new_job(_questions(run, nodes))
    problems = job.run()
    failed = {problem.node for problem in problems}
    reports, status = dict[str, checks.Report](), dict[str, dict[str, Any]]()
    for outcome in job.outcomes.values():
        for node in outcome.answers.keys() - failed:
            value = outcome.answers[node].value
            reports[node] = checks.Report.of(value.get(FINDINGS, value), *_asked_and_answered(run, outcome, node))
            status |= {node: value[STATUS]} if STATUS in value else {}
    in_order = {node: reports[node] for node in nodes if node in reports}
    return _with_clocks(run, in_order), status, problems


def _questions(run: Run, nodes: Collection[str]) -> list[Step]:
    """To load balancers, and to all others at the same time; each is told who is up, to connect to no one else."""
    up = {"peers": [node for node in run.table.all if node in run.answering]} if run.answering else {}
    balancers = tuple(node for node in nodes if node in run.table.load_balancers)
    kubernetes = tuple(node for node in nodes if node in run.table.kubernetes)
    # Both questions in one call: on a node a call costs more than what these two read.
    both = Call(f"{FINDINGS},{STATUS}", ([{"__kwarg__": True, **up}], []))
    return [
        Step("balancers", "Preflight of load balancers", balancers, Call(FINDINGS, kwarg=up), deadline_s=READ_S),
        Step("kubernetes", "Preflight", kubernetes, both, deadline_s=READ_S),
    ]


def _asked_and_answered(run: Run, outcome: Outcome, node: str) -> tuple[float, float]:
    """When a call was sent and when its answer came, by the master's clock, in seconds since the epoch."""
    zero = run.wall() - run.clock()
    return zero + outcome.started, zero + outcome.answers[node].at


def _with_clocks(run: Run, reports: dict[str, checks.Report]) -> dict[str, checks.Report]:
    """Ask again for the time alone where an answer took so long that it tells nothing about the clock.

    Who does not answer this is no finding: it has answered before.
    """
    for _ in range(CLOCK_ROUNDS):
        if not (vague := checks.undecided(reports, run.cluster.os.max_clock_skew_s)):
            break
        job = run.new_job([Step("clock", "Clocks", tuple(vague), Call("preflight.clock"), deadline_s=READ_S)])
        failed = {problem.node for problem in job.run()}
        outcome = job.outcomes["clock"]
        for node in outcome.answers.keys() - failed:
            asked, answered = _asked_and_answered(run, outcome, node)
            told = outcome.answers[node].value
            reports[node] = replace(reports[node], clock=(told, told), asked=asked, answered=answered)
    return reports


def run_steps(run: Run, steps: list[Step]) -> dict[str, Outcome]:
    """Run steps to their end. Raises StageError with all that went wrong."""
    job = run.new_job(steps)
    if problems := job.run():
        raise StageError(*problems)
    return job.outcomes
