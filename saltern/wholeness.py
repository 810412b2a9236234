"""Wait until a control-plane node that was away serves again: its kubelet, its API server, its member of etcd."""

from __future__ import annotations

from saltern import plan_replace, readiness, removal
from saltern.run import Run, StageError, Ticker
from saltern.steps import Call, Problem, Step


def wait(run: Run, name: str, step: str, code: str, deadline_s: float) -> None:
    """The node is whole. Raises StageError that says what it lacks when that is not so in time.

    Whether all others are whole is looked at before the next control-plane node goes (:mod:`saltern.plan_replace`).

    Args:
        run: the run.
        name: of the control-plane node.
        step: title of the problem.
        code: the problem's.
        deadline_s: seconds.
    """
    lacking = ""
    deadline = run.clock() + deadline_s
    ticker = Ticker(run, lambda: f"waits for {name}: {lacking or 'asks'}")
    while lacking := _lacking(run, name):
        if run.clock() >= deadline:
            remedy = f"salt {name} kubeadm.status; then {run.again}"
            raise StageError(Problem(name, step, f"after {deadline_s:.0f} s it {lacking}", remedy, code=code))
        list(run.master.events(1.0))
        ticker()


def _lacking(run: Run, name: str) -> str:
    """What the node lacks to be whole, "" for nothing. Asked of another one, which may lack something too."""
    status = removal.membership(run, run.table.control_plane)
    healthy = [other for other in run.table.control_plane if status.get(other, {}).get("healthy")]
    source = next((other for other in healthy if other != name), name)
    if name not in healthy:
        return plan_replace.missing((name,), status, ())[name]
    step = Step("members", "etcd's members", (source,), Call("etcd_member.standing"))
    members = readiness.run_steps(run, [step])["members"].value()
    return plan_replace.missing((name,), status, members).get(name, "")
