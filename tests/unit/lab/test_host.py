"""What is detected about a machine, and what follows from it."""

from dataclasses import replace
from pathlib import Path

import pytest

from lab.artefacts import inventory, prerequisites
from lab.host import Host, detect, requirements
from lab.paths import Paths

V1_MOUNTS = """\
/dev/vda / ext4 rw 0 0
cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0
cgroup /sys/fs/cgroup/unified cgroup2 rw 0 0
"""
V2_MOUNTS = "/dev/vda / ext4 rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n"
ALL_CAPABILITIES = "000001ffffffffff"
WITHOUT_RESOURCE = "000001fffeffffff"

ORDINARY = Host(
    root=True,
    os=("debian", "12"),
    systemd=True,
    cgroup_version=2,
    capabilities=int(ALL_CAPABILITIES, 16),
    kernel=frozenset({"btrfs", "overlay", "bpf", "br_netfilter"}),
    cores=4,
    memory_mib=32 * 1024,
    free_state_gib=100.0,
    free_cache_gib=100.0,
    same_disk=True,
    loop=True,
    kmsg=True,
    modules_dir=Path("/lib/modules/6.1.0-30-amd64"),
    kernel_config=Path("/boot/config-6.1.0-30-amd64"),
)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(state=tmp_path / "state", cache=tmp_path / "cache")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine like lab.md's: cgroup v1, no systemd, no modules, no CAP_SYS_RESOURCE."""
    files = {
        "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n',
        "proc/self/mounts": V1_MOUNTS,
        "proc/self/status": f"CapInh:\t{'0' * 16}\nCapEff:\t{WITHOUT_RESOURCE}\nCapBnd:\t{WITHOUT_RESOURCE}\n",
        "proc/filesystems": "nodev\tsysfs\nnodev\toverlay\nnodev\tbpf\n\tbtrfs\n",
        "proc/meminfo": "MemTotal:       24684084 kB\nMemFree:        1 kB\n",
        "proc/sys/kernel/osrelease": "6.18.44\n",
        "dev/loop-control": "",
        "dev/kmsg": "",
    }
    machine = tmp_path / "machine"
    for name, text in files.items():
        (machine / name).parent.mkdir(parents=True, exist_ok=True)
        (machine / name).write_text(text)
    return machine


def test_a_machine_without_systemd_and_with_cgroup_v1(root: Path, paths: Paths) -> None:
    host = detect(paths, root)
    assert (host.os, host.systemd, host.cgroup_version) == (("debian", "12"), False, 1)
    assert host.needs_runc_shim
    assert host.manages_cgroups
    assert host.memory_mib == 24105
    assert host.kubelet_config == {"failCgroupV1": False}
    assert "SystemVerification" in host.ignored_preflight_errors


def test_an_ordinary_machine_needs_no_exception(root: Path, paths: Paths) -> None:
    (root / "proc/self/mounts").write_text(V2_MOUNTS)
    (root / "proc/self/status").write_text(f"CapEff:\t{ALL_CAPABILITIES}\nCapBnd:\t{ALL_CAPABILITIES}\n")
    (root / "run/systemd/system").mkdir(parents=True)
    modules = root / "lib/modules/6.18.44"
    modules.mkdir(parents=True)
    (modules / "modules.dep").write_text("kernel/net/bridge/br_netfilter.ko: kernel/net/bridge/bridge.ko\n")
    config = root / "boot/config-6.18.44"  # Debian's kernels have no /proc/config.gz
    config.parent.mkdir()
    config.touch()
    host = replace(detect(paths, root), cores=4)
    assert (host.systemd, host.cgroup_version, host.modules_dir) == (True, 2, modules)
    assert host.kernel_config == config
    assert not host.needs_runc_shim
    assert not host.manages_cgroups
    assert host.kubelet_config == {}
    assert host.ignored_preflight_errors == []


def test_a_kernel_of_which_nothing_is_told_cannot_pass_kubeadms_check(root: Path, paths: Paths) -> None:
    (root / "proc/self/mounts").write_text(V2_MOUNTS)
    assert "SystemVerification" in detect(paths, root).ignored_preflight_errors
    (root / "proc/config.gz").touch()
    host = detect(paths, root)
    assert host.kernel_config == root / "proc/config.gz"
    assert "SystemVerification" not in host.ignored_preflight_errors


def test_a_file_system_that_is_a_module_counts(root: Path, paths: Paths) -> None:
    (root / "proc/filesystems").write_text("nodev\toverlay\nnodev\tbpf\n")
    assert "btrfs" not in detect(paths, root).kernel
    modules = root / "lib/modules/6.18.44"
    modules.mkdir(parents=True)
    (modules / "modules.dep").write_text("kernel/fs/btrfs/btrfs.ko.xz: kernel/lib/raid6_pq.ko.xz\n")
    assert "btrfs" in detect(paths, root).kernel


def test_nothing_stands_in_the_way_of_an_ordinary_machine(paths: Paths) -> None:
    assert requirements(ORDINARY, paths) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"root": False}, "user: not root"),
        ({"os": ("ubuntu", "24.04")}, "ubuntu 24.04 is not Debian 12"),
        ({"kernel": frozenset({"overlay", "bpf"})}, "no btrfs in this kernel"),
        ({"capabilities": 0}, "root lacks CAP_SYS_ADMIN"),
        ({"loop": False}, "/dev/loop-control is missing"),
        ({"memory_mib": 4096}, "4.0 GiB of memory, 7 GiB needed"),
        ({"free_state_gib": 10.0}, "10.0 GiB free, 28 GiB needed"),
        ({"free_cache_gib": 23.0, "same_disk": False}, "23.0 GiB free, 24 GiB needed"),
    ],
)
def test_each_thing_that_is_missing_is_named(change: dict[str, object], words: str, paths: Paths) -> None:
    findings = requirements(replace(ORDINARY, **change), paths)  # type: ignore[arg-type]
    assert words in "\n".join(map(str, findings))


def test_everything_that_is_missing_is_named_at_once(paths: Paths) -> None:
    broken = replace(ORDINARY, root=False, loop=False, memory_mib=1024, free_state_gib=1.0)
    assert [finding.where for finding in requirements(broken, paths)] == [
        "user",
        "kernel",
        f"disk below {paths.state}",
        "memory",
    ]


def test_what_an_earlier_run_has_put_on_the_disk_is_not_asked_for_again(paths: Paths) -> None:
    (paths.cache / "artefacts").mkdir(parents=True)
    inventory.write(paths.cache, [])
    paths.lab.mkdir(parents=True)
    paths.nodes_image.touch()
    assert requirements(replace(ORDINARY, free_state_gib=0.5), paths) == []
    assert requirements(replace(ORDINARY, free_cache_gib=0.5, same_disk=False), paths) == []


def needed_gib(host: Host, paths: Paths) -> list[str]:
    """What is asked for of a machine with full disks."""
    full = replace(host, free_state_gib=0.0, free_cache_gib=0.0)
    return [finding.what.removeprefix("0.0 GiB free, ") for finding in requirements(full, paths)]


def test_the_room_for_a_build_is_asked_for_as_long_as_the_cache_is_not_filled(paths: Paths) -> None:
    apart = replace(ORDINARY, same_disk=False)
    paths.mirror.mkdir(parents=True)  # the first artefact alone
    assert needed_gib(apart, paths) == ["24 GiB needed", "24 GiB needed"]
    paths.lab.mkdir(parents=True)
    paths.nodes_image.touch()
    assert needed_gib(apart, paths) == ["24 GiB needed"]
    assert needed_gib(ORDINARY, paths) == ["24 GiB needed"]


def test_on_one_disk_the_nodes_take_the_place_of_what_a_build_leaves(paths: Paths) -> None:
    assert needed_gib(ORDINARY, paths) == ["28 GiB needed"]


def test_a_build_that_was_interrupted_is_asked_only_for_the_rest(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prerequisites, "held_by_build_gib", {paths.cache / "go": 11.0}.__getitem__)
    assert needed_gib(replace(ORDINARY, same_disk=False), paths) == ["24 GiB needed", "13 GiB needed"]
    assert needed_gib(ORDINARY, paths) == ["17 GiB needed"]


def test_the_finding_says_what_the_room_is_for(paths: Paths) -> None:
    (finding,) = requirements(replace(ORDINARY, free_cache_gib=5.0, same_disk=False), paths)
    assert str(finding) == (
        f"disk below {paths.cache}: 5.0 GiB free, 24 GiB needed. Building the artefacts takes 24 GiB until it ends. "
        "Make room, or name a directory on another disk in SALTERN_STATE and SALTERN_CACHE"
    )
