"""The API's address moves with the load balancer that dies, and connections outlive a growing control plane."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.lab_shell import Shell
from tests.cluster.probe import wait_until
from tests.cluster.strikes import on_node
from tests.failures.recovery import is_healthy, orchestrate, recovers, requests

from .conftest import VIRTUAL_ADDRESS, Installation

API_GAP_LIMIT_S = 5.0
NEW_ROWS = {"saw-k8s-m-04": "192.168.100.158", "saw-k8s-m-05": "192.168.100.159"}
ROW = "  {name}: {{role: control_plane, address: {address}, cpus: 2, memory_gib: 8, disk_gib: 20}}\n"


def holders(installation: Installation) -> list[str]:
    """Load balancers that have the address. One that is off does not answer."""
    names = ",".join(row.name for row in installation.table.load_balancers)
    done = installation.shell.salt(names, "keepalived.holds", VIRTUAL_ADDRESS, timeout_s=60)
    return [name for name, holds in done.items() if holds is True]


def holder(installation: Installation) -> str:
    """The one load balancer that has the address."""
    (name,) = holders(installation)
    return name


@pytest.fixture(autouse=True)
def whole_before(installation: Installation) -> None:
    """Each test begins on a whole cluster."""
    wait_until("the cluster is whole", lambda: is_healthy(installation.shell), deadline_s=60)


def test_one_of_the_pair_has_the_address(installation: Installation) -> None:
    status = installation.shell.run("salt-run", "cluster.status").stdout
    assert f"has {VIRTUAL_ADDRESS}" in status and "stands by" in status, status
    config = installation.shell.run("kubectl", "config", "view", "--minify").stdout
    assert f"https://{VIRTUAL_ADDRESS}:6443" in config, config


def test_haproxy_of_the_holder_stops(installation: Installation) -> None:
    name, table = holder(installation), installation.table
    with requests(installation.shell, table) as (api, web):
        time.sleep(3)  # answers of every day first
        on_node(installation.shell, table, name, "systemctl stop haproxy")
        time.sleep(10)  # twice what the address may take, so that a lasting outage shows
        moved = holder(installation)
        on_node(installation.shell, table, name, "systemctl start haproxy")
        recovers("whole after the start of HAProxy", lambda: is_healthy(installation.shell), 120)
    assert moved != name and holder(installation) == moved, "the address goes once, and not back"
    assert api.longest_gap_s <= API_GAP_LIMIT_S, f"API: {api}"
    assert web.failed == 0, f"web service: {web}"


def test_the_machine_of_the_holder_dies(installation: Installation) -> None:
    name, shell = holder(installation), installation.shell
    with requests(shell, installation.table) as (api, web):
        time.sleep(3)  # answers of every day first
        shell.run("salt-cloud", "-y", "-a", "stop", name, timeout_s=120)
        time.sleep(10)  # twice what the address may take, so that a lasting outage shows
        status = shell.run("salt-run", "cluster.status", check=False)
        assert status.returncode == 1 and name in status.stdout, status.stdout
        shell.run("salt-cloud", "-y", "-a", "start", name, timeout_s=120)
        recovers("whole after the start of the machine", lambda: is_healthy(shell), 180)
    assert holder(installation) != name
    assert api.longest_gap_s <= API_GAP_LIMIT_S, f"API: {api}"
    assert web.failed == 0, f"web service: {web}"


def test_keepalived_of_the_holder_is_restarted(installation: Installation) -> None:
    name = holder(installation)
    with requests(installation.shell, installation.table) as (api, _):
        time.sleep(3)  # answers of every day first
        on_node(installation.shell, installation.table, name, "systemctl restart keepalived")
        time.sleep(10)  # twice what the address may take, so that a lasting outage shows
        wait_until("one load balancer has the address", lambda: len(holders(installation)) == 1, deadline_s=30)
    assert api.longest_gap_s <= API_GAP_LIMIT_S, f"API: {api}"


@pytest.fixture
def followed_log(installation: Installation, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """`kubectl logs -f` of both pods of the web service, and the file that it writes to."""
    path = tmp_path / "followed.log"
    argv = ("kubectl", "-n", "saltern-verification", "logs", "-f", "--prefix", "--selector=app.kubernetes.io/name=web")
    with path.open("wb") as stream:
        process = subprocess.Popen(argv, env=installation.shell.environment, stdout=stream, stderr=stream)
        try:
            yield process, path
        finally:
            process.kill()
            process.wait()


def is_followed(shell: Shell, address: str, path: Path, marker: str) -> None:
    """What the web service notes of a request comes through an open `kubectl logs -f`."""

    def told() -> bool:
        shell.run("curl", "-sS", "--max-time", "2", f"http://{address}/echo?msg={marker}", check=False)
        return marker in path.read_text()

    wait_until(f"a request with {marker} shows in the log that is followed", told, deadline_s=20)


def test_three_control_plane_nodes_become_five_and_a_log_is_followed_through(
    installation: Installation, followed_log: tuple[subprocess.Popen[bytes], Path]
) -> None:
    shell, (process, log) = installation.shell, followed_log
    service = shell.kubectl("-n", "saltern-verification", "get", "service", "web")
    address = service["status"]["loadBalancer"]["ingress"][0]["ip"]
    is_followed(shell, address, log, "before")
    installation.add_rows("".join(ROW.format(name=name, address=at) for name, at in NEW_ROWS.items()))
    began = time.monotonic()
    with requests(shell, installation.table) as (api, web):
        shell.run("salt-cloud", "-y", "-P", "-p", "control_plane", *NEW_ROWS, timeout_s=600)
        added = orchestrate(shell, "node_add", nodes=list(NEW_ROWS))
        assert added.returncode == 0, added.stdout
        print(f"two control-plane nodes added after {time.monotonic() - began:.0f} s", flush=True)
        recovers("whole after that", lambda: is_healthy(shell), 120)
    is_followed(shell, address, log, "after")
    assert process.poll() is None, f"kubectl logs -f ended: {log.read_text()[-500:]}"
    assert api.failed == 0 and web.failed == 0, (str(api), str(web))


def test_five_vote_and_serve_and_nothing_is_left_to_do(installation: Installation) -> None:
    table = installation.table
    names = [row.name for row in table.control_plane]
    assert len(names) == 5
    standing = installation.shell.salt(names[0], "etcd_member.standing")[names[0]]
    assert sorted(m["name"] for m in standing if m["healthy"] and not m["learner"]) == sorted(names)
    status = installation.shell.run("salt-run", "cluster.status").stdout
    assert status.count("kubernetes-api 5 of 5 servers up") == 2, status
    states = installation.shell.salt("*", "state.apply", timeout_s=600)
    assert set(states) == set(table.nodes)
    left = {node: [key for key, row in found.items() if row["changes"] or not row["result"]]
            for node, found in states.items()}  # fmt: skip
    assert {node: keys for node, keys in left.items() if keys} == {}
