"""The cluster is taken off its machines, which are then as they were; made again; and rebuilt with new machines."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from saltern.model import Cluster
from tests.cluster.lab_shell import Shell
from tests.failures.recovery import is_healthy, orchestrate, recovers
from tests.faults.whole import assert_whole

WHOLE_S = 300.0  # a bound for a broken run, no aim
# What a machine has by running, and what is told to stay: packages, accounts, what the minion keeps.
KERNEL = ("proc", "sys", "dev", "run", "tmp")
LIVING = (*KERNEL, "var/log", "var/cache", "var/tmp", "root", "usr/share", "usr/lib", "usr/bin")


def machine_ids(shell: Shell) -> dict[str, int]:
    """{name: machine number in Proxmox}."""
    machines = shell.json("salt-cloud", "-F", "--out=json")["my-proxmox-config"]["proxmox"]
    return {name: int(machine["id"]) for name, machine in machines.items()}


def files(root: Path) -> set[str]:
    """Paths below a machine's root directory, without what LIVING names."""
    found: set[str] = set()
    for directory, names, others in os.walk(root):
        below = Path(directory).relative_to(root)
        names[:] = [name for name in names if str(below / name) not in LIVING]
        found |= {str(below / name) for name in (*names, *others)}
    return found


def test_the_cluster_is_taken_off_its_machines(shell: Shell, table: Cluster) -> None:
    nodes = Path(shell.environment["SALTERN_STATE"]) / "lab/nodes"
    ids = machine_ids(shell)
    began = time.monotonic()
    gone = orchestrate(shell, "cluster_remove", confirm=table.name, keep_machines=True)
    print(f"taken off after {time.monotonic() - began:.0f} s", flush=True)
    assert gone.returncode == 0, gone.stdout
    assert machine_ids(shell) == ids, "the machines stay"
    bare = files(nodes / "9000")
    left = {name: sorted(files(nodes / str(number)) - bare) for name, number in ids.items()}
    for name, paths in left.items():
        print(name, paths)
    look = "ip -brief link; ss -Hltnp | grep -v salt; findmnt -rno TARGET | grep -v ^/proc"
    links = shell.salt("*", "cmd.run_stdout", look)
    for name, text in links.items():
        print(name, text)
    again = orchestrate(shell, "cluster")
    assert again.returncode == 0, again.stdout
    shell.renew_kubeconfig()
    recovers("whole again on the same machines", lambda: is_healthy(shell), WHOLE_S)
    assert_whole(shell, table)


@pytest.mark.parametrize("confirm", ["", "another"])
def test_a_rebuild_that_does_not_name_the_cluster_only_tells(shell: Shell, confirm: str) -> None:
    before = machine_ids(shell)
    told = orchestrate(shell, "cluster_rebuild", **({"confirm": confirm} if confirm else {}))
    assert "what goes:" in told.stdout or told.returncode == 1, told.stdout
    assert machine_ids(shell) == before


def test_the_cluster_is_rebuilt_with_new_machines(shell: Shell, table: Cluster) -> None:
    before = shell.kubectl("get", "namespace", "kube-system")["metadata"]["uid"]
    began = time.monotonic()
    built = orchestrate(shell, "cluster_rebuild", confirm=table.name)
    print(built.stdout)
    print(f"rebuilt after {time.monotonic() - began:.0f} s", flush=True)
    assert built.returncode == 0, built.stdout
    shell.renew_kubeconfig()
    recovers("whole after that", lambda: is_healthy(shell), WHOLE_S)
    assert shell.kubectl("get", "namespace", "kube-system")["metadata"]["uid"] != before
    assert_whole(shell, table)
