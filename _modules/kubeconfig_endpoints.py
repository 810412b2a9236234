"""
Which API server the kubeconfigs in /etc/kubernetes name, and the change to the cluster's endpoint.

kubeadm points the controller manager, the scheduler and a control-plane node's kubelet at the API server of their own
node (kubeadm 1.36: getKubeConfigSpecsBase, runKubeletStartJoinPhase; no feature gate turns it off any more).

The files hold client keys: nothing but the server's URL ever leaves this module.
"""

import contextlib
import json
import os
import tempfile
import time
from pathlib import Path

import yaml
from salt.exceptions import CommandExecutionError

CRICTL_TIMEOUT_S = 60
STOP_GRACE_S = 10
RESTART_DEADLINE_S = 120
# Who reads a file only at its start. The others (admin.conf, super-admin.conf) are read anew by each command.
USERS = {
    "controller-manager.conf": "kube-controller-manager",
    "kubelet.conf": "kubelet",
    "scheduler.conf": "kube-scheduler",
}


def wanted():
    """
    Give the URL that every kubeconfig of this cluster names: the load balancer's.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kubeconfig_endpoints.wanted
    """
    endpoint = __pillar__["saltern"]["cluster"]["endpoint"]
    return f"https://{endpoint['address']}:{endpoint['port']}"


def found():
    """
    Tell which server each kubeconfig of this node names: ``{path: URL}``, of those that are there.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kubeconfig_endpoints.found
    """
    return {str(_path(name)): url for name, url in __salt__["kubeadm_facts.member_files"]()["servers"].items()}


def due(paths):
    """
    Name what must be restarted when these kubeconfigs change: what uses one of them, and what an interrupted
    :func:`point_all` was about to restart. The latter may still use a former address.

    paths
        Kubeconfigs, as :func:`found` names them.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kubeconfig_endpoints.due '[/opt/sandbox/etc/kubernetes/kubelet.conf]'
    """
    try:
        unrestarted = json.loads(_marker().read_text())
    except FileNotFoundError:
        unrestarted = []
    return sorted({USERS[Path(path).name] for path in paths if Path(path).name in USERS} | set(unrestarted))


def point_all(paths):
    """
    Let these kubeconfigs name the endpoint, then restart exactly what uses one of them.

    paths
        Kubeconfigs, as :func:`found` names them; none, to end what was interrupted.

    Returns what was restarted. Raises CommandExecutionError when something does not come back.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kubeconfig_endpoints.point_all '[/opt/sandbox/etc/kubernetes/scheduler.conf]'
    """
    names = due(paths)
    # On disk before the first file changes: files that are right would not tell the next run what is still to restart.
    _write(_marker(), json.dumps(names))
    for path in paths:
        point(Path(path).name)
    restarted = restart(names)
    forget()
    return restarted


def forget():
    """
    Forget what was to be restarted: the membership whose components they were is gone.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kubeconfig_endpoints.forget
    """
    _marker().unlink(missing_ok=True)


def point(name):
    """
    Let one kubeconfig name the endpoint, in one step: mode 0600, its owner and the rest of its content stay.

    name
        File name in /etc/kubernetes.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kubeconfig_endpoints.point kubelet.conf
    """
    path = _path(name)
    try:
        document = yaml.safe_load(path.read_text())
        document["clusters"][0]["cluster"]["server"] = wanted()
    except OSError as err:
        raise CommandExecutionError(f"{__opts__['id']}: cannot read {path}: {err.strerror}") from err
    except (yaml.YAMLError, KeyError, IndexError, TypeError):
        # A YAML error quotes the file, which holds keys.
        raise CommandExecutionError(f"{__opts__['id']}: {path} is no kubeconfig: {_remedy()}") from None
    _write(path, yaml.safe_dump(document, sort_keys=False))


def restart(names):
    """
    Restart components of this node and wait until they run: the kubelet by systemd, the others by ending their
    container, which the kubelet then starts anew. One that does not run is about to read its file anyway, and one
    without a manifest (kubeadm.static_pods puts it back) does not come back by itself.

    names
        Of "kubelet", "kube-controller-manager", "kube-scheduler".

    Returns what was restarted.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kubeconfig_endpoints.restart '[kube-scheduler]'
    """
    running = {name: containers(name) for name in names if _path(f"manifests/{name}.yaml").exists()}
    restarted = [name for name in names if name == "kubelet" or running.get(name)]
    if "kubelet" in restarted:
        __salt__["unit.act"]("restart", "kubelet.service")
    stopping = [container for ids in running.values() for container in ids]
    if stopping:
        _crictl(["stop", f"--timeout={STOP_GRACE_S}", *stopping])
    _wait_until_back(restarted)
    return restarted


def containers(name):
    """
    Give the IDs of a static pod's running containers.

    name
        The container's name: "kube-scheduler".

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kubeconfig_endpoints.containers kube-scheduler
    """
    labels = [f"--label=io.kubernetes.container.name={name}", "--label=io.kubernetes.pod.namespace=kube-system"]
    return _crictl(["ps", "--quiet", "--no-trunc", "--state=running", *labels]).split()


def _wait_until_back(names):
    deadline = time.monotonic() + RESTART_DEADLINE_S
    while missing := [name for name in names if not _runs(name)]:
        if time.monotonic() > deadline:
            raise CommandExecutionError(
                f"{__opts__['id']}: {', '.join(missing)} did not come back within {RESTART_DEADLINE_S} s after its "
                f"kubeconfig was pointed at {wanted()}: journalctl -u kubelet; crictl ps -a; crictl logs"
            )
        # The kubelet starts the container of a static pod when it next looks (each second); nothing announces it.
        time.sleep(0.5)


def _runs(name):
    return __salt__["kubeadm_facts.kubelet_answers"]() if name == "kubelet" else bool(containers(name))


def _crictl(args):
    endpoint = f"--runtime-endpoint={__pillar__['saltern']['kubeadm']['join']['nodeRegistration']['criSocket']}"
    answer = __salt__["sandbox.run"]("../usr/local/bin/crictl", [endpoint, *args], timeout_s=CRICTL_TIMEOUT_S)
    if answer["retcode"]:
        reason = answer["stderr"].strip()
        raise CommandExecutionError(f"{__opts__['id']}: crictl {args[0]}: {reason} (journalctl -u crio)")
    return answer["stdout"]


def _write(path, text):
    """Replace a file in one step: 0600 from its first byte, its owner kept, on disk before the name changes over."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):  # a new file is root's
            os.chown(temporary, path.stat().st_uid, path.stat().st_gid)
        Path(temporary).replace(path)
    except OSError as err:
        Path(temporary).unlink(missing_ok=True)
        raise CommandExecutionError(f"{__opts__['id']}: cannot write {path}: {err.strerror}") from err


def _remedy():
    node = __opts__["id"]
    return f"move it away and have kubeadm make it again (salt {node} cmd.run 'kubeadm init phase kubeconfig --help')"


def _path(name):
    return Path(__salt__["sandbox.path"]("etc", "kubernetes", name))


def _marker():
    return Path(__salt__["sandbox.path"]("etc", "provisioner", "kubeconfig-restarts.json"))
