"""What a reset wipes, and what it must leave."""

from pathlib import Path

import pytest

from tests.unit.modules.member import Member

# iptables-save of a node that ran Cilium, with an operator's own rules between.
RULES = """\
*nat
:PREROUTING ACCEPT [0:0]
:KUBE-KUBELET-CANARY - [0:0]
:CILIUM_PRE_nat - [0:0]
:OLD_CILIUM_PRE_nat - [0:0]
:OPERATORS - [0:0]
-A PREROUTING -m comment --comment "cilium-feeder: CILIUM_PRE_nat" -j CILIUM_PRE_nat
-A PREROUTING -m comment --comment "not -j CILIUM_PRE_nat at all" -j OPERATORS
-A OPERATORS -s 10.0.0.0/8 -j RETURN
-A CILIUM_PRE_nat -p tcp -j ACCEPT
COMMIT
"""


# /proc/self/mountinfo of a node with Cilium's mount of the cgroup hierarchy, seen at both ends of the bind mount.
MOUNTED = """\
25 1 0:21 / / rw - btrfs /dev/loop0 rw
40 25 0:22 / /run/cilium rw - btrfs /dev/loop0 rw
41 40 0:27 / /run/cilium/cgroupv2 rw - cgroup2 none rw
42 25 0:27 / {run}/cgroupv2 rw - cgroup2 none rw
"""


@pytest.fixture
def node(tmp_path: Path) -> Member:
    """A member."""
    node = Member(tmp_path)
    node.with_files()
    node.file("var", "lib", "etcd", "member", "wal", "0.wal")
    node.file("etc", "cni", "net.d", "05-cilium.conflist")
    node.file("etc", "provisioner", "kept")
    return node


def left(node: Member) -> set[str]:
    """What files and empty directories the sandbox still has."""
    paths = {path for path in node.sandbox.rglob("*") if path.is_file() or not any(path.iterdir())}
    return {str(path.relative_to(node.sandbox)) for path in paths if path.parts[-2] != "bin"}


def test_a_half_made_start_loses_its_files_and_its_etcd_only(node: Member) -> None:
    removed = node.salt["kubeadm_reset.wipe"](whole=False)
    assert left(node) == {
        "etc/kubernetes/manifests",
        "etc/kubernetes/pki",
        "var/lib/etcd",
        "etc/cni/net.d/05-cilium.conflist",
        "etc/provisioner/kept",
    }
    assert str(node.sandbox / "var/lib/etcd/member") in removed


def test_a_second_wipe_removes_nothing(node: Member) -> None:
    node.salt["kubeadm_reset.wipe"](whole=False)
    assert node.salt["kubeadm_reset.wipe"](whole=False) == []


def test_the_whole_membership_takes_cni_links_bpf_and_rules_along(
    node: Member, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = node.modules["kubeadm_reset"]
    ran: list[list[str]] = []

    def command(argv: list[str], stdin: str | None = None) -> str:
        ran.append([*argv, *([stdin] if stdin else [])])
        if argv[0] == "umount":
            mounted = tmp_path / "mountinfo"
            rest = [row for row in mounted.read_text().splitlines(True) if f" {argv[1]} " not in row]
            mounted.write_text("".join(rest))
        if argv[:3] == ["ip", "link", "delete"]:
            (tmp_path / "net" / argv[3]).rmdir()
        return RULES if argv == ["iptables-save"] else ""

    for link in ("eth0", "lo", "cilium_host", "lxc0123456789ab", "lxcbr0"):
        (tmp_path / "net" / link).mkdir(parents=True)
    (tmp_path / "bpf" / "tc" / "globals").mkdir(parents=True)
    (tmp_path / "bpf" / "tc" / "globals" / "cilium_lxc").touch()
    (tmp_path / "bpf" / "tc" / "globals" / "others").touch()
    monkeypatch.setattr(module, "NETWORK_ROOT", str(tmp_path / "net"))
    monkeypatch.setattr(module, "BPF_ROOT", str(tmp_path / "bpf"))
    mounted, run = tmp_path / "mountinfo", node.sandbox / "var/run/cilium"
    mounted.write_text(MOUNTED.format(run=run))
    node.file("var", "run", "cilium", "state", "globals")
    plugin = node.file("opt", "cni", "bin", "cilium-cni")
    (tmp_path / "sysctl.conf").touch()
    monkeypatch.setattr(module, "MOUNTINFO", str(mounted))
    monkeypatch.setattr(module, "SYSCTL_FILE", str(tmp_path / "sysctl.conf"))
    monkeypatch.setattr(module, "_command", command)
    monkeypatch.setattr(module.shutil, "which", lambda name: name == "iptables-save")
    before = node.salt["kubeadm_reset.network_left"]()
    removed = node.salt["kubeadm_reset.wipe"](whole=True)
    assert set(before) <= set(removed)
    assert [argv[1] for argv in ran if argv[0] == "umount"] == [f"{run}/cgroupv2", "/run/cilium/cgroupv2"]
    assert not plugin.exists() and not (tmp_path / "sysctl.conf").exists() and list(run.iterdir()) == []
    assert not (node.sandbox / "etc/kubernetes/manifests").exists()
    assert (node.sandbox / "etc/cni/net.d").is_dir()
    assert not (node.sandbox / "etc/cni/net.d/05-cilium.conflist").exists()
    assert ["ip", "link", "delete", "cilium_host"] in ran
    assert ["ip", "link", "delete", "lxc0123456789ab"] in ran
    assert sorted(path.name for path in (tmp_path / "net").iterdir()) == ["eth0", "lo", "lxcbr0"]
    assert (tmp_path / "bpf/tc/globals/others").exists()
    assert not (tmp_path / "bpf/tc/globals/cilium_lxc").exists()
    assert "iptables chains of Cilium and the kubelet" in removed
    monkeypatch.setattr(module, "_command", lambda argv, stdin=None: "")
    assert node.salt["kubeadm_reset.network_left"]() == []


def test_only_our_chains_leave_the_firewall(node: Member) -> None:
    assert (
        node.salt["kubeadm_reset.without_our_chains"](RULES)
        == """\
*nat
:PREROUTING ACCEPT [0:0]
:OPERATORS - [0:0]
-A PREROUTING -m comment --comment "not -j CILIUM_PRE_nat at all" -j OPERATORS
-A OPERATORS -s 10.0.0.0/8 -j RETURN
COMMIT
"""
    )


def test_a_node_object_is_deleted_with_the_nodes_own_admin_credentials(node: Member) -> None:
    assert node.salt["kubeadm_reset.delete_node"]() is True
    (call,) = node.calls("kubectl")
    assert call["argv"][1:4] == ["delete", "node", "saw-k8s-m-01"]
    assert call["kubeconfig"] == str(node.sandbox / "etc/kubernetes/admin.conf")


def test_an_api_that_never_came_up_does_not_stop_a_reset(node: Member) -> None:
    node.tool("kubectl", "sys.exit(1)")
    assert node.salt["kubeadm_reset.delete_node"]() is False


def test_a_worker_does_not_try_to_delete_its_node(tmp_path: Path) -> None:
    worker = Member(tmp_path / "w", "worker")
    worker.with_files()
    assert worker.salt["kubeadm_reset.delete_node"]() is False
    assert worker.calls() == []
