"""kubeconfig.endpoints: every kubeconfig names the load balancer, and only what used a changed one is restarted."""

import base64
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from salt.exceptions import CommandExecutionError

from tests.unit.modules.member import ENDPOINT, KEY_DATA, Member, certificate

# Made by kubeadm 1.36.4 for saw-k8s-m-01, keys and certificates replaced by words.
CAPTURED = Path(__file__).parent / "captured"
FILES = ("admin.conf", "controller-manager.conf", "kubelet.conf", "scheduler.conf")
OWN = "https://192.168.100.151:6443"
SENTENCE = "Every kubeconfig names the load balancer"
RUNNING = {"kube-controller-manager": ["cm1"], "kube-scheduler": ["s1"], "kube-apiserver": ["a1"]}
# A runtime whose kubelet starts each stopped container anew, as another one.
CRICTL = """
path = pathlib.Path({path!r})
running = json.loads(path.read_text())
if "ps" in sys.argv:
    (name,) = [word.rpartition("=")[2] for word in sys.argv if word.startswith("--label=io.kubernetes.container.name")]
    print("\\n".join(running.get(name, [])))
if "stop" in sys.argv:
    anew = {{name: [f"{{i}}-anew" if i in sys.argv else i for i in ids] for name, ids in running.items()}}
    path.write_text(json.dumps(anew))
"""


class ControlPlane(Member):
    """A control-plane node with the kubeconfigs that kubeadm's join leaves, its containers and its services."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.etc = self.sandbox / "etc" / "kubernetes"
        self.ca = certificate()
        self.file("etc", "kubernetes", "pki", "ca.crt").write_bytes(self.ca)
        for name in RUNNING:
            self.file("etc", "kubernetes", "manifests", f"{name}.yaml")
        for name in FILES:
            self.file("etc", "kubernetes", name, text=(CAPTURED / f"kubeadm-1.36.4-{name}").read_text()).chmod(0o600)
        self.running = root / "running.json"
        self.running.write_text(json.dumps(RUNNING))
        self.crictl(CRICTL.format(path=str(self.running)))
        self.services: list[tuple[str, str]] = []
        self.salt["unit.act"] = lambda verb, unit: self.services.append((verb, unit))

    def crictl(self, script: str) -> None:
        """Put a fake crictl where CRI-O's bundle has it."""
        self.tool("crictl", script)
        target = self.sandbox / "usr" / "local" / "bin" / "crictl"
        target.parent.mkdir(parents=True, exist_ok=True)
        (self.sandbox / "bin" / "crictl").replace(target)

    def endpoints(self, test: bool = False) -> dict[str, Any]:
        """Apply the state."""
        self.opts["test"] = test
        ret: dict[str, Any] = self.state("kubeconfig").endpoints(SENTENCE)
        assert KEY_DATA not in repr(ret)
        return ret

    def name_server(self, name: str, server: str) -> None:
        """Let a kubeconfig name another server."""
        path = self.etc / name
        document = yaml.safe_load(path.read_text())
        document["clusters"][0]["cluster"]["server"] = server
        path.write_text(yaml.safe_dump(document))

    def servers(self) -> dict[str, str]:
        """Which server each kubeconfig names."""
        found: dict[str, str] = self.salt["kubeadm_facts.member_files"]()["servers"]
        return found

    def content(self) -> dict[str, bytes]:
        """Each kubeconfig."""
        return {name: (self.etc / name).read_bytes() for name in FILES}

    def stopped(self) -> list[str]:
        """The containers that were stopped."""
        calls = [call["argv"] for call in self.calls("crictl") if "stop" in call["argv"]]
        return [word for argv in calls for word in argv[argv.index("stop") + 1 :] if not word.startswith("--")]


@pytest.fixture
def joined(tmp_path: Path) -> ControlPlane:
    """A control-plane node as kubeadm's join leaves it."""
    return ControlPlane(tmp_path)


def test_test_mode_tells_each_file_and_restart_and_moves_nothing(joined: ControlPlane) -> None:
    before = joined.content()
    ret = joined.endpoints(test=True)
    assert ret["result"] is None
    files = [str(joined.etc / name) for name in ("kubelet.conf", "controller-manager.conf", "scheduler.conf")]
    users = ("kubelet", "kube-controller-manager", "kube-scheduler")
    assert ret["changes"] == {path: {"old": OWN, "new": ENDPOINT} for path in files} | {
        user: {"old": "by the file before", "new": "by the file as it is now"} for user in users
    }
    assert (joined.content(), joined.services, joined.calls()) == (before, [], [])
    assert not (joined.sandbox / "etc" / "provisioner").exists()


def test_a_joined_node_is_pointed_at_the_load_balancer_once(joined: ControlPlane) -> None:
    preview = joined.endpoints(test=True)["changes"]
    first = joined.endpoints()
    assert first["result"] is True, first["comment"]
    assert first["changes"] == preview
    assert joined.servers() == dict.fromkeys(FILES, ENDPOINT)
    assert joined.services == [("restart", "kubelet.service")]
    assert joined.stopped() == ["cm1", "s1"]
    calls = len(joined.calls())
    second = joined.endpoints()
    assert (second["result"], second["changes"]) == (True, {})
    assert second["comment"] == f"{SENTENCE}: 4 kubeconfigs name {ENDPOINT}"
    assert (len(joined.calls()), len(joined.services)) == (calls, 1)


def test_only_the_server_changes_and_nobody_else_can_read_it(joined: ControlPlane) -> None:
    before = {name: yaml.safe_load(text) for name, text in joined.content().items()}
    os.chown(joined.etc / "scheduler.conf", 65534, 65534)
    (joined.etc / "kubelet.conf").chmod(0o644)
    joined.endpoints()
    for name, old in before.items():
        old["clusters"][0]["cluster"]["server"] = ENDPOINT
        assert yaml.safe_load((joined.etc / name).read_text()) == old
        assert (joined.etc / name).stat().st_mode & 0o7777 == 0o600
    owner = (joined.etc / "scheduler.conf").stat()
    assert (owner.st_uid, owner.st_gid) == (65534, 65534)
    assert sorted(path.name for path in joined.etc.iterdir()) == sorted([*FILES, "manifests", "pki"])


@pytest.mark.parametrize(
    ("drifted", "services", "stopped"),
    [
        ("admin.conf", 0, []),
        ("kubelet.conf", 1, []),
        ("controller-manager.conf", 0, ["cm1-anew"]),
        ("scheduler.conf", 0, ["s1-anew"]),
    ],
)
def test_drift_restarts_what_uses_the_file_and_nothing_else(
    joined: ControlPlane, drifted: str, services: int, stopped: list[str]
) -> None:
    joined.endpoints()
    joined.services.clear()
    joined.tool_log.unlink()
    joined.name_server(drifted, OWN)
    ret = joined.endpoints()
    assert ret["result"] is True, ret["comment"]
    assert ret["changes"][str(joined.etc / drifted)] == {"old": OWN, "new": ENDPOINT}
    assert (len(joined.services), joined.stopped()) == (services, stopped)
    assert joined.servers()[drifted] == ENDPOINT


def test_a_component_that_does_not_run_is_not_waited_for(joined: ControlPlane) -> None:
    """And a dry run, which may find it running, has foreseen the same: it reads the changed file when it starts."""
    foreseen = joined.endpoints(test=True)["changes"]
    joined.running.write_text(json.dumps(RUNNING | {"kube-scheduler": []}))
    ret = joined.endpoints()
    assert ret["result"] is True, ret["comment"]
    assert ret["changes"] == foreseen
    assert joined.stopped() == ["cm1"]


def test_a_component_without_a_manifest_is_not_waited_for(joined: ControlPlane) -> None:
    """Its container still runs while the kubelet is down; nothing would start it again after a restart."""
    (joined.etc / "manifests" / "kube-scheduler.yaml").unlink()
    assert joined.endpoints()["result"] is True
    assert joined.stopped() == ["cm1"]


def test_a_component_that_does_not_come_back_is_named(joined: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    joined.crictl("print('s1' if 'ps' in sys.argv and not pathlib.Path('{0}').exists() else '')\n"
                  "if 'stop' in sys.argv: pathlib.Path('{0}').touch()".format(joined.root / "gone"))  # fmt: skip
    clock = iter(range(0, 10_000, 50))
    fake_time = SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _seconds: None)
    monkeypatch.setattr(joined.modules["kubeconfig_endpoints"], "time", fake_time)
    ret = joined.endpoints()
    assert ret["result"] is False
    assert "kube-controller-manager, kube-scheduler did not come back within 120 s" in ret["comment"]
    assert ret["changes"][str(joined.etc / "scheduler.conf")] == {"old": OWN, "new": ENDPOINT}


def test_a_slow_kubelet_is_waited_for(joined: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([True, False, False, True, True])  # the first and the last one are the turn's
    joined.salt["kubeadm_facts.kubelet_answers"] = lambda: next(answers)
    fake_time = SimpleNamespace(monotonic=lambda: 0.0, sleep=lambda _seconds: None)
    monkeypatch.setattr(joined.modules["kubeconfig_endpoints"], "time", fake_time)
    assert joined.endpoints()["result"] is True
    assert next(answers, "asked until it answered") == "asked until it answered"


def test_a_restart_that_failed_is_made_up_for_by_the_next_run(joined: ControlPlane) -> None:
    good = joined.sandbox / "usr" / "local" / "bin" / "crictl"
    script = good.read_text()
    joined.crictl("sys.stderr.write('no such socket'); sys.exit(1)")
    failed = joined.endpoints()
    assert failed["result"] is False
    assert "crictl ps: no such socket (journalctl -u crio)" in failed["comment"]
    assert joined.servers() == dict.fromkeys(FILES, ENDPOINT)
    good.write_text(script)
    assert joined.endpoints(test=True)["result"] is None
    ret = joined.endpoints()
    assert ret["result"] is True, ret["comment"]
    restarted = {"old": "by the file before", "new": "by the file as it is now"}
    assert ret["changes"] == dict.fromkeys(("kube-controller-manager", "kube-scheduler", "kubelet"), restarted)
    assert joined.stopped() == ["cm1", "s1"]
    assert joined.endpoints()["changes"] == {}


def test_a_kubelet_that_does_not_start_is_told_with_systemds_words(joined: ControlPlane) -> None:
    def refuse(_verb: str, _unit: str) -> None:
        raise CommandExecutionError("systemctl restart kubelet.service: failed")

    joined.salt["unit.act"] = refuse
    ret = joined.endpoints()
    assert ret["result"] is False
    assert "systemctl restart kubelet.service: failed" in ret["comment"]


def test_before_the_node_is_a_member_there_is_nothing_to_do(tmp_path: Path) -> None:
    node = Member(tmp_path)
    ret = node.state("kubeconfig").endpoints(SENTENCE)
    assert (ret["result"], ret["changes"]) == (True, {})
    assert ret["comment"] == "no member of a cluster yet"


def test_a_half_made_start_is_left_to_the_next_one(joined: ControlPlane) -> None:
    joined.unfinished("join")
    before = joined.content()
    ret = joined.endpoints()
    assert (ret["result"], ret["changes"]) == (True, {})
    assert "unfinished join" in ret["comment"]
    assert (joined.content(), joined.services) == (before, [])


@pytest.mark.parametrize("test", [True, False])
def test_another_clusters_kubeconfigs_are_not_touched(joined: ControlPlane, test: bool) -> None:
    joined.name_server("scheduler.conf", "https://10.9.9.9:6443")
    before = joined.content()
    ret = joined.endpoints(test=test)
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "scheduler.conf points at https://10.9.9.9:6443" in ret["comment"]
    assert (joined.content(), joined.services) == (before, [])


@pytest.mark.parametrize(("trusted", "result"), [(True, True), (False, False), (None, False)])
def test_a_wrong_address_is_mended_where_the_ca_proves_whose_node_it_is(
    joined: ControlPlane, trusted: bool | None, result: bool
) -> None:
    path = joined.etc / "scheduler.conf"
    own_ca = base64.b64encode(joined.ca).decode()
    path.write_text(path.read_text().replace("Q0E=", own_ca).replace(OWN, "https://10.9.9.9:6443"))
    joined.answers(endpoint_trusted=trusted)
    ret = joined.endpoints()
    assert ret["result"] is result, ret["comment"]
    assert (joined.servers()["scheduler.conf"] == ENDPOINT) is result


def wrong_address(joined: ControlPlane) -> None:
    """scheduler.conf names a strange server under the CA of this node."""
    path, own_ca = joined.etc / "scheduler.conf", base64.b64encode(joined.ca).decode()
    path.write_text(path.read_text().replace("Q0E=", own_ca).replace(OWN, "https://10.9.9.9:6443"))


def test_while_the_endpoint_fails_over_any_api_server_proves_whose_node_it_is(joined: ControlPlane) -> None:
    wrong_address(joined)
    asked: list[tuple[Any, ...]] = []

    def trusted(*place: Any) -> bool | None:
        asked.append(place)
        return True if place == ("192.168.100.152", 6443) else None

    joined.salt["kubeadm_facts.endpoint_trusted"] = trusted
    assert joined.endpoints()["result"] is True
    assert asked[:3] == [(), ("192.168.100.151", 6443), ("192.168.100.152", 6443)]


def test_an_address_that_nobody_can_judge_is_left_and_told(joined: ControlPlane) -> None:
    wrong_address(joined)
    joined.answers(endpoint_trusted=None)
    ret = joined.endpoints()
    assert ret["result"] is False
    assert "no API server answers that could tell whether it is this cluster's all the same" in ret["comment"]


def test_a_wrong_address_under_another_ca_is_another_clusters(joined: ControlPlane) -> None:
    path = joined.etc / "scheduler.conf"
    other_ca = base64.b64encode(certificate()).decode()
    path.write_text(path.read_text().replace("Q0E=", other_ca).replace(OWN, "https://10.9.9.9:6443"))
    ret = joined.endpoints()
    assert (ret["result"], ret["changes"]) == (False, {})
    assert joined.servers()["scheduler.conf"] == "https://10.9.9.9:6443"


def test_a_broken_kubeconfig_is_named_and_not_quoted(joined: ControlPlane) -> None:
    (joined.etc / "scheduler.conf").write_text(f"clusters: [{{ {KEY_DATA}")
    ret = joined.endpoints()
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "scheduler.conf" in ret["comment"]
    with pytest.raises(CommandExecutionError, match=r"scheduler\.conf is no kubeconfig") as caught:
        joined.salt["kubeconfig_endpoints.point"]("scheduler.conf")
    assert KEY_DATA not in str(caught.value)


@pytest.fixture
def worker(tmp_path: Path) -> Member:
    """A worker as kubeadm's join leaves it, whose services are noted."""
    worker = Member(tmp_path, "worker")
    ca = certificate()
    worker.with_files(ENDPOINT, ca)
    path = worker.sandbox / "etc" / "kubernetes" / "kubelet.conf"
    document = yaml.safe_load((CAPTURED / "kubeadm-1.36.4-kubelet.conf").read_text())
    document["clusters"][0]["cluster"] = {
        "server": ENDPOINT,
        "certificate-authority-data": base64.b64encode(ca).decode(),
    }
    path.write_text(yaml.safe_dump(document))
    worker.salt["unit.act"] = lambda verb, unit: worker.file("acted", text=f"{verb} {unit}")
    return worker


def test_a_workers_kubelet_names_the_load_balancer(worker: Member) -> None:
    ret = worker.state("kubeconfig").endpoints(SENTENCE)
    assert (ret["result"], ret["changes"]) == (True, {})
    assert worker.calls() == []


@pytest.mark.parametrize("test", [True, False])
def test_a_workers_kubelet_that_names_a_control_plane_node_is_pointed_back(worker: Member, test: bool) -> None:
    path = worker.sandbox / "etc" / "kubernetes" / "kubelet.conf"
    path.write_text(path.read_text().replace(ENDPOINT, OWN))
    worker.opts["test"] = test
    ret = worker.state("kubeconfig").endpoints(SENTENCE)
    assert ret["result"] is (None if test else True), ret["comment"]
    restarted = {"old": "by the file before", "new": "by the file as it is now"}
    assert ret["changes"] == {str(path): {"old": OWN, "new": ENDPOINT}, "kubelet": restarted}
    assert (ENDPOINT in path.read_text()) is not test
    assert (worker.sandbox / "acted").exists() is not test
    assert worker.calls() == []


@pytest.mark.parametrize("test", [True, False])
def test_a_worker_that_has_not_joined_has_nothing_to_point(tmp_path: Path, test: bool) -> None:
    worker = Member(tmp_path, "worker")
    worker.opts["test"] = test
    ret = worker.state("kubeconfig").endpoints(SENTENCE)
    assert (ret["result"], ret["changes"], ret["comment"]) == (True, {}, "no member of a cluster yet")


def test_a_reset_forgets_what_was_to_be_restarted(joined: ControlPlane) -> None:
    joined.crictl("sys.exit(1)")
    joined.endpoints()
    joined.answers(node_registered=False)
    joined.salt["kubeadm_reset.wipe"] = lambda _whole: []
    joined.salt["kubeadm.reset"]("saw-k8s-m-01")
    assert joined.salt["kubeconfig_endpoints.due"]([]) == []
