"""
The container runtime uses the CNI configuration that Cilium's agent has written.
"""

from salt.exceptions import CommandExecutionError


def loaded(name, deadline_s=300, grace_s=15):
    """
    The runtime of this node has taken up its CNI configuration; CRI-O and the kubelet are restarted only if it has not.

    Document 0 restarts both once after Cilium's installation. CRI-O watches its CNI directory by inotify and takes up a
    new file at once, so on a sound node that restart only costs time. It is needed when that watch has died: on an
    error of the watcher (its goroutine ends for good: ocicni's monitorConfDir, seen when the machine is out of inotify
    instances) or when the directory was replaced by another of its name.

    name
        For people.

    deadline_s
        Seconds until the agent has written its configuration.

    grace_s
        Seconds that the runtime is given to see it by itself.

    .. code-block:: yaml

        The runtime has taken up the CNI configuration:
          cni.loaded: []
    """
    ret = {"name": name, "result": True, "changes": {}}
    try:
        ready, message = __salt__["cni.network_ready"]()
        if ready:
            return ret | {"comment": f"{name}: the runtime's network is ready"}
        if __opts__["test"]:
            return ret | {"result": None, "comment": f"{name}: {message}; would wait, then restart crio and kubelet"}
        if not __salt__["cni.wait"]("configured", deadline_s):
            why = f"no CNI configuration from Cilium within {deadline_s} s: kubectl -n kube-system get pods -o wide"
            return ret | {"result": False, "comment": f"{name}: {why}"}
        if __salt__["cni.wait"]("ready", grace_s):
            return ret | {"comment": f"{name}: the runtime's network is ready"}
        restarted = {service: _restart(service) for service in ("crio", "kubelet")}
        ready = __salt__["cni.wait"]("ready", grace_s)
    except CommandExecutionError as err:
        return ret | {"result": False, "comment": f"{name}: {err}"}
    ret["changes"] = restarted
    if not ready:
        message = __salt__["cni.network_ready"]()[1]
        return ret | {"result": False, "comment": f"{name}: not ready after a restart either: {message}"}
    return ret | {"comment": f"{name}: the runtime had not seen its CNI configuration; restarted, ready now"}


def absent(name):
    """
    Nothing of Cilium is left on this node: no CNI configuration, no links, BPF programs, mounts or firewall rules.

    Refused while its agent runs here: it would put all of that back, and the node's pods use it.

    name
        For people.

    .. code-block:: yaml

        Nothing of Cilium is left on this node:
          cni.absent: []
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{name}: nothing is left"}
    try:
        left = __salt__["kubeadm_reset.network_left"]()
        if not left:
            return ret
        plan = {what: {"old": "present", "new": None} for what in left}
        if agents := __salt__["cni.agents"]():
            why = f"Cilium's agent runs on this node (process {agents[0]}): apply cilium.clean to a control-plane node"
            return ret | {"result": False, "comment": f"{name}: {why} first"}
        if __opts__["test"]:
            return ret | {"result": None, "changes": plan, "comment": f"{name}: would remove {', '.join(left)}"}
        __salt__["kubeadm_reset.wipe_network"]()
        still = __salt__["kubeadm_reset.network_left"]()
    except CommandExecutionError as err:
        return ret | {"result": False, "comment": f"{name}: {err}"}
    ret["changes"] = {what: change for what, change in plan.items() if what not in still}
    if still:
        return ret | {"result": False, "comment": f"{name}: still there: {', '.join(still)}"}
    return ret | {"comment": f"{name}: removed {', '.join(left)}"}


def _restart(service):
    if not __salt__["service.restart"](service):
        raise CommandExecutionError(f"{service} could not be restarted (journalctl -u {service})")
    return {"old": "running", "new": "restarted"}
