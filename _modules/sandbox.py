"""
Run the tools of the sandbox (kubeadm, kubectl, helm, ...) on a node.

Every other module of this project that calls one of them goes through :func:`run`: the one place that knows where
the tools are, that bounds their time, and that neither logs nor keeps what they print (kubeadm prints tokens).
"""

import os
import signal
import subprocess
from pathlib import Path

from salt.exceptions import CommandExecutionError

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def path(*parts):
    """
    Give an absolute path inside the sandbox of this node.

    parts
        Path components below the sandbox root (pillar ``saltern:paths:sandbox``).

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 sandbox.path etc kubernetes admin.conf
    """
    root = __pillar__.get("saltern", {}).get("paths", {}).get("sandbox")
    if not root:
        raise CommandExecutionError(
            f"{__opts__['id']}: pillar has no saltern:paths:sandbox, so nothing of the cluster can be found on this "
            "node. It is missing when the node is not in the table: add it to pillar/cluster.sls, then "
            f"'salt {__opts__['id']} saltutil.refresh_pillar'"
        )
    return str(Path(root, *parts))


def missing(*tools):
    """
    Name those of the sandbox's tools that are not there, as a list.

    tools
        File names in ``<sandbox>/bin``.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 sandbox.missing kubectl helm
    """
    return [tool for tool in tools if not Path(path("bin", tool)).exists()]


def run(tool, args, stdin=None, timeout_s=120, kubeconfig=None, inherit_fds=(), variables=None):
    """
    Run one of the sandbox's tools and return what it printed. Neither logged nor checked: the caller judges.

    tool
        File name in ``<sandbox>/bin``.

    args
        List of arguments. Never a secret: every user of the node can read them in /proc.

    stdin
        Text for the tool's standard input, or None for none. The way to hand over a document.

    timeout_s
        Seconds after which the tool and its children are killed.

    kubeconfig
        Path for $KUBECONFIG; default the node's own admin.conf, of which only the credentials count then: the server
        is the cluster's endpoint, so a file that was changed by hand does not keep the states from mending it.

    inherit_fds
        File descriptors that the tool keeps open (a lock that must outlive a killed minion).

    variables
        Environment variables besides the caller's, or None.

    Returns ``{"retcode": int, "stdout": str, "stderr": str}``. Raises CommandExecutionError when the tool is missing
    or does not end in time.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 sandbox.run kubectl '["get", "nodes"]'
    """
    binary = path("bin", tool)
    named = kubeconfig or any(arg.startswith("--server=") for arg in args)
    options, settings = ([], {}) if named else _towards_endpoint(tool)
    own = args.index("--") if "--" in args else len(args)  # what follows is another program's, inside a pod
    try:
        process = subprocess.Popen(  # noqa: S603 (a fixed path of ours, no shell)
            [binary, *args[:own], *options, *args[own:]],
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=_environment(kubeconfig or path("etc", "kubernetes", "admin.conf")) | settings | (variables or {}),
            pass_fds=inherit_fds,
            start_new_session=True,  # so that a time-out reaches the tool's children too
        )
    except (FileNotFoundError, PermissionError) as err:
        raise CommandExecutionError(
            f"{__opts__['id']}: cannot run {binary} ({err.strerror}). "
            f"Install it with: salt {__opts__['id']} state.apply binaries"
        ) from err
    try:
        stdout, stderr = process.communicate(stdin, timeout=timeout_s)
    except subprocess.TimeoutExpired as err:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise CommandExecutionError(
            f"{__opts__['id']}: {tool} {' '.join(args[:2])} did not end within {timeout_s} s and was killed"
        ) from err
    return {"retcode": process.returncode, "stdout": stdout, "stderr": stderr}


def _towards_endpoint(tool):
    """(options, environment variables) by which a client of the API asks the endpoint, whatever its kubeconfig says."""
    endpoint = __pillar__.get("saltern", {}).get("cluster", {}).get("endpoint")
    if not endpoint:
        return [], {}
    url = f"https://{endpoint['address']}:{endpoint['port']}"
    return {"kubectl": ([f"--server={url}"], {}), "helm": ([], {"HELM_KUBEAPISERVER": url})}.get(tool, ([], {}))


def _environment(kubeconfig):
    """The caller's environment, with the sandbox first on PATH; HOME because kubectl and helm keep caches there."""
    tools = f"{path('bin')}:{path('usr', 'local', 'bin')}:{SYSTEM_PATH}"
    home = str(Path("~root").expanduser())
    return os.environ | {"PATH": tools, "KUBECONFIG": kubeconfig, "LC_ALL": "C.UTF-8", "HOME": home}
