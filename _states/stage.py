"""Stages of an orchestration, as states that run on the master inside ``salt-run state.orchestrate``.

Each state is one stage: its ID is the title that the operator sees, its progress goes to standard error while it runs,
its result holds what changed on which node, or what went wrong and what to type next. The work is in
``saltern/stages.py``.

.. code-block:: yaml

    Nobody else is at work, and the definition is valid:
      stage.begin:
        - failhard: True

    The load balancers run HAProxy:
      stage.applied:
        - roles: [load_balancer]
        - sls: [os, haproxy]
        - failhard: True

``failhard`` stops the orchestration at the stage that fails. In test mode nothing is changed: each stage says what
would be done on which nodes, and why.
"""

from pathlib import Path

try:
    from saltern import addition, commands, readiness, rebuild, removal, replacement, restart, stages, teardown
    from saltern.run import Run, settings
    from saltern.steps import Call

    MISSING = ""
except ImportError as err:  # these files reach the nodes too, where the package saltern is not
    MISSING = str(err)

# Where the run of an orchestration is kept between its states.
CONTEXT_KEY = "saltern.run"


def __virtual__():
    return (False, f"stages run on the master, where the package saltern is: {MISSING}") if MISSING else "stage"


def begin(name):
    """Check the definition, take the cluster's lock, open the record of the run.

    name
        The stage's title.
    """
    return _stage(name, stages.begin)


def machines(name, map=None, deadline_s=1800):
    """Every machine of the table runs; salt-cloud makes those that are missing and starts those that are off.

    name
        The stage's title.
    map
        The map file; default: ``cloud.maps.d/cluster.map`` beside the master's configuration, else of the checkout.
    deadline_s
        Seconds for all machines together.
    """
    return _stage(name, lambda run: stages.machines(run, _salt_cloud(), _map(map), deadline_s))


def minions_answer(name, deadline_s=300):
    """Every node's key is accepted, its minion answers, and it has the modules and the pillar of this checkout.

    name
        The stage's title.
    deadline_s
        Seconds for the minions of machines that have just started.
    """
    return _stage(name, lambda run: readiness.minions_answer(run, deadline_s))


def preflight(name):
    """Nothing stands in the way on any node (all findings at once); learns which nodes belong to the cluster already.

    name
        The stage's title.
    """
    return _stage(name, readiness.preflight)


def reached(name, stage):
    """The steps of one stage of a bring-up have succeeded; ``saltern/plan.py`` says which they are.

    name
        The stage's title.
    stage
        prepared, initialised, joined, ready, announced or serving.
    """
    return _stage(name, lambda run: stages.reached(run, stage))


def applied(name, sls, roles=None, nodes=None, pillar=None, one_at_a_time=False, deadline_s=1200):
    """SLS have been applied to nodes, each of which answered.

    name
        The stage's title.
    sls
        List of SLS.
    roles, nodes
        Which nodes: all of these roles of the table, or these minion IDs.
    pillar
        Pillar for this call.
    one_at_a_time
        The next node only when the one before has succeeded.
    deadline_s
        Seconds that a node may take.
    """
    return _stage(
        name,
        lambda run: stages.applied(run, name, _targets(run, roles, nodes), sls, pillar, one_at_a_time, deadline_s),
    )


def called(name, function, roles=None, nodes=None, arg=(), kwarg=None, expect=None, deadline_s=120):
    """A function was called on nodes, and each answer is as expected.

    name
        The stage's title.
    function
        Function of an execution module.
    roles, nodes
        Which nodes: all of these roles of the table, or these minion IDs.
    arg, kwarg
        Its arguments.
    expect
        The value that each node must return; without it any value of a call that succeeds.
    deadline_s
        Seconds that a node may take.
    """
    call = Call(function, tuple(arg), kwarg or {})
    judge = None if expect is None else lambda node, value: _unlike(value, expect)
    return _stage(name, lambda run: stages.called(run, name, _targets(run, roles, nodes), call, judge, deadline_s))


def verified(name, deadline_s=120):
    """The cluster's test service answers on its LoadBalancer address, asked from the master.

    name
        The stage's title.
    deadline_s
        Seconds until it must have answered.
    """
    return _stage(name, lambda run: stages.verified(run, deadline_s))


def addition_begun(name):
    """As :func:`begin`, for nodes that are to be added: waits for another operation to end, unless etcd is concerned.

    name
        The stage's title.

    Pillar: ``node`` or ``nodes`` (names), ``wait_s``; of a reactor's call ``automatic`` and ``turn``.
    """
    return _stage(name, lambda run: addition.begin(run, __pillar__))


def newcomers_answer(name, deadline_s=300):
    """The new nodes' minions answer, and have the modules and the pillar of this checkout.

    name
        The stage's title.
    deadline_s
        Seconds for the minions of machines that have just started.
    """
    return _stage(name, lambda run: addition.answer(run, deadline_s))


def addition_checked(name):
    """Nothing stands in the way on the new nodes, and the cluster can take them in.

    name
        The stage's title.
    """
    return _stage(name, addition.check)


def addition_reached(name, stage):
    """The steps of one stage of an addition have succeeded; ``saltern/plan_add.py`` says which they are.

    name
        The stage's title.
    stage
        prepared, joined or ready.
    """
    return _stage(name, lambda run: addition.reached(run, stage))


def removal_begun(name):
    """As :func:`begin`, for a removal: nothing is changed unless the pillar of the call says ``confirm: true``.

    name
        The stage's title.

    Pillar: ``node`` or ``nodes`` (names), ``confirm``, ``force`` (a dead node), ``drain_timeout_s``.
    """
    return _stage(name, lambda run: removal.begin(run, __pillar__))


def removal_planned(name):
    """It is known which nodes leave, what moves and what goes, and nothing forbids it.

    name
        The stage's title.
    """
    return _stage(name, lambda run: removal.planned(run, _salt_cloud()))


def removal_reached(name, stage):
    """The steps of one stage of a removal have succeeded; ``saltern/plan_remove.py`` says which they are.

    name
        The stage's title.
    stage
        emptied or dismissed.
    """
    return _stage(name, lambda run: removal.reached(run, stage))


def machines_gone(name, deadline_s=600):
    """The machines of the nodes that leave are destroyed, and so are their minion keys.

    name
        The stage's title.
    deadline_s
        Seconds for all machines together.
    """
    return _stage(name, lambda run: removal.machines_gone(run, _salt_cloud(), deadline_s))


def removal_forgotten(name):
    """The cluster has no Nodes of the removed names any more.

    name
        The stage's title.
    """
    return _stage(name, removal.forgotten)


def replacement_begun(name):
    """As :func:`begin`, for a replacement: nothing is changed unless the pillar of the call says ``confirm: true``.

    name
        The stage's title.

    Pillar: ``node`` or ``nodes`` (names), ``confirm``, ``force``, ``anew``, ``drain_timeout_s``.
    """
    return _stage(name, lambda run: replacement.begin(run, __pillar__))


def replacement_planned(name):
    """It is known which nodes are replaced, what goes, moves and comes, and nothing forbids it.

    name
        The stage's title.
    """
    return _stage(name, lambda run: replacement.planned(run, _salt_cloud()))


def replaced(name, gone_s=600, made_s=1800, answer_s=300):
    """Each node has a new machine and is what it was, one after the other.

    name
        The stage's title.
    gone_s, made_s, answer_s
        Seconds for each node: for its machine to be destroyed, to be made, for the new minion to answer.
    """
    limits = replacement.Limits(gone_s, made_s, answer_s)
    return _stage(name, lambda run: replacement.replaced(run, _salt_cloud(), limits))


def restart_begun(name):
    """As :func:`begin`, for a rolling restart: nothing is changed unless the pillar of the call says ``confirm: true``.

    name
        The stage's title.

    Pillar: ``node``, ``nodes``, ``roles`` or ``all``; ``upgrade``, ``share``, ``confirm``, ``anew``,
    ``drain_timeout_s``.
    """
    return _stage(name, lambda run: restart.begin(run, __pillar__))


def restart_planned(name):
    """It is known which nodes restart, which of them together, what moves, and nothing forbids it.

    name
        The stage's title.
    """
    return _stage(name, restart.planned)


def restarted(name, upgrade_s=1800, boot_s=600, whole_s=300, pods_s=600):
    """Each node has restarted and serves again, one batch after the other.

    name
        The stage's title.
    upgrade_s, boot_s, whole_s, pods_s
        Seconds for each node: to upgrade its packages, to answer out of a new boot, to be a whole member of the control
        plane, to have its pods ready.
    """
    limits = restart.Limits(upgrade_s, boot_s, whole_s, pods_s)
    return _stage(name, lambda run: restart.restarted(run, limits))


def teardown_begun(name):
    """As :func:`begin`, for a teardown: nothing is changed unless the pillar of the call says ``confirm: CLUSTER``.

    name
        The stage's title.

    Pillar: ``confirm`` (the cluster's name), ``keep_machines``.
    """
    return _stage(name, lambda run: teardown.begin(run, __pillar__))


def teardown_planned(name):
    """It is known what goes with the cluster.

    name
        The stage's title.
    """
    return _stage(name, lambda run: teardown.planned(run, _salt_cloud()))


def teardown_reached(name, stage):
    """The steps of one stage of a teardown have succeeded; ``saltern/plan_teardown.py`` says which they are.

    name
        The stage's title.
    stage
        emptied, left or cleaned.
    """
    return _stage(name, lambda run: teardown.reached(run, stage))


def teardown_machines_gone(name, deadline_s=600):
    """Every machine of the table is destroyed, unless they are kept.

    name
        The stage's title.
    deadline_s
        Seconds for the machines of one role.
    """
    return _stage(name, lambda run: teardown.machines_gone(run, _salt_cloud(), deadline_s))


def rebuild_begun(name):
    """As :func:`teardown_begun`, for a cluster that is made anew in the same run.

    name
        The stage's title.

    Pillar: ``confirm`` (the cluster's name).
    """
    return _stage(name, lambda run: rebuild.begin(run, __pillar__))


def rebuild_planned(name):
    """It is known what goes with the cluster, unless an earlier run has taken it down already.

    name
        The stage's title.
    """
    return _stage(name, lambda run: rebuild.planned(run, _salt_cloud()))


def taken_down(name, deadline_s=600):
    """Every machine of the table is destroyed, so that all are made anew.

    name
        The stage's title.
    deadline_s
        Seconds for the machines of one role.
    """
    return _stage(name, lambda run: rebuild.taken_down(run, _salt_cloud(), deadline_s))


def end(name):
    """Close the record of the run and give back the lock.

    name
        The stage's title.
    """
    return _stage(name, stages.end)


def _stage(name, work):
    run = _run()
    told = run.do(name, lambda: work(run))
    return {"name": name, "result": told.result, "changes": told.changes, "comment": told.comment}


def _run():
    """The run that the states of one orchestration share."""
    run = __context__.get(CONTEXT_KEY)
    if run is None:
        run = __context__[CONTEXT_KEY] = _new_run()
    return run


def _new_run():
    master = __opts__["conf_file"]
    chunks = [chunk for chunk in __lowstate__ if chunk["state"] == "stage"]
    return Run(
        connect=lambda: __utils__["saltern_bus.transport"](master),
        **settings(__opts__),
        jid=str(__low__.get("__orchestration_jid__", "")),
        user=__utils__["saltern_bus.user"](),
        # Stages may be included from files that jobs share: the last one is in the file that was called.
        orchestration=chunks[-1]["__sls__"],
        titles=[chunk["__id__"] for chunk in chunks],
        test=bool(__opts__["test"]),
    )


def _targets(run, roles, nodes):
    """Minion IDs of roles of the table, or those given."""
    if nodes:
        return tuple(nodes)
    return tuple(node for role in roles or () for node in run.table.of_role(role))


def _unlike(value, expected):
    return None if value == expected else f"returned {value!r}, expected {expected!r}"


def _salt_cloud():
    return commands.salt_cloud(__opts__["conf_file"])


def _map(map_file):
    """The map of the table: the one that is named, else beside the master's configuration, else of the checkout."""
    beside = _configuration() / "cloud.maps.d" / "cluster.map"
    checkout = Path(stages.__file__).parents[1] / "cloud.maps.d" / "cluster.map"
    return str(map_file or (beside if beside.exists() else checkout))


def _configuration():
    return Path(__opts__["conf_file"]).parent
