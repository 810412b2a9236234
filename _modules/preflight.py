"""
What stands in the way of making this machine a node: all findings at once, before anything is changed.

Reads only. A node that is a member already is not held to what only a bring-up needs. The modules ``preflight_*`` look,
this one puts their findings together. What only a comparison of nodes shows (clocks, names, hardware addresses, who
reaches whom) is told as facts, and compared on the master by ``saltern/preflight.py``.
"""

import threading
import time

# What the network is given in all, from the start of the first connection: names, artefacts, registries, other nodes.
NETWORK_S = 10


def findings(peers=None):
    """
    Report what stands in the way on this node, and the facts that the master compares.

    peers
        Names of the nodes that are up, this one may be among them; default: the whole table.

    Returns a mapping:

    * ``findings``: ``[{"code", "what", "where", "why", "remedy"}]``; codes: ``saltern/preflight_codes.py``
    * ``facts``: as ``preflight_identity.facts`` gives them
    * ``unreached``: ``[{"node", "port", "reason"}]``, other nodes to which the way is blocked
    * ``clock``: this node's clock, seconds since the epoch, at the begin and at the end of the call

    CLI Example:

    .. code-block:: bash

        salt '*' preflight.findings
    """
    began = time.time()
    role = __pillar__["saltern"]["node"]["role"]
    begun = __salt__["preflight_membership.begun"](role)
    # The network is asked while everything else is looked at.
    asked = _Together(__salt__["preflight_network.probes"](role, begun, peers))
    found = [
        *__salt__["preflight_machine.findings"](role, begun),
        *__salt__["preflight_disk.findings"](role, begun),
        *(__salt__["preflight_kernel.findings"]() if role != "load_balancer" else []),
        *__salt__["preflight_membership.findings"](role, begun),
        *__salt__["preflight_identity.findings"](role, begun),
        *__salt__["preflight_packages.findings"](),
    ]
    answers = asked.answers(NETWORK_S)
    return {
        "findings": found + __salt__["preflight_answers.findings"](answers),
        # Only now are the other nodes' hardware addresses known: they were connected to.
        "facts": __salt__["preflight_identity.facts"](),
        "unreached": __salt__["preflight_answers.unreached"](answers),
        "clock": [began, time.time()],
    }


def clock():
    """
    Give this node's clock, in seconds since the epoch.

    CLI Example:

    .. code-block:: bash

        salt '*' preflight.clock
    """
    return time.time()


def finding(code, what, where, why, remedy):
    """
    Put a finding together.

    code
        Its stable name, of ``saltern/preflight_codes.py``.
    what, where, why
        What is the case, the file, port or server that shows it, and why it matters.
    remedy
        What to type or to change.

    CLI Example:

    .. code-block:: bash

        salt-call --local preflight.finding disk-full '12 MiB free' / 'images need more' 'enlarge the disk'
    """
    return {"code": code, "what": what, "where": where, "why": why, "remedy": remedy}


def ignored():
    """
    Give the checks of kubeadm that the definition ignores (``kubeadm.ignore_preflight_errors``), in lower case.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 preflight.ignored
    """
    return [check.lower() for check in __pillar__["saltern"].get("kubeadm", {}).get("ignore_preflight_errors", [])]


class _Together:
    """Functions that wait for the network, each in a thread of its own.

    The threads are daemons: a name server that never answers holds up neither the report nor the end of the job.
    """

    def __init__(self, functions):
        self._began, self._answers, self._threads = time.monotonic(), {}, {}
        for key, function in functions.items():
            self._threads[key] = threading.Thread(target=self._call, args=(key, function), daemon=True)
            self._threads[key].start()

    def _call(self, key, function):
        self._answers[key] = function()

    def answers(self, deadline_s):
        """{key: answer} once all have answered or DEADLINE_S have passed since the start; late ones say so."""
        for thread in self._threads.values():
            thread.join(max(0.0, self._began + deadline_s - time.monotonic()))
        return {key: self._answers.get(key, f"no answer within {deadline_s} s") for key in self._threads}
