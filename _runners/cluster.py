"""Answers about the cluster, from the master: the definition, what would be done, how it stands, what was done.

Read only, but for the file that ``kubeconfig`` writes for the operator. A function that fails returns
``{"retcode": 1, "error": ...}``, and salt-run exits with 1.
"""

import itertools
import sys
from pathlib import Path

import salt.loader
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from saltern import definition, inquiry, readiness, record, report, runbooks, stages, standing
from saltern import plan as plans
from saltern.run import EXPECTED, Run, StageError, settings
from saltern.steps import Call, Problem, Step

ORCHESTRATION = "orchestrate.cluster"
KEY_BITS = 3072
FACTS_S = 30.0
# With the start of salt-run itself, about a second, this keeps the answer under 5 s whoever is dead.
STATUS_WAIT_S = 3.0


def validate():
    """Check the definition: everything that is wrong, and what is doubtful.

    CLI Example:

    .. code-block:: bash

        salt-run cluster.validate
    """
    found = definition.check(**definition.places(__opts__.get("saltern", {})))
    warnings = [str(finding) for finding in found.warnings]
    if found.errors:
        pages = runbooks.see([finding.code for finding in found.errors], indent="").splitlines()
        errors = [str(finding) for finding in found.errors]
        return {"retcode": 1, "errors": errors, "warnings": warnings, "more": [line for line in pages if line]}
    return {"valid": f"{found.cluster.name}: {len(found.cluster.nodes)} nodes", "warnings": warnings}


def preflight():
    """Say what stands in the way of a bring-up, on all nodes at once. The nodes get this checkout's modules first.

    As data (``--out=json``) each problem has node, cause, remedy and its code (``saltern/preflight_codes.py``).

    CLI Example:

    .. code-block:: bash

        salt-run cluster.preflight
        salt-run --out=json cluster.preflight
    """
    return _answered(lambda run: readiness.examined(run, deadline_s=readiness.PING_EVERY_S * 2).comment)


def plan():
    """Say what ``orchestrate.cluster`` would do now, on which nodes, in which order, and why. Changes nothing.

    CLI Example:

    .. code-block:: bash

        salt-run cluster.plan
    """

    def planned(run):
        readiness.minions_answer(run, deadline_s=readiness.PING_EVERY_S)
        readiness.preflight(run)
        steps = plans.bring_up(stages.picture(run))
        return report.plan_data(steps) if _wants_data() else report.plan(steps)

    return _answered(planned, test=True)


def status(wait_s=STATUS_WAIT_S):
    """Say how the cluster stands, in less than 5 s. Exit code 1 when something is wrong.

    Per node: Ready, versions, drift since its last state run, the certificate that ends first; etcd's members and
    leader, the load balancers' servers, charts, pods that are not ready; then everything that is wrong with what to
    type. What drift does not show: docs/decisions.md, "Drift is what the states of the last run would change".

    wait_s
        Seconds after which a node that has not answered is named as silent.

    CLI Example:

    .. code-block:: bash

        salt-run cluster.status
        salt-run --out=json cluster.status wait_s=10
    """

    def stands(run):
        judged = standing.judge(run.cluster, inquiry.ask(run, float(wait_s)), float(wait_s))
        retcode = 0 if judged.healthy else 1
        if _wants_data():
            return report.status_data(judged) | {"retcode": retcode}
        return {"data": {"text": report.status(judged), "retcode": retcode}, "outputter": "told"}

    return _answered(stands)


def summary():
    """Print the cluster's nodes, versions, endpoint, the last run's time per stage, and what to type next.

    CLI Example:

    .. code-block:: bash

        salt-run cluster.summary
    """

    def summed_up(run):
        last = record.last_run(run.directory, ORCHESTRATION)
        nodes = _of_any(run, "kube.nodes")
        if _wants_data():
            return {"cluster": run.cluster.name, "endpoint": str(run.cluster.endpoint), "nodes": nodes, "run": last}
        return report.summary(run.cluster, nodes, last)

    return _answered(summed_up)


def history(limit=20):
    """List the recorded runs, newest first: ID, job, who, when, how long, result, how many nodes were changed.

    limit
        How many; 0 for all that are kept (``saltern: keep_runs`` of the master's configuration, default 100).

    CLI Example:

    .. code-block:: bash

        salt-run cluster.history
        salt-run --out=json cluster.history limit=5
    """

    def listed(run):
        rows = [report.history_row(data) for data in itertools.islice(record.runs(run.directory), limit or None)]
        return rows if _wants_data() else report.history(rows)

    return _answered(listed)


def show_run(id=None):
    """Show what a run did: stages and steps with their times, changes on each node, problems. Default: the last one.

    id
        The run, as ``cluster.history`` lists it.

    CLI Example:

    .. code-block:: bash

        salt-run cluster.show_run
        salt-run --out=json cluster.show_run 20260131120000123456
    """

    def shown(run):
        data = record.read(run.directory, None if id is None else str(id))
        return data if _wants_data() else report.run(data)

    return _answered(shown)


def kubeconfig(path=None):
    """Fetch an administrator's kubeconfig from a control-plane node, into a file (mode 0600) or to standard output.

    path
        The file; without it the text is printed, and kept nowhere.

    On its way it is sealed with a key made for this one call, so neither job cache nor event bus hold it.

    CLI Example:

    .. code-block:: bash

        salt-run cluster.kubeconfig path=$HOME/.kube/config
    """

    def fetched(run):
        key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
        sealed = _of_any(run, "kubeadm.admin_kubeconfig", {"public_key": _public_pem(key)})
        text = _open(sealed, key)["kubeconfig"]
        if path is None:
            sys.stdout.write(text)
            return {"data": "", "outputter": "told"}
        target = Path(path).expanduser()
        _write(target, text)
        return f"{target}: written, for https://{run.cluster.endpoint}"

    return _answered(fetched)


def _write(target, text):
    """Write a kubeconfig. Raises StageError when it cannot be written there."""
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        record.write_private(target, text)
    except OSError as err:
        cause = f"{target} cannot be written: {err.strerror}"
        remedy = "name a file of yours: salt-run cluster.kubeconfig path=FILE"
        raise StageError(Problem("", "Kubeconfig", cause, remedy, code="kubeconfig-not-written")) from err


def _answered(work, test=False):
    """Do the work with a run of its own; what goes wrong becomes the error that salt-run prints and exits with 1 on."""
    master = __opts__["conf_file"]
    run = Run(connect=lambda: __utils__["saltern_bus.transport"](master), **settings(__opts__), test=test)
    try:
        told = work(run)
    except EXPECTED as err:
        failed = {"retcode": 1, "error": runbooks.told(err)}
        as_data = isinstance(err, StageError) and _wants_data()
        return failed | ({"problems": [vars(problem) for problem in err.problems]} if as_data else {})
    finally:
        run.close(record.SUCCEEDED)
    return {"data": told, "outputter": "txt"} if isinstance(told, str) else told


def _of_any(run, function, kwarg=None):
    """What the first control-plane node that can answers. Raises StageError with what each said when none can."""
    step = Step("any", function, run.table.control_plane, Call(function, kwarg=kwarg or {}), deadline_s=FACTS_S)
    asked = run.new_job([step])
    problems = asked.run()
    failed = {problem.node for problem in problems}
    good = [answer.value for node, answer in asked.outcomes["any"].answers.items() if node not in failed]
    if not good:
        raise StageError(*problems)
    return good[0]


def _wants_data():
    """Whether the operator asked for a format of data (--out=json)."""
    return bool(__opts__.get("output"))


def _public_pem(key):
    public = key.public_key()
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def _open(sealed, key):
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return salt.loader.raw_mod(__opts__, "sealed", functions={})["sealed.open_"](sealed, pem)
