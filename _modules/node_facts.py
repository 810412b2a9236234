"""Facts of a node that several components decide by."""

from pathlib import Path

STUB_RESOLV_CONF = "/etc/resolv.conf"
RESOLVED_RESOLV_CONF = "/run/systemd/resolve/resolv.conf"


def resolv_conf(root="/"):
    """The file that the kubelet hands to pods as their resolver configuration (``resolvConf``).

    Where systemd-resolved runs, /etc/resolv.conf names its stub on 127.0.0.53, which no pod can reach: then it is
    resolved's own list of
    real servers. resolved writes that file when it starts, and it lies on a tmpfs, so its presence says that resolved
    runs.
    root: directory taken for / (tests). Returns a path.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 node_facts.resolv_conf
    """
    return RESOLVED_RESOLV_CONF if (Path(root) / RESOLVED_RESOLV_CONF.lstrip("/")).exists() else STUB_RESOLV_CONF


def container(root="/"):
    """The kind of system container that this node is (``lxc``, ``systemd-nspawn``, ...), ``None`` if it is none.

    Container managers say so in /run/host/container-manager and systemd in /run/systemd/container
    (https://systemd.io/CONTAINER_INTERFACE). Swap, kernel modules and some sysctls of a container are its host's.
    root: directory taken for / (tests).

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 node_facts.container
    """
    for fact in ("run/systemd/container", "run/host/container-manager"):
        path = Path(root) / fact
        if path.exists():
            return path.read_text().strip() or None
    return None
