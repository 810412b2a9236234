"""The verbs of kubeadm, with one that writes down its calls: no secret leaks, nothing half-done is forgotten."""

import fcntl
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import salt.crypt
import salt.utils.secret
import yaml
from salt.exceptions import CommandExecutionError
from salt.utils.datastructures import HashableOrderedDict

from tests.unit.modules.member import ENDPOINT, INIT, KEY_DATA, Member, certificate

CAPTURED = Path(__file__).parent / "captured"
TOKEN = re.compile(r"[a-z0-9]{6}\.[a-z0-9]{16}")
CERTIFICATE_KEY = re.compile(r"\b[0-9a-f]{64}\b")
PREFLIGHT = (CAPTURED / "kubeadm-1.36.4-init-preflight.stderr").read_text()
# What kubeadm printed in a real run of "kubeadm token create".
PRINTED = "pb9844.st3upl31vcpaqqum"
WAVE = "c2FsdGVybjogam9pbiB3YXZl"
PROXY = "UHJveHkgZm9yIG1hbmFnaW5nIFRUTCBmb3IgdGhlIGt1YmVhZG0tY2VydHMgc2VjcmV0"
SECRETS = f"""\
bootstrap-token-aaaaaa   bootstrap.kubernetes.io/token   {WAVE}
bootstrap-token-bbbbbb   bootstrap.kubernetes.io/token   {PROXY}
bootstrap-token-cccccc   bootstrap.kubernetes.io/token   b3BlcmF0b3I=
bootstrap-token-dddddd   bootstrap.kubernetes.io/token   <none>
kubeadm-certs            Opaque                          <none>
other                    Opaque                          {WAVE}
"""


@pytest.fixture
def control_plane(tmp_path: Path) -> Member:
    """A control-plane node that is no member yet."""
    return Member(tmp_path)


@pytest.fixture
def worker(tmp_path: Path, keys: tuple[str, str]) -> Member:
    """A worker that is no member yet, with its minion key."""
    node = Member(tmp_path, "worker")
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki" / "minion.pem").write_text(keys[0])
    return node


@pytest.fixture(scope="module")
def keys() -> tuple[str, str]:
    """Private and public minion key."""
    return salt.crypt.gen_keys(2048)


@pytest.fixture
def material(worker: Member, keys: tuple[str, str]) -> Callable[..., str]:
    """Material sealed for the worker."""

    def seal(ca_hash: str = "sha256:" + "0" * 64) -> str:
        plain = {
            "endpoint": "192.168.100.150:6443",
            "token": PRINTED,
            "ca_hashes": [ca_hash],
            "certificate_key": None,
        }
        sealed: str = worker.salt["sealed.seal"](keys[1], plain)
        return sealed

    return seal


def documents(call: dict[str, Any]) -> list[dict[str, Any]]:
    """The documents that kubeadm read."""
    (file,) = call["files"].values()
    return list(yaml.safe_load_all(file["text"]))


def words(node: Member) -> str:
    """Every argument of every call."""
    return " ".join(word for call in node.calls() for word in call["argv"])


def test_init_gives_kubeadm_its_documents_in_a_file_of_roots(control_plane: Member) -> None:
    assert control_plane.salt["kubeadm.init"]() == "initialised"
    call = control_plane.init_call()
    assert [file["mode"] for file in call["files"].values()] == ["0o600"]
    init, cluster, kubelet = documents(call)
    assert (init["kind"], cluster["kind"], kubelet["kind"]) == (
        "InitConfiguration",
        "ClusterConfiguration",
        "KubeletConfiguration",
    )
    assert init["nodeRegistration"]["ignorePreflightErrors"] == ["Swap"]


def test_documents_in_salts_own_mappings_are_written(control_plane: Member) -> None:
    settings = control_plane.pillar["saltern"]["kubeadm"]
    plain = control_plane.salt["kubeadm_config.text"]([settings["cluster"]])
    ordered = HashableOrderedDict(settings["cluster"])
    assert control_plane.salt["kubeadm_config.text"]([ordered, salt.utils.secret.hide(settings["cluster"])]) == (
        f"{plain}---\n{plain}"
    )


def test_init_uses_a_token_of_minutes_and_deletes_it(control_plane: Member) -> None:
    control_plane.salt["kubeadm.init"]()
    (token,) = documents(control_plane.init_call())[0]["bootstrapTokens"]
    assert token["ttl"] == "10m0s"
    (deletion,) = control_plane.calls("kubectl")
    assert deletion["argv"][1:3] == ["delete", "secrets"]
    assert deletion["argv"][-1] == f"bootstrap-token-{token['token'][:6]}"


def test_init_has_no_secret_in_any_argument_and_leaves_no_file(control_plane: Member) -> None:
    control_plane.salt["kubeadm.init"]()
    token = documents(control_plane.init_call())[0]["bootstrapTokens"][0]["token"]
    assert TOKEN.fullmatch(token)
    assert token.partition(".")[2] not in words(control_plane)
    assert list(control_plane.run_directory.iterdir()) == []
    assert control_plane.run_directory.stat().st_mode & 0o777 == 0o700


def test_init_patches_the_resolver_of_this_node_only(control_plane: Member) -> None:
    directory = "pathlib.Path(sys.argv[-1].partition('=')[2]).parent / 'patches'"
    script = f"pathlib.Path({str(control_plane.root / 'seen')!r}).write_text(next(({directory}).iterdir()).read_text())"
    control_plane.tool("kubeadm", f"if 'phase' not in sys.argv: {script}")
    control_plane.salt["kubeadm.init"]()
    seen = yaml.safe_load((control_plane.root / "seen").read_text())
    assert seen == {"resolvConf": "/run/systemd/resolve/resolv.conf"}
    assert "resolvConf" not in documents(control_plane.init_call())[2]


def test_an_operators_resolver_is_not_patched(control_plane: Member) -> None:
    control_plane.pillar["saltern"]["kubeadm"]["kubelet"]["resolvConf"] = "/etc/resolv.special"
    control_plane.salt["kubeadm.init"]()
    init, _, kubelet = documents(control_plane.init_call())
    assert "patches" not in init
    assert kubelet["resolvConf"] == "/etc/resolv.special"


def test_a_failed_init_tells_the_failed_checks_and_leaves_marker_but_no_file(control_plane: Member) -> None:
    control_plane.tool("kubeadm", f"sys.stderr.write({PREFLIGHT!r}); sys.exit(1)")
    with pytest.raises(CommandExecutionError) as caught:
        control_plane.salt["kubeadm.init"]()
    assert "saw-k8s-m-01: kubeadm init: Port-26443: Port 26443 is in use; Port-10257" in str(caught.value)
    assert "WARNING" not in str(caught.value)
    assert list(control_plane.run_directory.iterdir()) == []
    assert control_plane.marker.exists()


def test_success_removes_the_marker(control_plane: Member) -> None:
    seen = control_plane.root / "marker-while-running"
    control_plane.tool(
        "kubeadm", f"pathlib.Path({str(seen)!r}).write_text(str(os.path.exists({str(control_plane.marker)!r})))"
    )
    control_plane.salt["kubeadm.init"]()
    assert seen.read_text() == "True"
    assert not control_plane.marker.exists()


def test_controller_manager_and_scheduler_begin_with_the_endpoint(control_plane: Member) -> None:
    control_plane.salt["kubeadm.init"]()
    assert control_plane.verbs() == INIT
    _, *kubeconfigs = control_plane.calls("kubeadm")[:3]
    for call in kubeconfigs:
        assert documents(call)[0]["localAPIEndpoint"] == {"advertiseAddress": "192.168.100.150", "bindPort": 6443}
        assert f"--kubeconfig-dir={control_plane.sandbox}/etc/kubernetes" in call["argv"]
    own = documents(control_plane.init_call())[0]["localAPIEndpoint"]
    assert own == {"advertiseAddress": "192.168.100.151", "bindPort": 6443}


def test_the_kubelet_is_restarted_once_and_then_names_the_endpoint(control_plane: Member) -> None:
    kubelet_conf = control_plane.sandbox / "etc" / "kubernetes" / "kubelet.conf"
    seen = control_plane.root / "server-when-kubeadm-restarts-it"
    copy = f"pathlib.Path({str(seen)!r}).write_text(pathlib.Path({str(kubelet_conf)!r}).read_text())"
    control_plane.tool("kubeadm", f"if 'kubelet-finalize' in sys.argv: {copy}")
    control_plane.salt["kubeadm.init"]()
    assert "kubelet-finalize" in documents(control_plane.init_call())[0]["skipPhases"]
    assert "kubelet-finalize" not in documents(control_plane.calls("kubeadm")[-1])[0].get("skipPhases", [])
    assert yaml.safe_load(seen.read_text())["clusters"][0]["cluster"]["server"] == ENDPOINT


def test_a_kubelet_without_rotation_is_restarted_by_us(control_plane: Member) -> None:
    restarts: list[tuple[str, str]] = []
    control_plane.salt["unit.act"] = lambda verb, unit: restarts.append((verb, unit))
    control_plane.salt["kubeadm.init"]()
    assert restarts == []
    (control_plane.sandbox / "etc" / "kubernetes" / "kubelet.conf").unlink()
    control_plane.pillar["saltern"]["kubeadm"]["kubelet"]["rotateCertificates"] = False
    control_plane.salt["kubeadm.init"]()
    assert restarts == [("restart", "kubelet.service")]


def test_an_init_that_fails_early_is_unfinished(control_plane: Member) -> None:
    control_plane.tool("kubeadm", "if 'scheduler' in sys.argv: sys.exit(1)")
    with pytest.raises(CommandExecutionError, match="kubeadm init"):
        control_plane.salt["kubeadm.init"]()
    assert control_plane.marker.exists()
    assert "init" not in control_plane.verbs()


def test_a_member_is_left_alone(control_plane: Member) -> None:
    control_plane.with_files()
    assert control_plane.salt["kubeadm.init"]() == "is initialised already"
    assert control_plane.calls() == []


def test_a_half_made_init_is_undone_and_begun_again(control_plane: Member) -> None:
    control_plane.with_files()
    control_plane.unfinished("init")
    control_plane.answers(complete=False, other_members=[])
    control_plane.salt["kubeadm.init"]()
    assert control_plane.verbs() == ["reset", *INIT]
    assert not control_plane.marker.exists()


def test_an_init_that_had_succeeded_after_all_is_not_undone(control_plane: Member) -> None:
    control_plane.with_files()
    control_plane.unfinished("init")
    control_plane.answers(complete=True)
    assert control_plane.salt["kubeadm.init"]() == "is initialised already"
    assert control_plane.verbs() == ["kubelet-finalize all"]
    assert not control_plane.marker.exists()


def test_an_unfinished_init_with_other_members_is_not_undone(control_plane: Member) -> None:
    control_plane.with_files()
    control_plane.unfinished("init")
    control_plane.answers(complete=False, other_members=["saw-k8s-w-01"])
    with pytest.raises(CommandExecutionError, match="yet saw-k8s-w-01 are members"):
        control_plane.salt["kubeadm.init"]()
    assert control_plane.verbs() == []


def test_another_clusters_node_is_refused_with_what_to_type(control_plane: Member) -> None:
    control_plane.with_files(server="https://10.9.9.9:6443")
    with pytest.raises(
        CommandExecutionError, match=r"points at https://10\.9\.9\.9:6443.*kubeadm\.reset confirm=saw-k8s-m-01"
    ):
        control_plane.salt["kubeadm.init"]()
    assert control_plane.calls() == []
    assert not control_plane.marker.exists()


def test_a_taken_port_is_named_with_its_process(control_plane: Member) -> None:
    control_plane.answers(ports_taken=["port 6443, which kube-apiserver needs, is taken by haproxy (PID 7)"])
    with pytest.raises(CommandExecutionError, match=r"port 6443.*haproxy \(PID 7\)"):
        control_plane.salt["kubeadm.init"]()
    assert control_plane.calls() == []


def test_without_the_bind_mount_nothing_is_begun(control_plane: Member) -> None:
    control_plane.answers(mounted=False)
    with pytest.raises(CommandExecutionError, match=r"state\.apply os"):
        control_plane.salt["kubeadm.init"]()
    assert control_plane.calls() == []


def test_a_kubeadm_that_outlives_its_minion_keeps_the_lock(control_plane: Member) -> None:
    gate = control_plane.root / "gate"
    os.mkfifo(gate)
    # kubeadm's own process ends, a child of it (as kubeadm would, had the minion been killed) works on.
    script = f"""
if os.fork() == 0:
    os.setsid()
    for fd in (0, 1, 2):
        os.close(fd)
    open({str(gate)!r}).read()
"""
    control_plane.tool("kubeadm", script)
    control_plane.salt["kubeadm.init"]()
    lock = control_plane.sandbox / "etc" / "provisioner" / "kubeadm.lock"
    with lock.open("w") as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        gate.write_text("end")
        fcntl.flock(file, fcntl.LOCK_EX)


def test_join_gives_kubeadm_what_was_sealed(worker: Member, material: Callable[..., str]) -> None:
    assert worker.salt["kubeadm.join"](material()) == "joined"
    (call,) = worker.calls("kubeadm")
    (join,) = documents(call)
    assert join["discovery"]["bootstrapToken"] == {
        "apiServerEndpoint": "192.168.100.150:6443",
        "token": PRINTED,
        "caCertHashes": ["sha256:" + "0" * 64],
    }
    assert "controlPlane" not in join
    assert PRINTED not in words(worker)
    assert list(worker.run_directory.iterdir()) == []


def test_a_failed_join_shows_no_token(worker: Member, material: Callable[..., str]) -> None:
    worker.tool("kubeadm", f"sys.stderr.write('error: token {PRINTED} is expired'); sys.exit(1)")
    with pytest.raises(CommandExecutionError, match="token <token> is expired"):
        worker.salt["kubeadm.join"](material())
    assert list(worker.run_directory.iterdir()) == []


def test_a_member_of_a_cluster_with_another_ca_does_not_join(worker: Member, material: Callable[..., str]) -> None:
    worker.with_files()
    with pytest.raises(CommandExecutionError, match="the CA on this node is"):
        worker.salt["kubeadm.join"](material())
    assert worker.calls("kubeadm") == []


def test_a_half_made_join_is_undone_and_begun_again(worker: Member, material: Callable[..., str]) -> None:
    worker.with_files()
    worker.unfinished("join")
    worker.answers(complete=False)
    worker.salt["kubeadm.join"](material())
    assert worker.verbs() == ["reset", "join"]


def test_a_control_plane_join_gets_the_certificate_key(control_plane: Member, keys: tuple[str, str]) -> None:
    (control_plane.root / "pki").mkdir()
    (control_plane.root / "pki" / "minion.pem").write_text(keys[0])
    plain = {"endpoint": "e:1", "token": PRINTED, "ca_hashes": ["sha256:00"], "certificate_key": "f" * 64}
    control_plane.salt["kubeadm.join"](control_plane.salt["sealed.seal"](keys[1], plain))
    (join,) = documents(control_plane.calls("kubeadm")[0])
    assert join["controlPlane"]["certificateKey"] == "f" * 64
    assert "f" * 64 not in words(control_plane)


@pytest.fixture
def member(control_plane: Member) -> Member:
    """A control-plane node that is a member, whose kubeadm prints a token and whose kubectl knows some secrets."""
    control_plane.with_files()
    control_plane.tool("kubeadm", f"print({PRINTED!r}) if sys.argv[1] == 'token' else None")
    control_plane.tool("kubectl", f"sys.stdout.write({SECRETS!r}) if sys.argv[1] == 'get' else None")
    return control_plane


def test_material_is_sealed_for_each_node_and_only_control_plane_nodes_get_the_key(
    member: Member, keys: tuple[str, str]
) -> None:
    sealed = member.salt["kubeadm.join_material"]({"saw-k8s-m-02": keys[1], "saw-k8s-w-01": keys[1]}, ["saw-k8s-m-02"])
    opened = {name: member.salt["sealed.open_"](text, keys[0]) for name, text in sealed.items()}
    assert opened["saw-k8s-w-01"]["certificate_key"] is None
    assert CERTIFICATE_KEY.fullmatch(opened["saw-k8s-m-02"]["certificate_key"])
    own_hash = member.salt["kubeadm_facts.member_files"]()["ca_hash"]
    for name in sealed:
        assert opened[name]["token"] == PRINTED
        assert opened[name]["endpoint"] == "192.168.100.150:6443"
        assert opened[name]["ca_hashes"] == [own_hash]


def test_material_has_no_secret_in_any_argument_and_leaves_no_file(member: Member, keys: tuple[str, str]) -> None:
    sealed = member.salt["kubeadm.join_material"]({"saw-k8s-m-02": keys[1]}, ["saw-k8s-m-02"])
    opened = member.salt["sealed.open_"](sealed["saw-k8s-m-02"], keys[0])
    upload = member.calls("kubeadm")[1]
    assert documents(upload)[0]["certificateKey"] == opened["certificate_key"]
    assert [file["mode"] for file in upload["files"].values()] == ["0o600"]
    assert opened["certificate_key"] not in words(member)
    assert opened["token"] not in words(member)
    assert "--ttl=20m" in member.calls("kubeadm")[0]["argv"]
    assert list(member.run_directory.iterdir()) == []


def test_workers_alone_need_no_certificates(member: Member, keys: tuple[str, str]) -> None:
    member.salt["kubeadm.join_material"]({"saw-k8s-w-01": keys[1]})
    assert member.verbs() == ["token"]


def test_material_for_a_node_without_a_key_is_refused(member: Member) -> None:
    with pytest.raises(CommandExecutionError, match="saw-k8s-m-02"):
        member.salt["kubeadm.join_material"]({}, ["saw-k8s-m-02"])
    assert member.calls() == []


def test_material_that_fails_half_way_is_revoked(member: Member, keys: tuple[str, str]) -> None:
    script = f"print({PRINTED!r}) if sys.argv[1] == 'token' else sys.exit(1)"
    member.tool("kubeadm", script)
    with pytest.raises(CommandExecutionError, match="kubeadm init"):
        member.salt["kubeadm.join_material"]({"saw-k8s-m-02": keys[1]}, ["saw-k8s-m-02"])
    assert "bootstrap-token-aaaaaa" in member.calls("kubectl")[-1]["argv"]


def test_revoking_deletes_our_tokens_and_certificates_and_nothing_else(member: Member) -> None:
    ours = ["bootstrap-token-aaaaaa", "bootstrap-token-bbbbbb", "kubeadm-certs"]
    assert member.salt["kubeadm.revoke_join_material"]() == ours
    assert member.calls("kubectl")[-1]["argv"][-3:] == ours


def test_nothing_to_revoke_is_no_error(member: Member) -> None:
    member.tool("kubectl")
    assert member.salt["kubeadm.revoke_join_material"]() == []
    assert len(member.calls("kubectl")) == 1


def test_the_kubeconfig_is_handed_out_sealed(member: Member, keys: tuple[str, str]) -> None:
    sealed = member.salt["kubeadm.admin_kubeconfig"](keys[1])
    assert KEY_DATA not in sealed
    assert KEY_DATA in member.salt["sealed.open_"](sealed, keys[0])["kubeconfig"]


@pytest.mark.parametrize("function", ["ca_certificate", "admin_kubeconfig"])
def test_a_node_that_is_no_member_has_nothing_to_give(control_plane: Member, function: str) -> None:
    with pytest.raises(CommandExecutionError, match="saw-k8s-m-01"):
        control_plane.salt[f"kubeadm.{function}"](*(["key"] if function == "admin_kubeconfig" else []))


def test_reset_needs_the_nodes_name(member: Member) -> None:
    with pytest.raises(CommandExecutionError, match=r"kubeadm\.reset confirm=saw-k8s-m-01"):
        member.salt["kubeadm.reset"]("yes")
    assert member.calls() == []


def test_reset_is_refused_on_a_healthy_member(member: Member) -> None:
    with pytest.raises(CommandExecutionError, match=r"healthy member.*orchestrate\.node_remove .*saw-k8s-m-01"):
        member.salt["kubeadm.reset"]("saw-k8s-m-01")
    assert member.verbs() == []


def test_reset_undoes_a_member_that_is_not_healthy(member: Member) -> None:
    member.answers(node_registered=False)
    member.salt["kubeadm_reset.wipe"] = lambda whole: [f"whole {whole}"]
    assert member.salt["kubeadm.reset"]("saw-k8s-m-01") == ["whole True"]
    (reset,) = documents(member.calls("kubeadm")[0])
    assert reset["force"] is True
    assert reset["certificatesDir"] == str(member.sandbox / "etc" / "kubernetes" / "pki")


def test_waiting_ends_when_the_member_is_well(member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([False, True])
    member.salt["kubeadm_facts.kubelet_answers"] = lambda: next(answers)
    clock = SimpleNamespace(monotonic=lambda: 0.0, sleep=lambda _seconds: None)
    monkeypatch.setattr(member.modules["kubeadm"], "time", clock)
    assert member.salt["kubeadm.wait_healthy"](60)["healthy"]


def test_waiting_gives_up_at_the_deadline_and_says_what_is_not_well(member: Member) -> None:
    member.answers(kubelet_answers=False)
    found = member.salt["kubeadm.wait_healthy"](0)
    assert not found["healthy"]
    assert "the kubelet does not answer" in found["unhealthy"][0]


def test_status_shows_no_secret(member: Member) -> None:
    assert KEY_DATA not in repr(member.salt["kubeadm.status"]())
    assert certificate().decode()[:40] not in repr(member.salt["kubeadm.status"]())
