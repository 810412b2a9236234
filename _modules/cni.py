"""
Whether the container runtime of this node has taken up the CNI configuration that Cilium's agent writes.
"""

import json
import time
from pathlib import Path

from salt.exceptions import CommandExecutionError

CRICTL_TIMEOUT_S = 30
AGENT = "cilium-agent"


def configurations():
    """
    Name the active CNI configurations in the sandbox, in the order in which the runtime takes them (the first counts).

    CLI Example:

    .. code-block:: bash

        salt '*' cni.configurations
    """
    directory = Path(__salt__["sandbox.path"]("etc", "cni", "net.d"))
    return sorted(path.name for path in directory.glob("*") if path.suffix in (".conf", ".conflist", ".json"))


def agents(proc="/proc"):
    """
    Give the process IDs of Cilium's agents on this node.

    proc
        Where the kernel's process table is mounted.

    CLI Example:

    .. code-block:: bash

        salt '*' cni.agents
    """
    found = []
    for path in Path(proc).glob("[0-9]*/comm"):
        try:
            name = path.read_text().strip()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while it was read
        found += [int(path.parent.name)] if name == AGENT else []
    return sorted(found)


def network_ready():
    """
    Ask the runtime whether pods can have a network: ``(bool, its message)``.

    CLI Example:

    .. code-block:: bash

        salt '*' cni.network_ready
    """
    endpoint = f"--runtime-endpoint={__pillar__['saltern']['kubeadm']['join']['nodeRegistration']['criSocket']}"
    answer = __salt__["sandbox.run"]("../usr/local/bin/crictl", [endpoint, "info"], timeout_s=CRICTL_TIMEOUT_S)
    if answer["retcode"]:
        raise CommandExecutionError(f"{__opts__['id']}: crictl info: {answer['stderr'].strip()} (journalctl -u crio)")
    return parse_info(answer["stdout"])


def parse_info(text):
    """
    Read what ``crictl info`` printed: ``(network ready, message)``.

    text
        JSON.

    CLI Example:

    .. code-block:: bash

        salt-call --local cni.parse_info '{"status": {"conditions": []}}'
    """
    conditions = {item["type"]: item for item in json.loads(text)["status"]["conditions"]}
    network = conditions.get("NetworkReady", {"status": False, "message": "the runtime says nothing of its network"})
    return bool(network["status"]), network.get("message", "")


def wait(goal, deadline_s):
    """
    Wait until ``configurations`` or ``network_ready`` is true; tells whether it came to be.

    goal
        "configured" or "ready".

    deadline_s
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt '*' cni.wait ready 10
    """
    deadline = time.monotonic() + deadline_s
    while not (bool(configurations()) if goal == "configured" else network_ready()[0]):
        if time.monotonic() > deadline:
            return False
        time.sleep(1)  # the agent's start (BPF compilation) takes its time, and the runtime's inotify event a moment
    return True
