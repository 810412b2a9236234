"""A running cluster that nobody can see is not a broken one: it may be starting, or its load balancers are silent."""

from __future__ import annotations

from collections.abc import Callable

from saltern import diagnosis, endpoint, plan
from saltern.readiness import PING_EVERY_S, READ_S, STATUS, run_steps
from saltern.run import Run, StageError, Ticker, Told, told
from saltern.steps import Call, Problem, Step

# From the boot of a control-plane node to its API server's first answer, on loaded cores: kubelet, etcd, API server.
START_S = 120.0
# HAProxy asks a server it does not know yet for two answers, 2 s apart.
ENDPOINT_S = 30.0

Look = Callable[[Run], plan.Picture]


def restored(run: Run, look: Look) -> Told:
    """Before a bring-up is planned: wait for a control plane that is starting, see to load balancers that are silent.

    Args:
        run: the run; its status is read anew.
        look: what is known now.

    Raises StageError when the load balancers stay silent. A control plane that does not come is the plan's to refuse.
    """
    if run.test:
        return Told("")
    _started(run, look)
    return _balancers_first(run, look(run)) if look(run).behind_silence else Told("")


def _started(run: Run, look: Look) -> None:
    """Nodes that were switched on a moment ago, by this run or by hand, answer before their API servers do."""
    deadline = run.clock() + START_S
    ticker = Ticker(run, lambda: "waits for a control-plane node of the cluster to be healthy")
    while _may_start(look(run)) and run.clock() < deadline:
        list(run.master.events(PING_EVERY_S))
        _ask_again(run, look(run))
        ticker()


def _may_start(seen: plan.Picture) -> bool:
    """Whether time may cure what is wrong: there is a cluster, none of it is well, and it is not that they expired."""
    if not seen.members or seen.source or seen.behind_silence:
        return False
    return diagnosis.of_status(seen.status, seen.table.control_plane).code != diagnosis.EXPIRED


def _balancers_first(run: Run, seen: plan.Picture) -> Told:
    mended = told(run_steps(run, plan.bring_up(seen)).values())
    if reason := endpoint.unready(run.cluster.endpoint, within_s=ENDPOINT_S):
        silent = f"nobody answers at https://{run.cluster.endpoint} ({reason})"
        cause = f"{silent}, though the load balancers have been prepared"
        balancers = ",".join(run.table.load_balancers)
        remedy = f"salt -L {balancers} unit.facts '[haproxy.service]'; then {run.again}"
        raise StageError(Problem("", "Endpoint", cause, remedy, code="endpoint-not-answering"))
    _ask_again(run, seen)
    return mended


def _ask_again(run: Run, seen: plan.Picture) -> None:
    members = Step("members", "State of the members", seen.members, Call(STATUS), deadline_s=READ_S)
    run.status |= {node: answer.value for node, answer in run_steps(run, [members])["members"].answers.items()}
