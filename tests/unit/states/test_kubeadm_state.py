"""kubeadm.initialised, joined and absent: what they say, do and refuse."""

from pathlib import Path
from typing import Any

import pytest
import salt.crypt

from tests.unit.modules.member import INIT, Member


@pytest.fixture
def control_plane(tmp_path: Path) -> Member:
    """A control-plane node that is no member, whose kubeadm makes it one."""
    return made_by_kubeadm(Member(tmp_path))


def made_by_kubeadm(node: Member) -> Member:
    """Let init and join leave the files that they leave."""
    run = node.salt["kubeadm_run.run"]

    def and_files(args: list[str], *rest: Any) -> str:
        output: str = run(args, *rest)
        if args[0] in ("init", "join") and "phase" not in args:
            node.with_files()
        return output

    node.salt["kubeadm_run.run"] = and_files
    return node


def test_test_mode_says_what_would_begin_and_begins_nothing(control_plane: Member) -> None:
    control_plane.opts["test"] = True
    ret = control_plane.state("kubeadm").initialised("cluster")
    assert ret["result"] is None
    assert ret["changes"] == {"membership": {"old": None, "new": "control plane of saw-k8s, Kubernetes 1.36.4"}}
    assert control_plane.calls() == []


def test_the_cluster_begins_once(control_plane: Member) -> None:
    state = control_plane.state("kubeadm")
    first = state.initialised("cluster")
    assert first["result"] is True, first["comment"]
    assert first["changes"] == {"membership": {"old": None, "new": "control plane of saw-k8s, Kubernetes 1.36.4"}}
    second = state.initialised("cluster")
    assert (second["result"], second["changes"]) == (True, {})
    assert control_plane.verbs() == INIT


def test_a_half_made_init_is_told_as_such(control_plane: Member) -> None:
    control_plane.with_files()
    control_plane.unfinished("init")
    control_plane.answers(complete=False, other_members=[])
    ret = control_plane.state("kubeadm").initialised("cluster")
    assert ret["result"] is True, ret["comment"]
    assert ret["changes"]["membership"]["old"] == "half-made init"


def test_a_failed_init_is_no_change_and_says_why(control_plane: Member) -> None:
    control_plane.tool("kubeadm", "sys.stderr.write('[preflight] Some\\n\\t[ERROR CRI]: no runtime\\n'); sys.exit(1)")
    ret = control_plane.state("kubeadm").initialised("cluster")
    assert (ret["result"], ret["changes"]) == (False, {})
    assert ret["comment"] == "cluster: saw-k8s-m-01: kubeadm init: CRI: no runtime"


@pytest.mark.parametrize("test_mode", [True, False])
def test_another_clusters_node_is_refused_in_test_mode_too(control_plane: Member, test_mode: bool) -> None:
    control_plane.with_files(server="https://10.9.9.9:6443")
    control_plane.opts["test"] = test_mode
    ret = control_plane.state("kubeadm").initialised("cluster")
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "kubeadm.reset confirm=saw-k8s-m-01" in ret["comment"]
    assert control_plane.calls("kubeadm") == []


@pytest.mark.parametrize("test_mode", [True, False])
def test_a_taken_port_is_refused_in_test_mode_too(control_plane: Member, test_mode: bool) -> None:
    control_plane.answers(ports_taken=["port 6443, which kube-apiserver needs, is taken by haproxy (PID 7)"])
    control_plane.opts["test"] = test_mode
    ret = control_plane.state("kubeadm").initialised("cluster")
    assert ret["result"] is False
    assert "haproxy (PID 7)" in ret["comment"]


def test_a_member_that_is_not_well_is_given_time_and_then_named(control_plane: Member) -> None:
    control_plane.with_files()
    control_plane.answers(api_server_ready=False)
    ret = control_plane.state("kubeadm").initialised("cluster", deadline_s=0)
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "the API server of this node is not ready on port 6443" in ret["comment"]
    assert control_plane.verbs() == []


@pytest.fixture
def worker(tmp_path: Path) -> Member:
    """A worker that is no member, with material sealed for it in its pillar."""
    private, public = salt.crypt.gen_keys(2048)
    node = made_by_kubeadm(Member(tmp_path, "worker"))
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki" / "minion.pem").write_text(private)
    plain = {"endpoint": "e:1", "token": "abcdef.0123456789abcdef", "ca_hashes": ["sha256:00"], "certificate_key": None}
    node.pillar["saltern_join"] = {"saw-k8s-w-01": node.salt["sealed.seal"](public, plain)}
    return node


def test_a_worker_joins_once(worker: Member) -> None:
    state = worker.state("kubeadm")
    first = state.joined("member")
    assert first["result"] is True, first["comment"]
    assert first["changes"] == {"membership": {"old": None, "new": "worker of saw-k8s, Kubernetes 1.36.4"}}
    del worker.pillar["saltern_join"]
    second = state.joined("member")
    assert (second["result"], second["changes"]) == (True, {})
    assert worker.verbs() == ["join"]


def test_nothing_secret_is_in_the_result(worker: Member) -> None:
    assert "0123456789abcdef" not in repr(worker.state("kubeadm").joined("member"))


def test_without_material_nothing_is_tried(worker: Member) -> None:
    del worker.pillar["saltern_join"]
    ret = worker.state("kubeadm").joined("member")
    assert ret["result"] is False
    assert "orchestrate.cluster" in ret["comment"]
    assert worker.calls() == []


def test_test_mode_needs_no_material(worker: Member) -> None:
    del worker.pillar["saltern_join"]
    worker.opts["test"] = True
    assert worker.state("kubeadm").joined("member")["result"] is None


def test_material_for_another_minion_is_refused(worker: Member) -> None:
    _, other = salt.crypt.gen_keys(2048)
    worker.pillar["saltern_join"]["saw-k8s-w-01"] = worker.salt["sealed.seal"](other, {"ca_hashes": ["x"]})
    ret = worker.state("kubeadm").joined("member")
    assert ret["result"] is False
    assert "sealed for the key" in ret["comment"]


def test_a_node_that_never_was_a_member_is_absent(worker: Member) -> None:
    ret = worker.state("kubeadm").absent("none", confirm=None)
    assert (ret["result"], ret["changes"]) == (True, {})
    assert worker.calls() == []


def test_a_member_is_not_undone_without_its_name(worker: Member) -> None:
    worker.with_files()
    worker.answers(node_registered=False)
    ret = worker.state("kubeadm").absent("none", confirm=None)
    assert ret["result"] is False
    assert "kubeadm.reset confirm=saw-k8s-w-01" in ret["comment"]


def test_a_former_member_is_undone_and_wiped(worker: Member) -> None:
    worker.with_files()
    worker.answers(node_registered=False)
    worker.salt["kubeadm_reset.wipe"] = lambda _whole: worker.salt["kubeadm_reset.empty"](
        str(worker.sandbox / "etc" / "kubernetes")
    )
    worker.opts["test"] = True
    assert worker.state("kubeadm").absent("none", confirm="saw-k8s-w-01")["result"] is None
    assert worker.calls("kubeadm") == []
    worker.opts["test"] = False
    ret = worker.state("kubeadm").absent("none", confirm="saw-k8s-w-01")
    assert ret["result"] is True, ret["comment"]
    assert ret["changes"]["membership"] == {"old": "worker", "new": None}
    assert worker.state("kubeadm").absent("none", confirm=None)["changes"] == {}
