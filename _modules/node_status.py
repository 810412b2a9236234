"""
Everything about a node that ``salt-run cluster.status`` judges by, in one call: one message there, one back.

A part that cannot be had is told as an error of its own and hides none of the others.
"""

import json
import platform
from pathlib import Path

from salt.exceptions import CommandExecutionError

# An answer that is worse than none is a traceback; these are what a broken node makes the parts raise.
EXPECTED = (CommandExecutionError, OSError, ValueError, KeyError)


def facts(cluster=None):
    """
    Give ``{"role", "os", "kernel", "installed", "applied", "drift", "certificates", "errors": {part: text}}``, of a
    load balancer also "haproxy" and "backends", of one that shares an address "holds_address", of a control-plane node
    "etcd" and, from one of them, "cluster" and "members".

    installed: versions by artefact. applied: ``last_apply.summary``. drift: ``last_apply.drift``. certificates:
    ``certificates.expiries``. backends: ``haproxy.servers``. holds_address: ``keepalived.holds``. etcd:
    ``etcd_facts.own``. cluster: ``cluster_facts.facts``. members: ``etcd_facts.members``.

    cluster
        Whether to look at the cluster too, which is work for one node only: True, False, or by default etcd's leader.
        There is one at a time, and without one there is no cluster to look at.

    CLI Example:

    .. code-block:: bash

        salt '*' node_status.facts
    """
    role = __pillar__["saltern"]["node"]["role"]
    told = {"role": role, "os": os_name(), "kernel": platform.release(), "errors": {}}
    parts = {"installed": installed, "applied": _call("last_apply.summary"), "drift": _call("last_apply.drift")}
    parts |= {"certificates": _call("certificates.expiries")}
    if role == "load_balancer":
        socket = __pillar__["saltern"]["haproxy"]["socket"]
        parts |= {"haproxy": _call("haproxy.version", socket), "backends": _call("haproxy.servers", socket)}
    if shared := __pillar__["saltern"].get("keepalived"):
        parts |= {"holds_address": _call("keepalived.holds", shared["virtual_address"])}
    if role == "control_plane":
        parts |= {"etcd": _call("etcd_facts.own")}
    for name, part in parts.items():
        _add(told, name, part)
    if role == "control_plane" and (_leads(told.get("etcd")) if cluster is None else cluster):
        _add(told, "cluster", _call("cluster_facts.facts"))
        _add(told, "members", _call("etcd_facts.members"))
    return told


def _call(function, *args):
    return lambda: __salt__[function](*args)


def _add(told, name, part):
    """Look at one part; what keeps it from being had is an error of the part."""
    try:
        told[name] = part()
    except EXPECTED as err:
        told["errors"][name] = f"{type(err).__name__}: {err}" if isinstance(err, ValueError | KeyError) else str(err)


def _leads(etcd):
    return bool(etcd) and etcd["id"] == etcd["leader"]


def os_name(release="/etc/os-release"):
    """
    Give the operating system's name and version, like "Debian GNU/Linux 12 (bookworm)".

    release
        The file that says so (os-release(5)).

    CLI Example:

    .. code-block:: bash

        salt '*' node_status.os_name
    """
    lines = Path(release).read_text().splitlines()
    facts = dict(line.partition("=")[::2] for line in lines if "=" in line and not line.startswith("#"))
    return facts.get("PRETTY_NAME", "Linux").strip("\"'")


def installed():
    """
    Give the versions of the artefacts that are installed: ``{"kubelet": "1.36.4"}``.

    CLI Example:

    .. code-block:: bash

        salt '*' node_status.installed
    """
    records = Path(__salt__["sandbox.path"]("etc", "provisioner", "artefacts"))
    return {path.stem: json.loads(path.read_text())["version"] for path in sorted(records.glob("*.json"))}
