"""Static pods of a node: their manifests, and the containers that the kubelet makes of them."""

import time
from pathlib import Path

from salt.exceptions import CommandExecutionError

# What the kubelet needs at most to notice a manifest (fileCheckFrequency 20 s; it watches the directory too).
NOTICE_S = 25
# Termination grace of 30 s, and a start on a loaded machine.
DEADLINE_S = 150
POLL_S = 0.5


def settle(path, facts_wanted):
    """Give a manifest its content, owner and mode, and wait until the kubelet runs the pod that it describes.

    path: the manifest, whose name is its pod's and its container's; facts_wanted: as for ``config_file.settle``.
    Raises CommandExecutionError when the pod does not come back.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 static_pod.settle /etc/kubernetes/manifests/kube-scheduler.yaml '{content: ..., user: root}'
    """
    name = Path(path).stem
    before = set(__salt__["kubeconfig_endpoints.containers"](name))
    old = __salt__["config_file.facts"](path).get("content")
    __salt__["config_file.settle"](path, facts_wanted)
    if not __salt__["kubeadm_files.same_meaning"](old, facts_wanted["content"]):
        _wait(name, before)


def _wait(name, before):
    """Until another container runs than before; or, when the kubelet had not noticed the drift yet, still the same."""
    begin = time.monotonic()
    while True:
        now = set(__salt__["kubeconfig_endpoints.containers"](name))
        waited_s = time.monotonic() - begin
        if now - before or (now and waited_s > NOTICE_S):
            return
        if waited_s > DEADLINE_S:
            raise CommandExecutionError(
                f"{__opts__['id']}: {name} did not come back within {DEADLINE_S} s after its manifest was mended: "
                "journalctl -u kubelet; crictl ps -a; crictl logs"
            )
        time.sleep(POLL_S)
