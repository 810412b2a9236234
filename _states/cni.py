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


def _restart(service):
    if not __salt__["service.restart"](service):
        raise CommandExecutionError(f"{service} could not be restarted (journalctl -u {service})")
    return {"old": "running", "new": "restarted"}
