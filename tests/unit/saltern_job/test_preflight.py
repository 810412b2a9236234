"""What all nodes' reports amount to: clocks, identities, ways between nodes, other clusters; one problem a cause."""

from __future__ import annotations

import ast
import time
from collections.abc import Iterator
from typing import Any

import pytest

from saltern import preflight
from saltern.parts import Node
from saltern.preflight import Report
from saltern.preflight_codes import CODES
from saltern.steps import Problem
from tests.salt_node import CHECKOUT
from tests.unit.modules.member import CLUSTER
from tests.unit.saltern.definitions import PAIR, shipped

NODES = tuple(CLUSTER.nodes)
HA, M1, M2, M3, W1, W2, W3, W4 = NODES
# The master's clock while nodes are asked.
NOW = 1_700_000_000.0


def problems(status: dict[str, Any] | None = None, **reports: Report) -> list[Problem]:
    """Problems of a table whose other nodes report nothing; report names with _ for -."""
    told = {name.replace("_", "-"): report for name, report in reports.items()}
    return preflight.problems({node: told.get(node, Report()) for node in NODES}, status or {}, CLUSTER)


def codes(found: list[Problem]) -> list[str]:
    return [problem.code for problem in found]


def test_nothing_stands_in_the_way():
    assert problems() == []


def test_a_report_of_an_older_module_is_read_as_far_as_it_goes():
    report = Report.of({"findings": [], "epoch_s": 5.0}, asked=1, answered=2)
    assert report == Report(findings=[], asked=1, answered=2) and report.skew() is None


# -- findings of nodes

MIRROR = {
    "code": "artefact-unreachable", "what": "10.0.0.1:8080 does not answer", "where": "10.0.0.1:8080", "why": "w",
    "remedy": "start it",
}  # fmt: skip
FULL = {"code": "disk-full", "what": "11 MiB free", "where": "/opt", "why": "images", "remedy": "on saw-k8s-w-01: du"}


def test_a_finding_is_a_problem_of_its_node():
    (found,) = problems(saw_k8s_w_01=Report(findings=[FULL]))
    assert found.told() == "saw-k8s-w-01: Preflight: 11 MiB free (/opt): images\n    next: on saw-k8s-w-01: du"
    assert found.code == "disk-full"


AWAY = {
    "code": "endpoint-unreachable", "what": "the endpoint does not answer", "where": "192.168.100.149:6443", "why": "w",
    "remedy": "r",
}  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        # Nobody has it: the run starts keepalived.
        ({"has_endpoint": False}, {"has_endpoint": False}, []),
        # Somebody has it, and is not reached; or may have it.
        ({"has_endpoint": True}, {"has_endpoint": False}, ["endpoint-unreachable"]),
        ({"has_endpoint": False}, None, ["endpoint-unreachable"]),
        ({"has_endpoint": False}, {}, ["endpoint-unreachable"]),
    ],
)
def test_an_endpoint_that_nobody_has_is_left_to_the_run(tmp_path, first, second, found):
    cluster = shipped(tmp_path, PAIR)
    reports = {W1: Report(findings=[AWAY]), HA: Report(facts=first)}
    reports |= {"saw-k8s-ha-02": Report(facts=second)} if second is not None else {}
    assert codes(preflight.problems(reports, {}, cluster)) == found


def test_what_several_nodes_see_is_one_problem():
    report = Report(findings=[MIRROR])
    (found,) = problems(saw_k8s_w_01=report, saw_k8s_w_03=report)
    assert found.node == "saw-k8s-w-01, saw-k8s-w-03" and found.code == "artefact-unreachable"


def test_what_all_nodes_see_is_said_of_all():
    reports = dict.fromkeys((node.replace("-", "_") for node in NODES), Report(findings=[MIRROR]))
    (found,) = problems(**reports)
    assert found.node == "all 8 nodes"


def test_all_findings_at_once():
    found = problems(saw_k8s_w_01=Report(findings=[FULL, MIRROR]), saw_k8s_w_02=Report(findings=[MIRROR]))
    assert codes(found) == ["disk-full", "artefact-unreachable"]


# -- clocks


def clock(ahead_s: float, out_s: float = 0.5, work_s: float = 1.0, back_s: float = 0.5) -> Report:
    """A node whose clock is ahead, and whose call took so long to come, to work, and to be answered."""
    begins = NOW + out_s
    ends = begins + work_s
    return Report(clock=(begins + ahead_s, ends + ahead_s), asked=NOW, answered=ends + back_s)


def skewed(**reports: Report) -> list[Problem]:
    return problems(**({node.replace("-", "_"): clock(0) for node in NODES} | reports))


def test_clocks_that_agree():
    assert skewed() == []


@pytest.mark.parametrize(
    ("ahead_s", "text"),
    [(41.0, "the clock is 41 s ahead of the master's"), (-41.0, "the clock is 41 s behind the master's")],
)
def test_a_clock_that_is_off(ahead_s, text):
    (found,) = skewed(saw_k8s_w_01=clock(ahead_s))
    assert (found.node, found.code) == (W1, "clock-skew")
    assert found.cause.startswith(text) and "30 s or less" in found.cause


@pytest.mark.parametrize("ahead_s", [29.0, -29.0])
def test_a_clock_that_is_off_by_less_than_allowed(ahead_s):
    assert skewed(saw_k8s_w_01=clock(ahead_s)) == []


@pytest.mark.parametrize("late", [{"out_s": 60.0}, {"back_s": 60.0}, {"work_s": 60.0}])
def test_latency_is_no_skew(late):
    assert skewed(saw_k8s_w_01=clock(0, **late)) == []


def test_a_skew_shows_through_a_slow_call():
    """Work counts on both clocks: only the ways there and back make the bounds wide."""
    assert codes(skewed(saw_k8s_w_01=clock(40, work_s=60))) == ["clock-skew"]


def test_who_has_to_be_asked_again():
    slow, fine = clock(40, back_s=60), clock(0)
    assert preflight.undecided({"a": slow, "b": fine, "c": Report(), "d": clock(90)}, 30) == ["a"]


def test_the_masters_own_clock_is_off():
    (found,) = skewed(**{node.replace("-", "_"): clock(3600 + n) for n, node in enumerate(NODES)})
    assert found.node == "" and found.cause.startswith("the master's clock is 360")
    assert "behind those of all nodes" in found.cause and "on the master" in found.remedy


def test_clocks_that_agree_with_nobody():
    found = skewed(**{node.replace("-", "_"): clock(3600 * n) for n, node in enumerate(NODES, start=1)})
    assert len(found) == len(NODES)


# -- identity


def facts(**told: Any) -> Report:
    return Report(facts=told)


def test_machines_that_are_different():
    reports = {
        node.replace("-", "_"): facts(hostname=node, machine_id=f"{n}", product_uuid="", macs=[f"bc:24:11:00:00:0{n}"])
        for n, node in enumerate(NODES)
    }
    assert problems(**reports) == []


@pytest.mark.parametrize(
    ("one", "other", "code", "text"),
    [
        ({"hostname": "debian"}, {"hostname": "debian"}, "name-clash", "the host name debian is that of 2 machines"),
        ({"hostname": "w.example"}, {"hostname": "W"}, "name-clash", "the host name w is that"),
        ({"machine_id": "b1"}, {"machine_id": "b1"}, "machine-id-clash", "the machine ID b1 is"),
        ({"product_uuid": "4C4C"}, {"product_uuid": "4c4c"}, "machine-id-clash", "the product UUID 4c4c is"),
        ({"macs": ["bc:1", "bc:2"]}, {"macs": ["bc:2"]}, "mac-clash", "the hardware address bc:2 is that"),
    ],
)
def test_something_that_two_machines_share(one, other, code, text):
    (found,) = problems(saw_k8s_w_01=facts(**one), saw_k8s_w_02=facts(**other))
    assert (found.node, found.code) == ("saw-k8s-w-01, saw-k8s-w-02", code)
    assert found.cause.startswith(text)


def test_what_is_not_known_clashes_with_nothing():
    unknown = facts(hostname="", machine_id="", product_uuid="", macs=[])
    assert problems(saw_k8s_w_01=unknown, saw_k8s_w_02=unknown) == []


ADDRESS = {node: str(row.address) for node, row in CLUSTER.nodes.items()}


def test_a_stranger_answers_for_a_nodes_address():
    sees = {ADDRESS[W1]: "52:54:00:aa:bb:cc", ADDRESS[M1]: "bc:24:11:00:00:01"}
    (found,) = problems(
        saw_k8s_w_01=facts(macs=["bc:24:11:00:00:04"]),
        saw_k8s_m_01=facts(macs=["bc:24:11:00:00:01"]),
        saw_k8s_m_02=facts(neighbours=sees),
        saw_k8s_m_03=facts(neighbours=sees),
    )
    assert (found.node, found.code) == (W1, "address-clash")
    assert found.cause.startswith("saw-k8s-m-02, saw-k8s-m-03 see its address 192.168.100.154 behind 52:54:00:aa:bb:cc")
    assert "bc:24:11:00:00:04" in found.cause and "52:54:00:aa:bb:cc" in found.remedy


def test_any_card_of_a_node_may_answer():
    witness = facts(neighbours={ADDRESS[W1]: "bc:2"})
    assert problems(saw_k8s_w_01=facts(macs=["bc:1", "bc:2"]), saw_k8s_m_02=witness) == []


def test_a_gateway_that_answers_for_all_is_no_stranger():
    witness = facts(neighbours={ADDRESS[W1]: "aa:1", str(CLUSTER.network.gateway): "aa:1"})
    assert problems(saw_k8s_w_01=facts(macs=["bc:1"]), saw_k8s_m_02=witness) == []


# -- ways


def silent(*pairs: tuple[str, int]) -> Report:
    return Report(unreached=[{"node": node, "port": port, "reason": "no answer within 3.5 s"} for node, port in pairs])


def test_a_port_closed_to_two_nodes_is_one_problem():
    blocked = silent((M3, 2379), (M3, 2380))
    (found,) = problems(saw_k8s_m_01=blocked, saw_k8s_m_02=blocked)
    assert (found.node, found.code) == (M3, "node-unreachable")
    assert found.cause.startswith(
        "no way from saw-k8s-m-01, saw-k8s-m-02 to its TCP ports 2379 (etcd), 2380 (etcd) (no answer within 3.5 s)"
    )
    assert "nc -zv" in found.remedy


def test_different_ports_for_different_nodes_are_still_one_problem():
    (found,) = problems(saw_k8s_m_01=silent((M3, 2380), (M3, 4240)), saw_k8s_w_01=silent((M3, 4240)))
    assert "saw-k8s-m-01 to its TCP ports 2380 (etcd), 4240 (Cilium)" in found.cause
    assert "; saw-k8s-w-01 to its TCP port 4240 (Cilium)" in found.cause


def test_two_nodes_that_do_not_reach_each_other():
    (found,) = problems(saw_k8s_w_01=silent((W2, 4240)), saw_k8s_w_02=silent((W1, 4240), (W1, 7946)))
    assert found.node == "saw-k8s-w-01, saw-k8s-w-02"
    assert found.cause.startswith("no way between them to TCP ports 4240 (Cilium), 7946 (MetalLB)")


def test_a_node_that_alone_reaches_nobody():
    (found,) = problems(saw_k8s_w_01=silent(*((node, 4240) for node in (M1, M2, W2)), (HA, 6443)))
    assert found.node == W1
    assert found.cause.startswith("no way from it to saw-k8s-m-01 on TCP port 4240 (Cilium); saw-k8s-m-02 on")
    assert "saw-k8s-ha-01 on TCP port 6443 (API)" in found.cause


def test_a_node_in_another_network_is_one_problem():
    others = {node.replace("-", "_"): silent((W1, 4240)) for node in NODES if node not in (W1, HA)}
    (found,) = problems(**others, saw_k8s_w_01=silent(*((node, 4240) for node in NODES if node not in (W1, HA))))
    assert found.node == W1
    assert found.cause.startswith("no way from every other Kubernetes node to its TCP port 4240 (Cilium)")
    assert "; no way from it to saw-k8s-m-01 on" in found.cause


def test_one_port_closed_on_every_node_is_one_problem():
    """A firewall's profile that somebody gave to all machines."""
    kubernetes = [node for node in NODES if node != HA]
    reports = {
        node.replace("-", "_"): silent(*((other, 7946) for other in kubernetes if other != node)) for node in kubernetes
    }
    (found,) = problems(**reports)
    assert found.node == ", ".join(kubernetes)
    assert found.cause.startswith("no way from every other Kubernetes node to its TCP port 7946 (MetalLB)")


def test_a_port_without_a_name():
    (found,) = problems(saw_k8s_ha_01=silent((W1, 30080)))
    assert "to its TCP port 30080 (no answer" in found.cause


# -- other clusters


def member(ca: str | None = "sha256:aa", **rest: Any) -> dict[str, Any]:
    return {"joined": True, "foreign": None, "cluster_ca_hash": ca, **rest}


def test_members_of_one_cluster():
    assert problems({M1: member(), M2: member(), W1: {"joined": False, "cluster_ca_hash": None}}) == []


def test_a_node_that_says_itself_that_it_is_another_clusters():
    (found,) = problems({W1: {"joined": True, "foreign": "kubelet.conf points at https://10.9.9.9:6443"}})
    assert (found.node, found.code) == (W1, "foreign-cluster")
    assert found.cause == "kubelet.conf points at https://10.9.9.9:6443: it may be in use"
    assert "salt saw-k8s-w-01 kubeadm.reset confirm=saw-k8s-w-01" in found.remedy


def test_a_member_with_another_ca():
    (found,) = problems({M1: member(), M2: member(), W1: member("sha256:bb")})
    assert found.node == W1
    assert found.cause.startswith("its CA is sha256:bb, that of 2 other members is sha256:aa")


def test_without_a_majority_all_are_named():
    found = problems({M1: member(), W1: member("sha256:bb")})
    assert [problem.node for problem in found] == [M1, W1]


def test_a_node_that_says_it_itself_is_not_named_twice():
    (found,) = problems({M1: member(), M2: member(), W1: member("sha256:bb", foreign="files are left")})
    assert found.cause.startswith("files are left")


# -- codes


def used_codes() -> Iterator[str]:
    """Every text in the sources of the preflight that looks like a code and stands where one does."""
    sources = [*(CHECKOUT / "_modules").glob("preflight*.py"), *(CHECKOUT / "saltern").glob("preflight.py")]
    for path in (*sources, CHECKOUT / "saltern" / "readiness.py"):
        for part in ast.walk(ast.parse(path.read_text())):
            if isinstance(part, ast.Call):
                name = ast.unparse(part.func)
                first = part.args[:1] if name in ("_finding", "__salt__['preflight.finding']", "Identity") else []
                keywords = [keyword.value for keyword in part.keywords if keyword.arg == "code"]
                yield from (v.value for v in (*first, *keywords) if isinstance(v, ast.Constant))


def test_the_list_of_codes_is_what_the_preflight_reports():
    assert set(used_codes()) == set(CODES)


def test_codes_are_file_names():
    """docs/runbooks/ has a page named after each."""
    assert all(code == code.lower() and code.replace("-", "").isalpha() for code in CODES)


def test_a_table_of_hundreds_in_which_nobody_reaches_anybody_is_told_in_seconds():
    names = [f"w-{number:03}" for number in range(300)]
    rows = {
        name: {
            "role": "worker",
            "address": f"10.{n // 250}.0.{n % 250 + 1}",
            "cpus": 2,
            "memory_gib": 4,
            "disk_gib": 20,
        }
        for n, name in enumerate(names)
    }
    table = CLUSTER.model_copy(update={"nodes": {name: Node.model_validate(row) for name, row in rows.items()}})
    for name, row in table.nodes.items():
        row._name = name
    unreached = {name: silent(*((other, 4240) for other in names if other != name)).unreached for name in names}
    began = time.monotonic()
    found = preflight.merged(preflight.blocked(unreached, table), names)
    assert time.monotonic() - began < 10
    assert [problem.node for problem in found] == ["all 300 nodes"]
