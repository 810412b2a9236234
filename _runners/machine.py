"""What happens when a machine has been made: ``reactor/machine_created.sls`` calls this, on the master."""

import json
import logging
import os
import subprocess

from saltern import arrivals, commands, definition, record, runbooks

log = logging.getLogger(__name__)

ORCHESTRATION = "orchestrate.node_add"


def created(name, job=""):
    """Have a new worker join the cluster, unless that is switched off or somebody else's business.

    A process of its own does it (``orchestrate.node_add``): it can be seen, and stopped, like one that an operator
    started. What it prints is kept in ``<state_dir>/<cluster>/node_add.log``.

    name
        The machine.

    job
        The orchestration that had it made, and adds it itself; empty for an operator's own ``salt-cloud``.

    Returns what came of it: a sentence, or ``{"retcode": 1, "error": ..}``.

    CLI Example:

    .. code-block:: bash

        salt-run machine.created saw-k8s-w-05
    """
    places = definition.places(__opts__.get("saltern", {}))
    try:
        cluster = definition.load(**places)
        directory = record.cluster_dir(places["state_dir"], cluster.name)
        reason = arrivals.stays_out(cluster, name, job)
    except (definition.DefinitionError, record.RecordError) as err:
        return _failed(f"{name} was not added to its cluster: {runbooks.told(err)}")
    if reason:
        log.info("Not added by itself: %s", reason)
        return f"not added by itself: {reason}"
    arrivals.Arrivals(directory).announce(name)
    turn = arrivals.Turn()
    if not turn.take(directory):
        return f"{name}: goes along with an addition that waits already"
    try:
        return _add(name, turn, directory)
    finally:
        turn.close()


def _add(name, turn, directory):
    """Run the orchestration, and wait for it: a reactor's threads are for that."""
    pillar = json.dumps({"automatic": True, "turn": turn.fd})
    command = [*commands.salt_run(__opts__["conf_file"]), "state.orchestrate", ORCHESTRATION, f"pillar={pillar}"]
    path = directory / "node_add.log"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w") as out:
        out.write(f"\n{record.timestamp()} {name} was made\n")
        out.flush()
        process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            pass_fds=[turn.fd],
            start_new_session=True,
        )
    turn.close()  # the process has it now
    if code := process.wait():
        return _failed(f"{name} was not added to its cluster (exit code {code}): see {path}; salt-run cluster.history")
    return f"{name}: added; see {path}"


def _failed(text):
    log.error("%s", text)
    return {"retcode": 1, "error": text}
