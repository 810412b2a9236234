"""
Helm releases: what is deployed, and the verbs to change it.

Helm waits for nothing here: whether pods run is told by ``kube.wait_rollout``, which says why they do not. And it
rolls nothing back: taking away a CNI that came up slowly hides the cause and leaves a worse cluster.
"""

import json

from salt.exceptions import CommandExecutionError


def get(name, namespace):
    """
    Give the newest revision of a release, or None when there is none.

    name, namespace
        Which release.

    Returns ``{"version": chart version, "app_version", "status", "revision": int, "values": {}}``; status as helm has
    it: deployed, failed, pending-install, pending-upgrade, pending-rollback, uninstalling.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 helm_release.get cilium kube-system
    """
    listed = json.loads(_helm(["list", f"--namespace={namespace}", f"--filter=^{name}$", "--output=json"]))
    if not listed:
        return None
    metadata = json.loads(_helm(["get", "metadata", name, f"--namespace={namespace}", "--output=json"]))
    values = json.loads(_helm(["get", "values", name, f"--namespace={namespace}", "--output=json"]))
    return {
        "version": metadata["version"],
        "app_version": metadata["appVersion"],
        "status": metadata["status"],
        "revision": metadata["revision"],
        "values": values or {},
    }


def deploy(name, namespace, chart, values, timeout_s=300):
    """
    Install or upgrade a release with exactly these values (none of an earlier revision is kept).

    name, namespace
        Which release. The namespace exists.

    chart
        Path of the chart archive on the node.

    values
        Mapping; goes in on standard input, so it is neither in argv nor in a file. As JSON, which is YAML: a state gets
        its arguments as Salt's own ordered mappings, which PyYAML cannot write.

    timeout_s
        Seconds for helm's own calls and hooks.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 helm_release.deploy cilium kube-system /opt/sandbox/charts/cilium-1.20.1.tgz '{}'
    """
    args = ["upgrade", name, chart, "--install", f"--namespace={namespace}", "--reset-values", "--force-conflicts"]
    args += ["--server-side=true", "--history-max=5", f"--timeout={timeout_s}s", "--hide-notes", "--output=json"]
    _helm(
        [*args, "--values=-"],
        stdin=json.dumps(values),
        timeout_s=timeout_s + 60,
        before_again=lambda: _unblock(name, namespace),
    )
    return get(name, namespace)


def drop_pending(name, namespace, revision):
    """
    Forget a revision that a killed helm left as pending, so that the next deploy is not refused.

    Helm keeps a revision as a secret and takes a pending one for another helm at work. Dropping the secret touches none
    of the objects; the next deploy adopts them, because they carry the release's name.

    name, namespace, revision
        Which revision; it must be pending.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 helm_release.drop_pending cilium kube-system 1
    """
    present = get(name, namespace)
    if not present or present["revision"] != revision or not present["status"].startswith("pending-"):
        raise CommandExecutionError(
            f"{__opts__['id']}: revision {revision} of release {name} is not pending "
            f"({present['status'] if present else 'no such release'}): nothing dropped"
        )
    secret = f"sh.helm.release.v1.{name}.v{revision}"
    return __salt__["kube.kubectl"](["delete", "secret", secret, f"--namespace={namespace}"]).strip()


def remove(name, namespace, timeout_s=300):
    """
    Uninstall a release and wait until its objects are gone.

    name, namespace
        Which release.

    timeout_s
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 helm_release.remove metallb metallb-system
    """
    args = ["uninstall", name, f"--namespace={namespace}", "--ignore-not-found", "--wait", f"--timeout={timeout_s}s"]
    return _helm(args, timeout_s=timeout_s + 60).strip()


def _unblock(name, namespace):
    """A helm that lost its way may have left its revision pending, which refuses the next one."""
    present = get(name, namespace)
    if present and present["status"].startswith("pending-"):
        drop_pending(name, namespace, present["revision"])


def _helm(args, timeout_s=120, **more):
    """Run helm, again when its requests get lost on the way; gives its standard output."""
    answer = __salt__["kube.patiently"]("helm", args, timeout_s=timeout_s, **more)
    if answer["retcode"]:
        raise CommandExecutionError(
            f"{__opts__['id']}: helm {' '.join(args[:2])}: {__salt__['kube.complaint'](answer['stderr'])}"
        )
    return answer["stdout"]
