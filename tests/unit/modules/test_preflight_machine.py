"""Operating system, processor, memory, disks, kernel, cgroups: real texts of real systems, real file systems."""

from __future__ import annotations

import gzip
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from saltern import node_pillar
from tests.salt_node import Node
from tests.unit.modules.member import CLUSTER

MODULES = ["preflight", "preflight_machine", "preflight_disk", "preflight_kernel", "kernel_module"]


def node(root: Path, name: str = "saw-k8s-m-01", ignore: tuple[str, ...] = ()) -> Node:
    """A node of the table on a machine of its own, of which nothing is known yet."""
    made = Node(Path(tempfile.mkdtemp(dir=root)), node_pillar.build(CLUSTER, name), MODULES, minion_id=name)
    made.salt["node_facts.container"] = lambda: None
    made.pillar["saltern"]["paths"] |= {"work": str(root / "work")}
    made.pillar["saltern"].setdefault("kubeadm", {})["ignore_preflight_errors"] = list(ignore)
    return made


def codes(found: list[dict[str, str]]) -> list[str]:
    return [finding["code"] for finding in found]


def put(root: Path, path: str, text: str | bytes) -> None:
    """Write a file below a directory taken for /."""
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())


# -- operating system (texts of the distributions' own files)

DEBIAN_12 = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian\n'
DEBIAN_11 = 'PRETTY_NAME="Debian GNU/Linux 11 (bullseye)"\nNAME="Debian GNU/Linux"\nVERSION_ID="11"\nID=debian\n'
DEBIAN_SID = 'PRETTY_NAME="Debian GNU/Linux forky/sid"\nNAME="Debian GNU/Linux"\nID=debian\n'
UBUNTU_2404 = 'PRETTY_NAME="Ubuntu 24.04.1 LTS"\nNAME="Ubuntu"\nVERSION_ID="24.04"\nID=ubuntu\nID_LIKE=debian\n'
UBUNTU_2310 = 'PRETTY_NAME="Ubuntu 23.10"\nNAME="Ubuntu"\nVERSION_ID="23.10"\nID=ubuntu\nID_LIKE=debian\n'
ROCKY_9 = (
    'NAME="Rocky Linux"\nID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.4"\nPRETTY_NAME="Rocky Linux 9.4"\n'
)
STREAM_9 = 'NAME="CentOS Stream"\nID="centos"\nVERSION_ID="9"\nPRETTY_NAME="CentOS Stream 9"\n'
RHEL_10 = 'NAME="Red Hat Enterprise Linux"\nID="rhel"\nVERSION_ID="10.0"\nPRETTY_NAME="Red Hat Enterprise Linux 10.0"\n'
ALPINE = 'NAME="Alpine Linux"\nID=alpine\nVERSION_ID=3.20.3\nPRETTY_NAME="Alpine Linux v3.20"\n'


@pytest.mark.parametrize("text", [DEBIAN_12, UBUNTU_2404, ROCKY_9, STREAM_9])
def test_systems_that_the_states_are_written_for(tmp_path, text):
    put(tmp_path, "etc/os-release", text)
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    assert node(tmp_path).salt["preflight_machine.system"](tmp_path) == []


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (DEBIAN_11, "Debian GNU/Linux 11 (bullseye)"),
        (DEBIAN_SID, "Debian GNU/Linux forky/sid"),
        (UBUNTU_2310, "Ubuntu 23.10"),
        ('ID=debian\nVERSION_ID="120"\nPRETTY_NAME="Debian 120"\n', "Debian 120"),
        (RHEL_10, "Red Hat Enterprise Linux 10.0"),
        (ALPINE, "Alpine Linux v3.20"),
        ("", "an operating system without /etc/os-release"),
    ],
)
def test_other_systems(tmp_path, text, what):
    put(tmp_path, "etc/os-release", text)
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    (found,) = node(tmp_path).salt["preflight_machine.system"](tmp_path)
    assert (found["code"], found["what"]) == ("wrong-os", what)
    assert "ubuntu 22.04, 24.04" in found["why"] and "salt-cloud -d saw-k8s-m-01" in found["remedy"]


def test_a_system_without_systemd(tmp_path):
    put(tmp_path, "etc/os-release", DEBIAN_12)
    (found,) = node(tmp_path).salt["preflight_machine.system"](tmp_path)
    assert (found["code"], found["what"]) == ("wrong-os", "systemd is not PID 1")


@pytest.mark.parametrize("version", [(3, 11), (3, 14, 1), None])
def test_a_python_that_the_modules_load_in(tmp_path, version):
    assert node(tmp_path).salt["preflight_machine.python"](version) == []


def test_a_python_that_is_too_old(tmp_path):
    (found,) = node(tmp_path).salt["preflight_machine.python"]((3, 10, 12))
    assert (found["code"], found["what"]) == ("wrong-os", "the minion runs on Python 3.10")
    assert "3.11 or newer" in found["why"] and "docs/production.md" in found["remedy"]


@pytest.mark.parametrize(("machine", "found"), [("x86_64", []), ("aarch64", ["wrong-architecture"])])
def test_architecture(tmp_path, machine, found):
    assert codes(node(tmp_path).salt["preflight_machine.architecture"](machine)) == found


def test_a_pillar_of_before_the_update_says_nothing_of_the_row(tmp_path):
    """A master reads its own code once: until it is restarted, new modules meet the pillar of the old."""
    made = node(tmp_path)
    made.pillar["saltern"]["node"] = {"name": "saw-k8s-m-01", "role": "control_plane"}
    vars(made.modules["preflight_machine"])["memory_mib"] = lambda text: 1800
    vars(made.modules["preflight_machine"])["CPUS"] = {"control_plane": 1}
    for check in ("architecture", "processors", "memory"):
        arguments = ["riscv"] if check == "architecture" else ["control_plane", True]
        assert made.salt[f"preflight_machine.{check}"](*arguments) == []
    made.pillar["saltern"]["paths"]["sandbox"] = "/"
    assert made.salt["preflight_disk.size"]() == []


# -- processors and memory


def processors(tmp_path, monkeypatch, cpus: int, role: str = "control_plane", own: bool = True, **rest: Any):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cpus)))
    return node(tmp_path, **rest).salt["preflight_machine.processors"](role, own)


def test_enough_processors(tmp_path, monkeypatch):
    assert processors(tmp_path, monkeypatch, 2) == []


def test_fewer_processors_than_kubeadm_wants(tmp_path, monkeypatch):
    (found,) = processors(tmp_path, monkeypatch, 1)
    assert (found["code"], found["what"]) == ("cpus-too-few", "1 CPU")
    assert found["why"] == "kubeadm needs 2 on a control_plane, and refuses to start"


def test_fewer_processors_than_the_row_says(tmp_path, monkeypatch):
    (found,) = processors(tmp_path, monkeypatch, 1, role="worker", name="saw-k8s-w-01")
    assert found["why"].startswith("its row says 2")
    assert "salt-cloud -a show_instance saw-k8s-w-01" in found["remedy"]


def test_a_container_or_member_is_not_held_to_its_row(tmp_path, monkeypatch):
    assert processors(tmp_path, monkeypatch, 1, role="worker", own=False, name="saw-k8s-w-01") == []


@pytest.mark.parametrize("check", ["NumCPU", "all"])
def test_the_check_of_processors_can_be_ignored(tmp_path, monkeypatch, check):
    assert processors(tmp_path, monkeypatch, 1, ignore=(check,)) == []


def memory(tmp_path, mib: int, role: str = "control_plane", own: bool = True, ignore: tuple[str, ...] = ()):
    made = node(tmp_path, ignore=ignore)
    vars(made.modules["preflight_machine"])["memory_mib"] = lambda text: mib
    return made.salt["preflight_machine.memory"](role, own)


@pytest.mark.parametrize(
    ("mib", "own", "why"),
    [
        (7700, True, None),  # what Linux shows of 8 GiB
        (6500, True, "its row says 8192 MiB: pods are placed by what the machine has"),
        (6500, False, None),
        (1600, False, "control_plane needs 1700 MiB"),
    ],
)
def test_memory(tmp_path, mib, own, why):
    found = memory(tmp_path, mib, own=own)
    assert [finding["why"] for finding in found] == ([why] if why else [])
    assert codes(found) == (["memory-too-small"] if why else [])


def test_the_check_of_memory_can_be_ignored(tmp_path):
    assert memory(tmp_path, 1000, ignore=("Mem",)) == []


def test_memory_from_the_kernels_words(tmp_path):
    module = Node(tmp_path, {}, ["preflight_machine"]).modules["preflight_machine"]
    assert module.memory_mib("MemTotal:       24689104 kB\nMemFree:        22000000 kB\n") == 24110


@pytest.mark.parametrize(
    ("container", "begun", "own"), [(None, False, True), ("lxc", False, False), (None, True, False)]
)
def test_who_is_held_to_its_row(tmp_path, monkeypatch, container, begun, own):
    made = node(tmp_path)
    made.salt["node_facts.container"] = lambda: container
    asked = []
    for check in ("processors", "memory"):
        vars(made.modules["preflight_machine"])[check] = lambda role, own: asked.append(own) or []
    made.salt["preflight_machine.findings"]("control_plane", begun)
    assert asked == [own, own]


# -- disks


def statvfs(**facts: Any) -> SimpleNamespace:
    """A file system of 20 GiB, 10 of them free; facts as statvfs(3) names them."""
    return SimpleNamespace(
        **{"f_frsize": 4096, "f_blocks": 5242880, "f_bavail": 2621440, "f_files": 1310720, "f_favail": 1200000,
           "f_flag": 0} | facts
    )  # fmt: skip


def room(tmp_path, monkeypatch, begun: bool = False, role: str = "control_plane", **facts: Any):
    monkeypatch.setattr(os, "statvfs", lambda path: statvfs(**facts))
    return node(tmp_path).salt["preflight_disk.room"](role, begun)


def test_enough_room(tmp_path, monkeypatch):
    assert room(tmp_path, monkeypatch) == []


def test_a_full_disk(tmp_path, monkeypatch):
    (found,) = room(tmp_path, monkeypatch, f_bavail=3000)
    assert (found["code"], found["what"]) == ("disk-full", "11 MiB free")
    assert "du -xh" in found["remedy"] and "saw-k8s-m-01" in found["remedy"]


def test_what_lies_on_one_file_system_has_to_fit_together(tmp_path, monkeypatch):
    """4096 MiB for images and binaries, 1024 for transfers: room for the first alone is too little."""
    assert codes(room(tmp_path, monkeypatch, f_bavail=4500 * 256)) == ["disk-full"]
    assert room(tmp_path, monkeypatch, f_bavail=5200 * 256) == []


def test_a_member_needs_little(tmp_path, monkeypatch):
    assert room(tmp_path, monkeypatch, begun=True, f_bavail=600 * 256) == []
    assert codes(room(tmp_path, monkeypatch, begun=True, f_bavail=400 * 256)) == ["disk-full"]


def test_no_inodes_left(tmp_path, monkeypatch):
    (found,) = room(tmp_path, monkeypatch, f_favail=100)
    assert (found["code"], found["what"]) == ("disk-full", "100 inodes free")


def test_btrfs_counts_no_inodes(tmp_path, monkeypatch):
    assert room(tmp_path, monkeypatch, f_files=0, f_favail=0) == []


def test_a_read_only_file_system(tmp_path, monkeypatch):
    (found,) = room(tmp_path, monkeypatch, f_flag=os.ST_RDONLY, f_bavail=0)
    assert found["code"] == "disk-read-only" and "remount,rw" in found["remedy"]


def test_real_file_systems(tmp_path):
    """Whatever this machine has: the functions ask the kernel, and a load balancer's needs are small."""
    assert node(tmp_path, "saw-k8s-ha-01").salt["preflight_disk.room"]("load_balancer", False) == []


@pytest.mark.parametrize(("blocks", "found"), [(5242880 * 9 // 10, []), (3 * 262144, ["disk-too-small"])])
def test_a_root_file_system_that_was_not_grown(tmp_path, monkeypatch, blocks, found):
    made = node(tmp_path)
    made.pillar["saltern"]["paths"]["sandbox"] = "/"
    monkeypatch.setattr(os, "statvfs", lambda path: statvfs(f_blocks=blocks))
    assert codes(made.salt["preflight_disk.size"]()) == found


def test_a_sandbox_on_a_disk_of_its_own_has_its_own_size(tmp_path, monkeypatch):
    made = node(tmp_path)
    made.pillar["saltern"]["paths"]["sandbox"] = "/proc"
    monkeypatch.setattr(os, "statvfs", lambda path: statvfs(f_blocks=1))
    assert made.salt["preflight_disk.size"]() == []


@pytest.mark.parametrize(("container", "begun", "asked"), [(None, False, 1), ("lxc", False, 0), (None, True, 0)])
def test_whose_disk_is_held_to_its_row(tmp_path, container, begun, asked):
    made = node(tmp_path)
    made.salt["node_facts.container"] = lambda: container
    vars(made.modules["preflight_disk"])["room"] = lambda role, begun: []
    vars(made.modules["preflight_disk"])["size"] = lambda: ["finding"]
    assert len(made.salt["preflight_disk.findings"]("worker", begun)) == asked


# -- kernel

BOOKWORM = "6.1.0-18-amd64"
# Of the files of Debian 12's linux-image-6.1.0-18-amd64.
BUILTIN = "kernel/fs/proc/kcore.ko\nkernel/lib/crc32.ko\n"
DEPENDENCIES = (
    "kernel/fs/overlayfs/overlay.ko:\n"
    "kernel/net/bridge/br_netfilter.ko: kernel/net/bridge/bridge.ko kernel/net/802/stp.ko kernel/net/llc/llc.ko\n"
)
COMPRESSED = "kernel/fs/overlayfs/overlay.ko.xz:\nkernel/net/bridge/br-netfilter.ko.zst:\n"


def config(*without: str) -> str:
    """The lines of a kernel's configuration that are looked at, as scripts/config writes them."""
    names = ["BPF", "BPF_SYSCALL", "BPF_JIT", "NET_CLS_ACT", "CGROUP_BPF", "NAMESPACES", "NET_NS", "PID_NS", "IPC_NS",
             "UTS_NS", "CPUSETS", "MEMCG", "INET", "PROC_FS", "FAIR_GROUP_SCHED", "CGROUPS", "CGROUP_PIDS",
             "CGROUP_SCHED"]  # fmt: skip
    modules = [
        "NET_CLS_BPF",
        "NET_SCH_INGRESS",
        "EXT4_FS",
        "NETFILTER_XT_TARGET_REDIRECT",
        "NETFILTER_XT_MATCH_COMMENT",
    ]
    lines = [f"CONFIG_{name}=y" for name in names] + [f"CONFIG_{name}=m" for name in modules]
    kept = [line for line in lines if line.split("=")[0].removeprefix("CONFIG_") not in without]
    return "\n".join([*kept, *(f"# CONFIG_{name} is not set" for name in without)]) + "\n"


@pytest.fixture
def debian(tmp_path):
    """The root of a Debian machine whose kernel has all that is needed, as modules."""
    root = tmp_path / "root"
    put(root, f"lib/modules/{BOOKWORM}/modules.builtin", BUILTIN)
    put(root, f"lib/modules/{BOOKWORM}/modules.dep", DEPENDENCIES)
    put(root, f"boot/config-{BOOKWORM}", config())
    put(root, "proc/modules", "")
    put(root, "proc/filesystems", "nodev\tproc\n\text4\n")
    return root


def test_a_kernel_with_all_that_is_needed(tmp_path, debian):
    assert node(tmp_path).salt["preflight_kernel.kernel"](BOOKWORM, debian) == []


@pytest.mark.parametrize(
    ("release", "found"),
    [
        ("5.10.0-28-amd64", []),
        ("5.4.0-150-generic", ["kernel-too-old"]),
        ("4.18.0-553.el8_10.x86_64", []),
        ("4.18.0-25-generic", ["kernel-too-old"]),
        ("10.2.1", []),
    ],
)
def test_the_version_of_the_kernel(tmp_path, debian, release, found):
    (debian / f"lib/modules/{BOOKWORM}").rename(debian / f"lib/modules/{release}")
    assert codes(node(tmp_path).salt["preflight_kernel.kernel"](release, debian)) == found


def test_a_kernel_without_a_module(tmp_path, debian):
    put(debian, f"lib/modules/{BOOKWORM}/modules.dep", DEPENDENCIES.splitlines()[0])
    (found,) = node(tmp_path).salt["preflight_kernel.kernel"](BOOKWORM, debian)
    assert found["code"] == "kernel-module-missing" and found["what"].startswith("the kernel has no br_netfilter, nor")
    assert "modprobe -a br_netfilter" in found["remedy"]


def test_modules_that_are_compressed_or_built_in(tmp_path, debian):
    put(debian, f"lib/modules/{BOOKWORM}/modules.dep", COMPRESSED)
    assert node(tmp_path).salt["preflight_kernel.kernel"](BOOKWORM, debian) == []
    put(debian, f"lib/modules/{BOOKWORM}/modules.dep", "")
    put(debian, "proc/filesystems", "nodev\toverlay\n")
    put(debian, "proc/sys/net/bridge/bridge-nf-call-iptables", "1\n")
    assert node(tmp_path).salt["preflight_kernel.kernel"](BOOKWORM, debian) == []


def test_a_kernel_without_a_feature(tmp_path, debian):
    put(debian, f"boot/config-{BOOKWORM}", config("BPF_SYSCALL", "MEMCG"))
    (found,) = node(tmp_path).salt["preflight_kernel.kernel"](BOOKWORM, debian)
    assert found["code"] == "kernel-feature-missing" and found["where"] == f"/boot/config-{BOOKWORM}"
    assert found["what"] == "built without CONFIG_BPF_SYSCALL, CONFIG_MEMCG"


def test_kubeadms_part_of_the_features_can_be_ignored(tmp_path, debian):
    put(debian, f"boot/config-{BOOKWORM}", config("BPF_SYSCALL", "MEMCG"))
    (found,) = node(tmp_path, ignore=("SystemVerification",)).salt["preflight_kernel.kernel"](BOOKWORM, debian)
    assert found["what"] == "built without CONFIG_BPF_SYSCALL"


def test_the_configuration_that_the_kernel_itself_has_comes_first(tmp_path, debian):
    put(debian, "proc/config.gz", gzip.compress(config("CGROUP_PIDS").encode()))
    (found,) = node(tmp_path).salt["preflight_kernel.kernel"](BOOKWORM, debian)
    assert (found["what"], found["where"]) == ("built without CONFIG_CGROUP_PIDS", "/proc/config.gz")


def test_an_alias_will_do(tmp_path, debian):
    text = config("NETFILTER_XT_TARGET_REDIRECT") + "CONFIG_IP_NF_TARGET_REDIRECT=m\n"
    put(debian, f"boot/config-{BOOKWORM}", text)
    assert node(tmp_path).salt["preflight_kernel.kernel"](BOOKWORM, debian) == []


def test_without_its_configuration_nothing_is_said_of_a_kernel(tmp_path, debian):
    (debian / f"boot/config-{BOOKWORM}").unlink()
    assert node(tmp_path).salt["preflight_kernel.kernel"](BOOKWORM, debian) == []


def test_this_kernel_is_read(tmp_path):
    """The one that runs the tests, whatever it is: a version, and modules that are or are not there."""
    made = node(tmp_path)
    made.pillar["saltern"]["os"]["modules"] = ["no_such_module"]
    assert "kernel-module-missing" in codes(made.salt["preflight_kernel.kernel"]())


# -- cgroups: lines of /proc/self/mounts of a Debian 12 machine, and of one with version 1

V2 = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nodev,noexec,relatime,nsdelegate,memory_recursiveprot 0 0\n"
V1 = (
    "tmpfs /sys/fs/cgroup tmpfs rw,relatime,mode=755 0 0\n"
    "cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu 0 0\n"
    "cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n"
)


def cgroups(tmp_path, mounts: str, controllers: str = "cpuset cpu io memory hugetlb pids rdma misc\n", **rest: Any):
    root = tmp_path / "root"
    put(root, "proc/self/mounts", mounts)
    put(root, "sys/fs/cgroup/cgroup.controllers", controllers)
    return node(tmp_path, **rest).salt["preflight_kernel.cgroups"](root)


def test_cgroups_of_version_2(tmp_path):
    assert cgroups(tmp_path, V2) == []


def test_cgroups_of_version_1(tmp_path):
    (found,) = cgroups(tmp_path, V1)
    assert (found["code"], found["what"]) == ("cgroup-unsuitable", "cgroups of version 1")
    assert "failCgroupV1: false" in found["remedy"]


def test_cgroups_of_version_1_that_the_definition_puts_up_with(tmp_path):
    assert cgroups(tmp_path, V1, ignore=("SystemVerification",)) == []


def test_a_controller_is_missing(tmp_path):
    (found,) = cgroups(tmp_path, V2, "cpuset cpu io pids\n")
    assert found["what"] == "no cgroup controller memory"
    assert found["where"] == "/sys/fs/cgroup/cgroup.controllers"
