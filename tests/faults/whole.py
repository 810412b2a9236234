"""A finished cluster with nothing left over from the runs that were struck, seen from outside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from saltern.model import Cluster
from tests.cluster.lab_shell import Shell
from tests.cluster.probe import wait_until


def assert_whole(shell: Shell, table: Cluster) -> None:
    """Everything of the table is there and works, and nothing else."""
    _nodes(shell, table)
    _etcd(shell, table)
    wait_until("the web service answers", lambda: _web_service_answers(shell), deadline_s=30)
    assert leftovers(shell, table) == {}


def leftovers(shell: Shell, table: Cluster) -> dict[str, Any]:
    """What should not be there any more, by kind: machines, images, keys, tokens, locks, records, half files."""
    found = {
        "machines": sorted(set(_machines(shell)) ^ set(table.nodes)),
        "seed images": [line for line in shell.run("salt-cloud", "--list-images", "my-proxmox-config").stdout.split()
                        if "seed" in line],
        "minion keys": sorted(set(_accepted_keys(shell)) ^ set(table.nodes)),
        "join material": _join_material(shell),
        "locks": _locks(shell, table),
        "unfinished creates": [str(path) for path in (_state(shell, table) / "machines").glob("*.json")],
        "half-written files": _half_written(shell, table),
        "unfinished kubeadm calls": _unfinished(shell, table),
    }  # fmt: skip
    return {kind: what for kind, what in found.items() if what}


def _nodes(shell: Shell, table: Cluster) -> None:
    items = {node["metadata"]["name"]: node for node in shell.kubectl("get", "nodes")["items"]}
    assert set(items) == {node.name for node in table.kubernetes_nodes}
    for name, node in items.items():
        conditions = {each["type"]: each["status"] for each in node["status"]["conditions"]}
        assert conditions["Ready"] == "True", (name, conditions)


def _etcd(shell: Shell, table: Cluster) -> None:
    returned = shell.salt(table.control_plane[0].name, "kube.etcd_members")[table.control_plane[0].name]
    assert sorted(each["name"] for each in returned) == sorted(node.name for node in table.control_plane), returned
    assert not any(each["learner"] for each in returned), returned


def _web_service_answers(shell: Shell) -> bool:
    service = shell.kubectl("-n", "saltern-verification", "get", "service", "web")
    address = service["status"]["loadBalancer"]["ingress"][0]["ip"]
    return shell.run("curl", "-sS", "--max-time", "5", f"http://{address}/hostname", check=False).returncode == 0


def _machines(shell: Shell) -> list[str]:
    return list(shell.json("salt-cloud", "-Q", "--out=json")["my-proxmox-config"]["proxmox"])


def _accepted_keys(shell: Shell) -> list[str]:
    return list(shell.json("salt-key", "-l", "accepted", "--out=json")["minions"])


def _join_material(shell: Shell) -> list[str]:
    """Bootstrap tokens and uploaded certificates; names only."""
    secrets = shell.kubectl("-n", "kube-system", "get", "secrets")["items"]
    names = [each["metadata"]["name"] for each in secrets]
    return [name for name in names if name.startswith("bootstrap-token-") or name == "kubeadm-certs"]


def _locks(shell: Shell, table: Cluster) -> list[str]:
    """The cluster's lock when it still names an owner, and locks that Proxmox has on machines."""
    lock = _state(shell, table) / "lock"
    held = [f"{lock}: {lock.read_text()}"] if lock.exists() and lock.read_text() else []
    machines = shell.json("salt-cloud", "-F", "--out=json")["my-proxmox-config"]["proxmox"]
    return held + [f"{name}: {machine['lock']}" for name, machine in machines.items() if machine.get("lock")]


def _half_written(shell: Shell, table: Cluster) -> list[str]:
    """Files under the product's directories whose name says that they were being written."""
    roots = f"{table.paths.sandbox} {table.paths.work} /etc/kubernetes /etc/haproxy"
    find = f"find {roots} -xdev \\( -name '*.part' -o -name '*.partial' -o -name '*.tmp' \\) 2>/dev/null || true"
    returned = shell.salt("*", "cmd.run", find)
    return [f"{node}: {line}" for node, text in returned.items() for line in str(text).split()]


def _unfinished(shell: Shell, table: Cluster) -> list[str]:
    names = ",".join(node.name for node in table.kubernetes_nodes)
    return [node for node, status in shell.salt(names, "kubeadm.status").items() if status.get("unfinished")]


def _state(shell: Shell, table: Cluster) -> Path:
    return Path(shell.environment["SALTERN_STATE"]) / table.name


def stages(shell: Shell, table: Cluster) -> dict[str, float]:
    """Title -> seconds of each stage, in order, of the slowest run of the main job that succeeded: the bring-up."""
    records = [json.loads(path.read_text()) for path in (_state(shell, table) / "runs").glob("*.json")]
    runs = [run for run in records if run["job"] == "orchestrate.cluster" and run["result"] == "succeeded"]
    assert runs, "no run of orchestrate.cluster has succeeded yet: how long its stages take is not known"
    slowest = max(runs, key=lambda run: float(run["seconds"]))
    return {stage["title"]: float(stage["seconds"]) for stage in slowest["stages"]}
