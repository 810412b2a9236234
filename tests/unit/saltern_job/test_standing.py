"""What counts as wrong with a cluster: the answers of a healthy one (captured), and each matter broken in turn."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from saltern import node_pillar, report, runbooks, standing
from saltern.inquiry import Answers
from tests.salt_node import CHECKOUT, load
from tests.unit.saltern.definitions import PAIR, shipped

# node_status.facts of the eight nodes of a real cluster.
CAPTURED = json.loads((Path(__file__).parent / "captured" / "node-status.json").read_text())
LEADER = "saw-k8s-m-01"
FINGERPRINT = load(CHECKOUT / "_modules" / "last_apply.py", {}).fingerprint


class Scene:
    """The cluster of the shipped definition, and what its nodes say."""

    def __init__(self, directory, **overlay):
        self.cluster = shipped(directory, **overlay)
        self.facts = copy.deepcopy(CAPTURED)
        for number, row in enumerate(self.cluster.load_balancers if self.cluster.settings.virtual_address else []):
            self.facts[row.name] = copy.deepcopy(CAPTURED["saw-k8s-ha-01"]) | {"holds_address": number == 0}
        for name, facts in self.facts.items():
            # The captured cluster has its own mirror and versions; here it was applied from the shipped definition.
            facts["applied"]["pillar"] = FINGERPRINT(node_pillar.build(self.cluster, name)["saltern"])
            facts["applied"] |= {"succeeded": True, "failed": []}
        self.rest = {}

    @property
    def seen(self):
        return self.facts[LEADER]["cluster"]

    @property
    def members(self):
        return {member["name"]: member for member in self.facts[LEADER]["members"]}

    def judged(self):
        return standing.judge(self.cluster, Answers(self.facts, **self.rest), wait_s=3)

    def problems(self):
        """Each as (node, matter, cause)."""
        return [(problem.node, problem.step, problem.cause) for problem in self.judged().problems]

    def codes(self):
        """The runbook of each."""
        return [problem.code for problem in self.judged().problems]

    def only(self):
        """The one problem there is."""
        (problem,) = self.judged().problems
        assert problem.remedy, problem
        return f"{problem.node}: {problem.step}: {problem.cause}"


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


@pytest.fixture
def pair(tmp_path):
    """The same with two load balancers, of which the first has the address."""
    return Scene(tmp_path, cluster=PAIR)


def test_a_healthy_cluster(scene):
    assert scene.problems() == []
    assert scene.judged().healthy


def test_a_node_that_is_silent(scene):
    del scene.facts["saw-k8s-w-02"]
    scene.rest["silent"] = ("saw-k8s-w-02",)
    assert scene.only().startswith("saw-k8s-w-02: Minion: no answer within 3 s: it is down or busy")


def test_a_node_without_a_key_and_one_without_the_modules(scene):
    del scene.facts["saw-k8s-w-02"], scene.facts["saw-k8s-w-03"]
    scene.rest |= {"keyless": ("saw-k8s-w-02",), "refused": {"saw-k8s-w-03": "not available"}}
    assert scene.problems() == [
        ("saw-k8s-w-02", "Minion", "the master has no accepted key of its minion"),
        ("saw-k8s-w-03", "Minion", "could not answer: not available"),
    ]


def test_a_part_that_a_node_could_not_tell(scene):
    scene.facts["saw-k8s-ha-01"]["errors"]["backends"] = "no HAProxy answers on /run/haproxy-stats.sock"
    del scene.facts["saw-k8s-ha-01"]["backends"]
    assert scene.only() == "saw-k8s-ha-01: Backends: no HAProxy answers on /run/haproxy-stats.sock"
    scene.facts["saw-k8s-w-01"]["errors"]["drift"] = "no state run is recorded on this node"
    assert scene.codes() == ["unit-not-running", "call-failed"]


def test_a_cluster_that_nobody_could_look_at(scene):
    del scene.facts[LEADER]["cluster"], scene.facts[LEADER]["members"]
    assert scene.only() == ": Cluster: none of saw-k8s-m-01, saw-k8s-m-02, saw-k8s-m-03 could ask an API server"
    assert scene.codes() == ["control-plane-unhealthy"]


def test_a_control_plane_node_that_is_gone(scene):
    """Its minion is silent, and the others hear nothing of it: one cause of all that is wrong with it."""
    del scene.facts["saw-k8s-m-02"]
    scene.rest["silent"] = ("saw-k8s-m-02",)
    assert scene.codes() == ["minion-silent"]  # the others hear it: only its minion is off
    scene.members["saw-k8s-m-02"] |= {"healthy": False, "reason": "https://192.168.100.152:2379 does not answer"}
    assert scene.codes() == ["control-plane-node-lost"] * 2  # a kubelet counts as Ready for 40 s more
    scene.seen["nodes"]["saw-k8s-m-02"] |= {"ready": False, "reason": "Kubelet stopped posting node status."}
    assert [(node, matter) for node, matter, _cause in scene.problems()] == [
        ("saw-k8s-m-02", "Minion"), ("saw-k8s-m-02", "Node"), ("saw-k8s-m-02", "etcd"),
    ]  # fmt: skip
    assert scene.codes() == ["control-plane-node-lost"] * 3


def test_a_control_plane_node_without_a_machine_is_gone_too_a_worker_is_not(scene):
    for name in ("saw-k8s-m-02", "saw-k8s-w-01"):
        del scene.facts[name]
        scene.seen["nodes"][name] |= {"ready": False, "reason": "Kubelet stopped posting node status."}
    scene.rest["keyless"] = ("saw-k8s-m-02", "saw-k8s-w-01")
    assert sorted(zip([problem[0] for problem in scene.problems()], scene.codes(), strict=True)) == [
        ("saw-k8s-m-02", "control-plane-node-lost"), ("saw-k8s-m-02", "control-plane-node-lost"),
        ("saw-k8s-w-01", "minion-key-missing"), ("saw-k8s-w-01", "nodes-not-ready"),
    ]  # fmt: skip


def test_a_control_plane_node_that_answers_is_not_gone(scene):
    scene.members["saw-k8s-m-02"] |= {"healthy": False, "reason": "RAFT NO LEADER"}
    assert scene.codes() == ["etcd-member-unhealthy"]


def test_an_etcd_without_quorum(scene):
    del scene.facts["saw-k8s-m-02"], scene.facts["saw-k8s-m-03"]
    scene.rest["silent"] = ("saw-k8s-m-02", "saw-k8s-m-03")
    del scene.facts[LEADER]["cluster"], scene.facts[LEADER]["members"]
    scene.facts[LEADER]["etcd"] |= {"leader": "", "errors": []}
    assert scene.codes() == ["minion-silent", "minion-silent", "etcd-quorum-lost", "etcd-quorum-lost"]
    assert scene.problems()[2][2].endswith(
        "could ask an API server (etcd has no quorum: no leader is seen by the member on saw-k8s-m-01)"
    )


def test_expired_certificates_of_all_control_plane_nodes(scene):
    del scene.facts[LEADER]["cluster"], scene.facts[LEADER]["members"]
    for name in ("saw-k8s-m-01", "saw-k8s-m-02", "saw-k8s-m-03"):
        entry = {"name": "apiserver", "days": -3.0, "lifetime_days": 365.0}
        scene.facts[name] |= {"certificates": [entry], "errors": {"etcd": "etcd does not answer"}}
        del scene.facts[name]["etcd"]
    (cluster,) = [problem for problem in scene.judged().problems if problem.step == "Cluster"]
    assert cluster.code == "certificate-expired"
    assert "(certificates have expired: on saw-k8s-m-01 apiserver; on saw-k8s-m-02 apiserver; " in cluster.cause


def test_an_endpoint_that_leads_nowhere(scene):
    scene.seen["endpoint"] = "[Errno 111] Connection refused"
    assert scene.only() == (
        ": Endpoint: no API server answers at https://192.168.100.150:6443: [Errno 111] Connection refused"
    )


def test_nodes_that_are_not_ready_not_registered_or_strangers(scene):
    scene.seen["nodes"]["saw-k8s-w-01"] |= {"ready": False, "reason": "no CNI"}
    scene.seen["nodes"]["old"] = scene.seen["nodes"].pop("saw-k8s-w-02")
    assert scene.problems() == [
        ("saw-k8s-w-01", "Node", "not Ready: no CNI"),
        ("saw-k8s-w-02", "Node", "not registered in the cluster"),
        ("old", "Node", "is in the cluster but not in the table"),
    ]


def test_etcd_members_that_are_missing_learn_or_are_unhealthy(scene):
    scene.members["saw-k8s-m-01"] |= {"healthy": False, "reason": "RAFT NO LEADER"}
    scene.members["saw-k8s-m-02"]["learner"] = True
    scene.members["saw-k8s-m-03"] |= {"name": "", "id": "beef"}
    assert scene.problems() == [
        ("saw-k8s-m-01", "etcd", "RAFT NO LEADER"),
        ("saw-k8s-m-02", "etcd", "is a learner still: it does not vote"),
        ("saw-k8s-m-03", "etcd", "is no member"),
        ("", "etcd", "member beef is of no control-plane node of the table"),
    ]


def test_a_member_without_a_leader_and_with_an_alarm(scene):
    scene.facts["saw-k8s-m-02"]["etcd"] |= {"leader": "", "errors": ["memberID:1 alarm:NOSPACE"]}
    assert scene.problems() == [
        ("saw-k8s-m-02", "etcd", "its member sees no leader"),
        ("saw-k8s-m-02", "etcd", "memberID:1 alarm:NOSPACE"),
    ]
    assert scene.codes() == ["etcd-member-unhealthy"] * 2  # the others have a leader: this one is cut off


@pytest.mark.parametrize("status", ["DOWN", "DOWN 1/2", "MAINT", "NOLB"])
def test_a_server_that_a_load_balancer_takes_for_down(scene, status):
    server = scene.facts["saw-k8s-ha-01"]["backends"][1]
    server |= {"status": status, "check": "Layer4 connection problem"}
    assert scene.only() == (
        f"saw-k8s-ha-01: HAProxy: kubernetes-api: saw-k8s-m-02 (192.168.100.152:6443) is {status}: "
        "Layer4 connection problem"
    )


def test_one_of_two_load_balancers_has_the_address(pair):
    assert pair.problems() == []
    lines = report.status(pair.judged()).splitlines()
    assert [line.split("up, ")[1] for line in lines if "HAProxy" in line] == ["has 192.168.100.149", "stands by"]
    told = report.status_data(pair.judged())["nodes"]
    assert [told[name]["holds_address"] for name in ("saw-k8s-ha-01", "saw-k8s-ha-02")] == [True, False]


def test_an_address_that_both_have(pair):
    pair.facts["saw-k8s-ha-02"]["holds_address"] = True
    assert pair.only().startswith(
        ": Virtual address: saw-k8s-ha-01, saw-k8s-ha-02 all have 192.168.100.149: they do not hear each other"
    )
    assert pair.codes() == ["virtual-address-not-held"]


def test_an_address_that_nobody_has(pair):
    pair.facts["saw-k8s-ha-01"]["holds_address"] = False
    assert pair.only().startswith(": Virtual address: no load balancer has 192.168.100.149: keepalived does not run")
    assert pair.codes() == ["virtual-address-not-held"]


def test_who_is_silent_may_have_the_address(pair):
    del pair.facts["saw-k8s-ha-01"]
    pair.rest["silent"] = ("saw-k8s-ha-01",)
    assert pair.codes() == ["minion-silent"]
    del pair.facts["saw-k8s-ha-02"]["holds_address"]
    pair.facts["saw-k8s-ha-02"]["errors"]["holds_address"] = "ip: not found"
    assert pair.codes() == ["minion-silent", "call-failed"]
    lines = report.status(pair.judged()).splitlines()
    assert next(line for line in lines if "saw-k8s-ha-02: HAProxy" in line).endswith(
        "up, whether it has 192.168.100.149 is not known"
    )


def test_a_server_on_its_way_down_still_serves(scene):
    scene.facts["saw-k8s-ha-01"]["backends"][1]["status"] = "UP 1/3"
    assert scene.judged().healthy


def test_pods_that_are_not_ready_the_first_ones_by_name(scene):
    pods = [f"default/p{n} on saw-k8s-w-01: c waits: ErrImagePull" for n in range(12)]
    scene.seen["pods"]["not_ready"] = pods
    found = scene.judged().problems
    assert [problem.cause for problem in found[:10]] == pods[:10] and found[10].cause == "2 more are not ready"
    assert found[0].remedy == "kubectl -n default describe pod p0"


def test_versions_that_run_and_are_installed_against_the_table(tmp_path):
    scene = Scene(tmp_path, versions={"crio": "1.36.9", "artefacts": {"crio": {"version": "1.36.9"}}})
    scene.seen["nodes"] = {"saw-k8s-w-01": scene.seen["nodes"]["saw-k8s-w-01"] | {"version": "v1.35.6"}}
    scene.seen["components"] = {LEADER: {"kube-scheduler": "1.36.3"}}
    versions = [problem for problem in scene.problems() if problem[1] == "Version"]
    assert ("saw-k8s-w-01", "Version", "kubelet 1.35.6 runs, the table says 1.36.4") in versions
    assert ("saw-k8s-w-01", "Version", "CRI-O 1.36.3 runs, the table says 1.36.9") in versions
    assert (LEADER, "Version", "kube-scheduler 1.36.3 runs, the table says 1.36.4") in versions
    assert (LEADER, "Version", "crio 1.36.3 is installed, the table says 1.36.9") in versions


def test_an_artefact_that_is_switched_off_is_not_judged(scene):
    scene.facts[LEADER]["installed"]["etcdctl"] = "3.0.0"
    assert scene.judged().healthy


def test_charts_that_are_missing_of_another_version_or_not_deployed(scene):
    cilium, _ = scene.seen["charts"]
    cilium["version"] = "1.19.0"
    assert scene.only() == ": Chart: cilium 1.19.0 is deployed, the table says 1.20.1"
    cilium["status"] = "pending-upgrade"
    assert scene.only() == ": Chart: cilium is pending-upgrade"
    scene.seen["charts"] = [cilium | {"status": "deployed", "version": "1.20.1"}]
    assert scene.only() == ": Chart: metallb is not installed"


def test_drift_is_named_with_its_state_and_what_it_would_change(scene):
    state = {"id": "The sysctl profiles are in force", "sls": "os.sysctl", "time": "2026-01-31T12:00:00Z"}
    scene.facts["saw-k8s-w-01"]["drift"] = [state | {"what": ["vm.swappiness 60 instead of 10", "a missing"]}]
    (problem,) = scene.judged().problems
    assert (problem.state_id, problem.remedy) == (state["id"], "salt saw-k8s-w-01 state.apply")
    assert problem.cause == "vm.swappiness 60 instead of 10; a missing (os.sysctl, applied 2026-01-31T12:00:00Z)"


def test_a_state_run_that_failed(scene):
    scene.facts["saw-k8s-w-01"]["applied"] |= {"time": "T", "succeeded": False, "failed": ["CRI-O runs"]}
    assert scene.only() == 'saw-k8s-w-01: Drift: the last state run (T) failed: "CRI-O runs"'


def test_a_definition_that_has_changed_since_it_was_applied(tmp_path):
    before = Scene(tmp_path / "before")
    changed = {"crio": {"crio.runtime.pids_limit": 99}, "kubeadm": {"token_ttl_minutes": 30}}
    scene = Scene(tmp_path / "now", cluster=changed)
    for name, facts in scene.facts.items():
        facts["applied"] = before.facts[name]["applied"] | {"time": "T"}
    (problem,) = scene.judged().problems
    names = [name for name in CAPTURED if name != "saw-k8s-ha-01"]
    assert problem.cause == f"the definition has changed since the last state run of {', '.join(names)}: crio"
    assert problem.remedy == f"salt -L {','.join(names)} state.apply"


def test_another_worker_in_the_table_changes_no_other_node(tmp_path):
    before = Scene(tmp_path / "before")
    row = {"role": "worker", "address": "192.168.100.158", "cpus": 2, "memory_gib": 4, "disk_gib": 20}
    scene = Scene(tmp_path / "now", cluster={"nodes": {"saw-k8s-w-05": row}})
    for name, facts in scene.facts.items():
        facts["applied"] = before.facts[name]["applied"]
    assert [problem for problem in scene.problems() if problem[1] == "Drift"] == []


@pytest.mark.parametrize(
    ("days", "lifetime_days", "wrong"),
    [(29.5, 365, "ends in 29.5 days"), (31, 365, None), (-3, 365, "ended 3 days ago"),
     (2, 10, None), (0.5, 10, "ends in 0.5 days"), (364, 3650, None)],
)  # fmt: skip
def test_certificates_that_are_about_to_end(scene, days, lifetime_days, wrong):
    entry = {"name": "apiserver", "days": days, "lifetime_days": lifetime_days}
    scene.facts[LEADER]["certificates"].insert(0, entry)
    found = scene.problems()
    assert found == ([(LEADER, "Certificate", f"apiserver {wrong}")] if wrong else [])
    assert scene.codes() == (["certificate-expired" if days < 0 else "certificate-ending"] if wrong else [])


# -- what the operator reads


def test_the_status_of_a_healthy_cluster_as_text(scene):
    lines = report.status(scene.judged()).splitlines()
    assert lines[0] == "saw-k8s: healthy. Kubernetes 1.36.4, API at https://192.168.100.150:6443"
    assert " ".join(lines[2].split()) == "NODE ROLE READY KUBELET CRI-O SYSTEM KERNEL DRIFT CERTIFICATES"
    system = "Debian GNU/Linux 12 (bookworm)"
    assert lines[3].startswith(f"  saw-k8s-ha-01  load_balancer  -      -        -       {system}")
    assert lines[4].startswith(f"  saw-k8s-m-01   control_plane  yes    1.36.4   1.36.3  {system}")
    assert lines[4].split()[-4:-1] == ["none", "365", "d"]
    assert lines[12:] == [
        "etcd 3.6.8: 3 of 3 members healthy, leader saw-k8s-m-01",
        "saw-k8s-ha-01: HAProxy 2.6.12-1+deb12u4, kubernetes-api 3 of 3 servers up",
        "charts: cilium 1.20.1 deployed, metallb 0.15.3 deployed",
        "pods: 34, none not ready",
    ]


def test_the_status_of_a_broken_cluster_as_text(scene):
    scene.facts = {name: facts for name, facts in scene.facts.items() if name != LEADER}
    scene.facts["saw-k8s-w-01"]["drift"] = [{"id": "A", "sls": "os", "time": "T", "what": ["x"]}]
    del scene.facts["saw-k8s-w-02"]["drift"], scene.facts["saw-k8s-ha-01"]["backends"]
    scene.rest["silent"] = (LEADER,)
    lines = report.status(scene.judged()).splitlines()
    assert lines[0].startswith("saw-k8s: NOT healthy: 3 problems, see below. ")
    assert lines[4].split() == [LEADER, "control_plane", "?", "-", "-", "-", "-", "?", "-"]
    rows = {line.split()[0]: line for line in lines[3:11]}
    assert " 1 state " in rows["saw-k8s-w-01"] and "  ?  " in rows["saw-k8s-w-02"]
    assert lines[12:16] == [
        "etcd: its members are not known",
        "saw-k8s-ha-01: HAProxy 2.6.12-1+deb12u4, its servers are not known",
        "charts: not known",
        "pods: not known",
    ]
    assert lines[17] == "What is wrong"
    assert lines[18].startswith(f"  {LEADER}: Minion: no answer within 3 s")
    assert lines[19].startswith(f"    next: salt {LEADER} test.ping")
    assert lines[20] == f"    see {runbooks.DIRECTORY}/minion-silent.md"


def test_of_several_problems_of_one_kind_the_last_one_leads_to_the_page(scene):
    for name in ("saw-k8s-w-01", "saw-k8s-w-02"):
        scene.facts[name]["drift"] = [{"id": "A", "sls": "os", "time": "T", "what": ["x"]}]
    lines = report.status(scene.judged()).splitlines()
    assert [line.strip() for line in lines if "see /" in line] == [f"see {runbooks.DIRECTORY}/node-drifted.md"]
    assert lines[-1].startswith("    see /") and lines[-3].startswith("  saw-k8s-w-02: Drift")


def test_the_status_as_data(scene):
    scene.facts["saw-k8s-w-01"]["drift"] = [{"id": "A", "sls": "os", "time": "T", "what": ["x"]}]
    told = json.loads(json.dumps(report.status_data(scene.judged())))
    assert (told["cluster"], told["healthy"]) == ("saw-k8s", False)
    assert told["problems"][0]["node"] == "saw-k8s-w-01" and told["problems"][0]["remedy"]
    worker = told["nodes"]["saw-k8s-w-01"]
    assert (worker["ready"], worker["kubelet"], worker["drift"]) == ("yes", "1.36.4", 1)
    assert worker["drift_details"][0]["what"] == ["x"]
    assert told["nodes"][LEADER]["components"]["kube-apiserver"] == "1.36.4"
    assert len(told["nodes"]["saw-k8s-ha-01"]["backends"]) == 6
    assert [member["healthy"] for member in told["etcd"]["members"]] == [True] * 3
    assert told["pods"]["total"] == 34 and told["charts"][0]["name"] == "cilium"
