"""
Waits on the cluster as states: ready now, or ready within the deadline, or a failure that says which pod and why.

They change nothing; in test mode they say whether they would wait.
"""

from salt.exceptions import CommandExecutionError


def rolled_out(name, kind, namespace, deadline_s=300):
    """
    A workload runs in its newest form on every node that it should.

    name, kind, namespace
        Which Deployment, DaemonSet or StatefulSet.

    deadline_s
        Seconds until it gives up.

    .. code-block:: yaml

        cilium:
          kube.rolled_out:
            - kind: daemonset
            - namespace: kube-system
    """

    def ready():
        return __salt__["kube.rolled_out"](__salt__["kube.get"](kind, name, namespace))

    def wait():
        return __salt__["kube.wait_rollout"](kind, name, namespace, deadline_s)

    return _waited(name, ready, wait)


def pods_ready(name, deadline_s=300):
    """
    Every pod of a namespace is ready.

    name
        The namespace.

    deadline_s
        Seconds until it gives up.

    .. code-block:: yaml

        kube-system:
          kube.pods_ready: []
    """

    def ready():
        pods = __salt__["kube.get"]("pods", None, name)
        unready = [pod for pod in pods if __salt__["kube.pod_trouble"](pod)]
        return bool(pods) and not unready, f"{len(pods) - len(unready)} of {len(pods)} pods ready"

    def wait():
        return __salt__["kube.wait_pods_ready"](name, deadline_s)

    return _waited(name, ready, wait)


def endpoint_ready(name, namespace, deadline_s=120):
    """
    A service has a ready endpoint behind it.

    name, namespace
        Which service.

    deadline_s
        Seconds until it gives up.

    .. code-block:: yaml

        metallb-webhook-service:
          kube.endpoint_ready:
            - namespace: metallb-system
    """

    def ready():
        slices = __salt__["kube.get"]("endpointslice", None, namespace, f"kubernetes.io/service-name={name}")
        endpoints = [endpoint for item in slices for endpoint in item.get("endpoints") or []]
        behind = sum(1 for endpoint in endpoints if endpoint.get("conditions", {}).get("ready"))
        return behind > 0, f"{behind} ready endpoints"

    def wait():
        return __salt__["kube.wait_endpoints"](name, namespace, deadline_s)

    return _waited(name, ready, wait)


def load_balancer_ready(name, namespace, deadline_s=120):
    """
    A service of type LoadBalancer has its address; the comment tells it.

    name, namespace
        Which service.

    deadline_s
        Seconds until it gives up.

    .. code-block:: yaml

        web:
          kube.load_balancer_ready:
            - namespace: verification
    """

    def ready():
        address = __salt__["kube.load_balancer_address"](__salt__["kube.get"]("service", name, namespace))
        return address is not None, f"address {address}"

    def wait():
        return f"address {__salt__['kube.wait_load_balancer'](name, namespace, deadline_s)}"

    return _waited(name, ready, wait)


def _waited(name, ready, wait):
    """Ask once; wait only if that says no, and not in test mode."""
    ret = {"name": name, "result": True, "changes": {}}
    try:
        is_ready, how_far = ready()
        if is_ready:
            return ret | {"comment": f"{name}: {how_far}"}
        if __opts__["test"]:
            return ret | {"result": None, "comment": f"{name}: {how_far}; would wait for it"}
        return ret | {"comment": f"{name}: {wait()}"}
    except CommandExecutionError as err:
        return ret | {"result": False, "comment": f"{name}: {err}"}
