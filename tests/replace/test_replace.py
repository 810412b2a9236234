"""Nodes are replaced under their names and addresses while requests go on: the control plane, then a dead worker."""

from __future__ import annotations

import json
from typing import Any

from saltern.model import Cluster
from tests.cluster.lab_shell import Shell
from tests.cluster.probe import Probe, wait_until
from tests.cluster.test_02_failover import api_is_whole, node_is_ready

# What a request on a connection that is closed under it may cost, for each of the three API servers that go and come.
API_REQUESTS_LOST = 3


def replace(shell: Shell, **pillar: Any) -> str:
    """orchestrate.node_replace; its output, which the test fails with when it does not succeed."""
    argument = f"pillar={json.dumps(pillar)}"
    return shell.run("salt-run", "state.orchestrate", "orchestrate.node_replace", argument, timeout_s=1500).stdout


def identities(shell: Shell, names: list[str]) -> dict[str, tuple[str, str]]:
    """{node: (UID of its Node, machine ID)}: a replaced one has others."""
    nodes = {node["metadata"]["name"]: node for node in shell.kubectl("get", "nodes")["items"]}
    found = ((name, nodes[name]) for name in names)
    return {name: (node["metadata"]["uid"], node["status"]["nodeInfo"]["machineID"]) for name, node in found}


def members(shell: Shell, on: str) -> dict[str, Any]:
    """{name: facts} of etcd's members, as one control-plane node lists them."""
    return {member["name"]: member for member in shell.salt(on, "etcd_member.standing")[on]}


def test_a_replacement_that_is_not_confirmed_only_tells(shell: Shell, table: Cluster) -> None:
    first = table.control_plane[0].name
    before = identities(shell, [first])
    assert "Nothing was changed" in replace(shell, node=first)
    assert identities(shell, [first]) == before


def test_all_control_plane_nodes_are_replaced_while_requests_go_on(shell: Shell, table: Cluster) -> None:
    names = [row.name for row in table.control_plane]
    before = identities(shell, names)
    service = shell.kubectl("-n", "saltern-verification", "get", "service", "web")
    api = Probe(shell, f"https://{table.endpoint.address}:{table.endpoint.port}/readyz", "--insecure")
    web = Probe(shell, f"http://{service['status']['loadBalancer']['ingress'][0]['ip']}/")
    with api, web:
        output = replace(shell, nodes=names, confirm=True)
    print(f"API: {api}; web service: {web}")

    after = identities(shell, names)
    assert [name for name in names if set(before[name]) & set(after[name])] == [], output
    wait_until("all API servers are Ready", lambda: api_is_whole(shell, names), deadline_s=60)
    found = members(shell, names[0])
    assert {name: (facts["healthy"], facts["learner"]) for name, facts in found.items()} == dict.fromkeys(
        names, (True, False)
    )
    assert api.failed <= API_REQUESTS_LOST, f"API: {api}"
    assert web.answered > 300 and web.failed == 0, f"web service: {web}"


def test_a_dead_worker_is_replaced(shell: Shell, table: Cluster) -> None:
    name = table.workers[-1].name
    before = identities(shell, [name])
    shell.run("salt-cloud", "-y", "-a", "stop", name, timeout_s=120)
    wait_until(f"{name} is given up", lambda: not node_is_ready(shell, name), deadline_s=120)
    replace(shell, node=name, confirm=True, force=True)
    assert node_is_ready(shell, name)
    assert not set(before[name]) & set(identities(shell, [name])[name])
