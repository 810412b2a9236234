"""What must be true after `make up`, read from outside the nodes."""

from __future__ import annotations

import re
from ipaddress import IPv4Address

from saltern.model import Cluster

from .conftest import make
from .lab_shell import Shell


def ready(conditions: list[dict[str, str]]) -> bool:
    """Whether a node's or pod's conditions say Ready."""
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def test_every_machine_of_the_table_exists_with_its_size(shell: Shell, table: Cluster) -> None:
    machines = shell.json("salt-cloud", "-F", "--out=json")["my-proxmox-config"]["proxmox"]
    for name, row in table.nodes.items():
        machine = machines[name]
        assert machine["state"] == "running", machine
        assert machine["size"] == f"{row.cpus} CPUs, {row.memory_gib * 1024} MiB, {row.disk_gib} GiB"
        assert machine["private_ips"] == [str(row.address)]


def test_all_control_plane_and_worker_nodes_are_ready(shell: Shell, table: Cluster) -> None:
    nodes = {node["metadata"]["name"]: node for node in shell.kubectl("get", "nodes")["items"]}
    expected = {name: row for name, row in table.nodes.items() if row.role != "load_balancer"}
    assert set(nodes) == set(expected)
    for name, row in expected.items():
        node = nodes[name]
        assert ready(node["status"]["conditions"]), node["status"]["conditions"]
        assert node["status"]["nodeInfo"]["kubeletVersion"] == f"v{table.versions.kubernetes}"
        assert node["status"]["nodeInfo"]["containerRuntimeVersion"] == f"cri-o://{table.versions.crio}"
        assert {"type": "InternalIP", "address": str(row.address)} in node["status"]["addresses"]
        is_control_plane = "node-role.kubernetes.io/control-plane" in node["metadata"]["labels"]
        assert is_control_plane == (row.role == "control_plane")


def test_every_system_pod_is_ready(shell: Shell) -> None:
    pods = [
        pod
        for namespace in ("kube-system", "metallb-system")
        for pod in shell.kubectl("get", "pods", "-n", namespace)["items"]
    ]
    assert len(pods) > 20
    not_ready = [
        f"{pod['metadata']['name']}: {pod['status'].get('containerStatuses')}"
        for pod in pods
        if not ready(pod["status"].get("conditions", []))
    ]
    assert not not_ready


def test_no_kube_proxy_and_cilium_on_every_node(shell: Shell, table: Cluster) -> None:
    daemonsets = {item["metadata"]["name"]: item["status"] for item in shell.kubectl("get", "ds", "-A")["items"]}
    assert "kube-proxy" not in daemonsets
    nodes = sum(row.role != "load_balancer" for row in table.nodes.values())
    assert daemonsets["cilium"]["numberReady"] == nodes


def test_etcd_has_three_voting_members(shell: Shell, table: Cluster) -> None:
    names = [name for name, row in table.nodes.items() if row.role == "control_plane"]
    etcdctl = (
        "etcdctl", "--endpoints=https://127.0.0.1:2379", "--cacert=/etc/kubernetes/pki/etcd/ca.crt",
        "--cert=/etc/kubernetes/pki/etcd/server.crt", "--key=/etc/kubernetes/pki/etcd/server.key",
    )  # fmt: skip
    sandbox_pki = f"{table.paths.sandbox}/etc/kubernetes/pki"
    argv = [part.replace("/etc/kubernetes/pki", sandbox_pki) for part in etcdctl]
    members = shell.json(
        "kubectl", "-n", "kube-system", "exec", f"etcd-{names[0]}", "--", *argv, "member", "list", "-w", "json"
    )["members"]
    assert sorted(member["name"] for member in members) == sorted(names)
    assert not any(member.get("isLearner") for member in members)


def test_every_kubeconfig_names_the_load_balancer(shell: Shell, table: Cluster) -> None:
    """On the nodes, for the operator, inside the cluster (cluster-info): nowhere a control-plane node's own address."""
    wanted = f"https://{table.endpoint.address}:{table.endpoint.port}"
    found = shell.salt(
        ",".join(name for name, row in table.nodes.items() if row.role != "load_balancer"), "cmd.run",
        "grep -hoE 'server: .*' /etc/kubernetes/*.conf; grep -hoE 'server: .*' /home/*/.kube/config || true",
    )  # fmt: skip
    assert len(found) == 7
    for node, text in found.items():
        servers = set(re.findall(r"server: (\S+)", text))
        assert servers == {wanted}, f"{node}: {text}"
    assert shell.run("kubectl", "config", "view", "-o", "jsonpath={.clusters[*].cluster.server}").stdout == wanted
    assert wanted in shell.run("kubectl", "-n", "kube-public", "get", "cm", "cluster-info", "-o", "yaml").stdout


def test_two_replicas_answer_on_a_metallb_address_from_outside(shell: Shell, table: Cluster) -> None:
    service = shell.kubectl("-n", "saltern-verification", "get", "service", "web")
    address = service["status"]["loadBalancer"]["ingress"][0]["ip"]
    pools = [addresses for pool in table.metallb.pools.values() for addresses in pool]
    assert any(IPv4Address(address) in addresses for addresses in pools)
    answered = {shell.run("curl", "-sS", "--max-time", "5", f"http://{address}/hostname").stdout for _ in range(40)}
    assert len(answered) == 2, answered


def test_the_summary_tells_nodes_versions_endpoint_times_and_next_steps(first_up: str, table: Cluster) -> None:
    for name in table.nodes:
        assert name in first_up
    for text in (f"https://{table.endpoint.address}:{table.endpoint.port}", table.versions.kubernetes, "state.apply"):
        assert text in first_up


def test_a_second_up_changes_nothing(shell: Shell, tmp_path, first_up: str) -> None:
    before = {
        pod["metadata"]["uid"]: [c["restartCount"] for c in pod["status"].get("containerStatuses", [])]
        for pod in shell.kubectl("get", "pods", "-A")["items"]
    }
    output = make("up", tmp_path / "second-up.log", timeout_s=900)
    after = {
        pod["metadata"]["uid"]: [c["restartCount"] for c in pod["status"].get("containerStatuses", [])]
        for pod in shell.kubectl("get", "pods", "-A")["items"]
    }
    assert after == before
    assert "nothing changed" in output.lower()


def test_state_apply_changes_nothing(shell: Shell, table: Cluster) -> None:
    returns = shell.salt("*", "state.apply", timeout_s=300)
    assert set(returns) == set(table.nodes)
    for node, states in returns.items():
        assert isinstance(states, dict), f"{node}: {states}"
        failed = {sid: state["comment"] for sid, state in states.items() if state["result"] is not True}
        changed = {sid: state["changes"] for sid, state in states.items() if state["changes"]}
        assert not failed, f"{node}: {failed}"
        assert not changed, f"{node}: {changed}"
