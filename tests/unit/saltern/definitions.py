"""Definitions for tests: the shipped one, completed, and copies of it with one part changed."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

from saltern import definition
from saltern.model import Cluster

CHECKOUT = Path(__file__).parents[3]
SHIPPED = CHECKOUT / "pillar"
# The shipped versions.sls leaves this sum to the operator; any 64 digits do where nothing is fetched.
SOME_SUM = "0" * 64
# An overlay: a second load balancer, and the address that it shares with the first.
PAIR: dict[str, Any] = {
    "cluster": {"virtual_address": "192.168.100.149"},
    "nodes": {
        "saw-k8s-ha-02": {
            "role": "load_balancer",
            "address": "192.168.100.148",
            "cpus": 2,
            "memory_gib": 4,
            "disk_gib": 20,
        }
    },
}
COMPLETED = {"artefacts": {"metallb-chart": {"sha256": {"any": SOME_SUM}}}}


def write(directory: Path, cluster: Any = None, versions: Any = None) -> Path:
    """Write a directory of the definition from plain data."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, data in (("cluster.sls", cluster), ("versions.sls", versions)):
        if data is not None:
            (directory / name).write_text(yaml.safe_dump(data, sort_keys=False))
    return directory


def overlaid(directory: Path, cluster: Any = None, versions: Any = None) -> list[Path]:
    """The shipped definition with its missing sum, and an overlay over both."""
    return [
        SHIPPED,
        write(directory / "completed", versions=COMPLETED),
        write(directory / "overlay", cluster=cluster, versions=versions),
    ]


def shipped(directory: Path, cluster: Any = None, versions: Any = None) -> Cluster:
    """The cluster of the shipped definition with an overlay."""
    return definition.load(overlaid(directory, cluster, versions))


def report(directory: Path, cluster: Any = None, versions: Any = None) -> definition.Report:
    """The check of the shipped definition with an overlay."""
    return definition.check(overlaid(directory, cluster, versions))


def data() -> dict[str, Any]:
    """The shipped cluster.sls as plain data, to change at will."""
    return copy.deepcopy(yaml.safe_load((SHIPPED / "cluster.sls").read_text()))
