"""One control-plane node dies: the API answers on through HAProxy, the web service never notices."""

from __future__ import annotations

import time

import pytest

from saltern.model import Cluster

from .lab_shell import Shell
from .probe import Probe, wait_until
from .test_01_bring_up import ready

API_GAP_LIMIT_S = 5.0


def node_is_ready(shell: Shell, name: str) -> bool:
    """Whether Kubernetes calls a node Ready."""
    return ready(shell.kubectl("get", "node", name)["status"]["conditions"])


def api_is_whole(shell: Shell, control_plane: list[str]) -> bool:
    """Whether every control-plane node's own API server pod is Ready again."""
    pods = shell.kubectl("-n", "kube-system", "get", "pods", "-l", "component=kube-apiserver")["items"]
    return sum(ready(pod["status"]["conditions"]) for pod in pods) == len(control_plane)


@pytest.fixture
def stopped_control_plane_node(shell: Shell, table: Cluster):
    """The first row's control-plane node, to be stopped by the test; started again and awaited afterwards."""
    names = [name for name, row in table.nodes.items() if row.role == "control_plane"]
    yield names[0]
    shell.run("salt-cloud", "-y", "-a", "start", names[0], timeout_s=120)
    wait_until(f"{names[0]} is Ready again", lambda: node_is_ready(shell, names[0]), deadline_s=240)
    wait_until("all API servers are Ready again", lambda: api_is_whole(shell, names), deadline_s=240)


def test_api_and_service_go_on_without_one_control_plane_node(
    shell: Shell, table: Cluster, stopped_control_plane_node: str
) -> None:
    service = shell.kubectl("-n", "saltern-verification", "get", "service", "web")
    address = service["status"]["loadBalancer"]["ingress"][0]["ip"]
    api = Probe(shell, f"https://{table.endpoint.address}:{table.endpoint.port}/readyz", "--insecure")
    web = Probe(shell, f"http://{address}/")
    with api, web:
        time.sleep(3)  # a stretch of normal answers first, to measure the gap against
        shell.run("salt-cloud", "-y", "-a", "stop", stopped_control_plane_node, timeout_s=120)
        time.sleep(20)  # longer than HAProxy's checks take (3 x 2 s), so that a lasting outage shows
    assert api.answered > 30, api
    assert web.answered > 30, web
    assert api.longest_gap_s <= API_GAP_LIMIT_S, f"API: {api}"
    assert web.failed == 0, f"web service: {web}"
    print(f"API: {api}; web service: {web}")
