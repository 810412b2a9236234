"""What the nodes' modules read out of text and files of real systems."""

from __future__ import annotations

import datetime
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from tests.salt_node import load

MODULES = Path(__file__).parents[3] / "_modules"


def module(name: str, **dunders: Any) -> ModuleType:
    return load(MODULES / f"{name}.py", {"__salt__": {}, "__grains__": {"os_family": "Debian"}, **dunders})


# /proc/swaps of Linux 6.1 with a partition, a file with a blank in its name, and compressed memory.
SWAPS = r"""Filename				Type		Size		Used		Priority
/dev/nvme0n1p3                          partition	8388604		0		-2
/srv/swap\040file                       file		1048572		512		-3
/dev/zram0                              partition	2097148		0		100
"""


@pytest.mark.parametrize(
    ("text", "areas"),
    [
        (SWAPS, ["/dev/nvme0n1p3", "/srv/swap file", "/dev/zram0"]),
        ("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n", []),
        ("", []),
    ],
)
def test_active_swap(text: str, areas: list[str]) -> None:
    assert module("swap").parse_swaps(text) == areas


def test_a_kernel_without_swap_has_no_table(tmp_path: Path) -> None:
    assert module("swap").active(str(tmp_path / "swaps")) == []


@pytest.mark.parametrize(
    ("line", "is_swap"),
    [
        ("UUID=77aa none swap sw 0 0", True),
        ("/swap.img\tnone\tswap\tsw\t0\t0", True),
        ("  /dev/mapper/vg-swap swap swap defaults,discard", True),
        ("/dev/sdb1 none swap", True),
        ("#/swapfile none swap sw 0 0", False),
        (" # /swapfile none swap sw 0 0", False),
        ("/dev/sda1 /swap ext4 defaults 0 2", False),
        ("/dev/sda1 / btrfs subvol=swap 0 1", False),
        ("/dev/swap", False),
        ("", False),
    ],
)
def test_swap_lines_of_fstab(line: str, is_swap: bool) -> None:
    assert module("swap").is_swap_line(line) is is_swap


@pytest.mark.parametrize(
    ("files", "name", "wanted"),
    [
        # An ordinary Debian kernel.
        ({"proc/modules": "overlay 163840 9 - Live 0xffffffffc0a1b000\nbridge 3 1 - Live 0x0\n"}, "overlay", "loaded"),
        ({"proc/modules": "overlayfs_x 1 0 - Live 0x0\n"}, "overlay", None),
        # Built in with parameters.
        ({"proc/modules": "", "sys/module/br_netfilter/uevent": ""}, "br_netfilter", "built in"),
        # A kernel without modules at all: no /proc/modules; a file system tells of itself.
        ({"proc/filesystems": "nodev\tsysfs\nnodev\toverlay\n\text4\n"}, "overlay", "built in"),
        ({"proc/filesystems": "nodev\tsysfs\n"}, "overlay", None),
        ({"proc/sys/net/bridge/bridge-nf-call-iptables": "1"}, "br_netfilter", "built in"),
        ({}, "br_netfilter", None),
    ],
)  # fmt: skip
def test_how_the_kernel_has_a_module(tmp_path: Path, files: dict[str, str], name: str, wanted: str | None) -> None:
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert module("kernel_module").available(name, str(tmp_path)) == wanted


# Lines of /proc/self/mountinfo of a Debian 12 node: optional fields vary in number, blanks are escaped.
MOUNTINFO = r"""22 28 0:20 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
28 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
96 28 8:1 /opt/sandbox/etc/kubernetes /etc/kubernetes rw,relatime shared:1 - ext4 /dev/sda1 rw
97 28 0:45 / /mnt/with\040blank rw,relatime - tmpfs tmpfs rw
"""


def test_mount_points() -> None:
    points = module("bind_mount").mount_points(MOUNTINFO)
    assert points == {"/sys", "/", "/etc/kubernetes", "/mnt/with blank"}


@pytest.mark.parametrize(
    ("resolved", "wanted"), [(True, "/run/systemd/resolve/resolv.conf"), (False, "/etc/resolv.conf")]
)
def test_resolver_configuration_of_pods(tmp_path: Path, resolved: bool, wanted: str) -> None:
    if resolved:
        (tmp_path / "run/systemd/resolve").mkdir(parents=True)
        (tmp_path / "run/systemd/resolve/resolv.conf").write_text("nameserver 192.168.100.1\n")
    assert module("node_facts").resolv_conf(str(tmp_path)) == wanted


@pytest.mark.parametrize(
    ("fact", "text", "wanted"),
    [
        ("run/systemd/container", "lxc\n", "lxc"),
        ("run/host/container-manager", "systemd-nspawn\n", "systemd-nspawn"),
        ("etc/nothing", "", None),
    ],
)
def test_kind_of_container(tmp_path: Path, fact: str, text: str, wanted: str | None) -> None:
    (tmp_path / fact).parent.mkdir(parents=True)
    (tmp_path / fact).write_text(text)
    assert module("node_facts").container(str(tmp_path)) == wanted


# systemctl show --property ... of systemd 252.
SHOW = """\
Id=crio.service
LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=enabled
NeedDaemonReload=yes
ConditionResult=yes
ConditionTimestampMonotonic=5143265
MainPID=311

Id=chrony.service
LoadState=loaded
ActiveState=inactive
SubState=dead
UnitFileState=disabled
NeedDaemonReload=no
ConditionResult=no
ConditionTimestampMonotonic=0
MainPID=0
"""


def test_facts_of_units() -> None:
    unit = module("unit")
    crio, chrony = (unit.describe(block) for block in unit.parse_show(SHOW))
    assert crio == {
        "loaded": True, "masked": False, "active": True, "state": "active (running)", "enabled": True, "stale": True,
        "barred": False, "pid": 311,
    }  # fmt: skip
    assert chrony == {
        "loaded": True, "masked": False, "active": False, "state": "inactive (dead)", "enabled": False, "stale": False,
        "barred": False, "pid": 0,
    }  # fmt: skip


def test_a_unit_whose_condition_did_not_hold_is_barred() -> None:
    unit = module("unit")
    tried = unit.parse_show(SHOW)[1] | {"ConditionTimestampMonotonic": "7200"}
    assert unit.describe(tried)["barred"] is True


@pytest.mark.parametrize(
    ("state", "facts"),
    [
        # systemctl mask, and a link to /dev/null made by hand before systemd has looked
        ({"LoadState": "masked", "UnitFileState": "masked"}, {"masked": True, "enabled": False}),
        ({"LoadState": "loaded", "UnitFileState": "masked-runtime"}, {"masked": True, "enabled": False}),
        # gone with the next boot
        ({"UnitFileState": "enabled-runtime"}, {"masked": False, "enabled": False}),
    ],
)
def test_units_that_will_not_start_at_boot(state: dict[str, str], facts: dict[str, bool]) -> None:
    unit = module("unit")
    found = unit.describe(unit.parse_show(SHOW)[0] | state)
    assert {key: found[key] for key in facts} == facts


@pytest.mark.parametrize(
    ("family", "packages", "wanted"),
    [
        ("Debian", ["gpg", "conntrack", "nftables"], ["gpg", "conntrack", "nftables"]),
        ("RedHat", ["iptables", "gpg", "ebtables"], ["iptables-nft", "gnupg2"]),
    ],
)
def test_names_of_packages(family: str, packages: list[str], wanted: list[str]) -> None:
    assert module("os_package").local_names(packages, family) == wanted


@pytest.mark.parametrize(("family", "wanted"), [("Debian", "chrony.service"), ("RedHat", "chronyd.service")])
def test_names_of_units(family: str, wanted: str) -> None:
    assert module("unit").local_names(["nftables.service", "chrony.service"], family) == ["nftables.service", wanted]


TOML_DOCUMENTS: list[dict[str, Any]] = [
    {},
    {"a": 1, "b": -2.5, "c": True, "d": "text", "e": []},
    {"text": 'quote " backslash \\ newline \n tab \t delete \x7f bell \x07 ü 界'},
    {"bare-key_1": 1, "dotted.key": 2, "": 3, 'qu"ote': 4},
    {"table": {"sub": {"deep": {"x": 1}}}, "empty": {}, "holds": {"empty": {}}},
    {"list": [1, 2], "nested": [[1], ["a", "b"]], "mixed": [{"a": 1}, 2]},
    {"registry": [{"location": "a", "mirror": [{"location": "b", "insecure": True}]}, {"location": "c"}]},
    {"day": datetime.date(2026, 11, 12), "at": datetime.datetime(2026, 11, 12, 7, 30, tzinfo=datetime.UTC)},
    {"value_after": {"table": {"a": 1}, "value": 2}, "top": 3},
    {"big": 2**62, "inf": float("inf"), "exp": 1e300},
]


@pytest.mark.parametrize("document", TOML_DOCUMENTS)
def test_toml_is_read_back_as_it_was(document: dict[str, Any]) -> None:
    assert tomllib.loads(module("toml_file").dumps(document)) == document


def test_toml_cannot_say_none() -> None:
    with pytest.raises(CommandExecutionError, match=r"None \(key a.b\): leave the key out"):
        module("toml_file").dumps({"a": {"b": None}})


def test_merging_keys_leaves_the_document_alone() -> None:
    document = {"a": {"b": 1, "keep": [1]}, "day": datetime.date(2026, 1, 1)}
    merged = module("toml_file").merged(document, {"a.b": 2, 'a."x.y".z': 3})
    assert merged == {"a": {"b": 2, "keep": [1], "x.y": {"z": 3}}, "day": datetime.date(2026, 1, 1)}
    assert document["a"] == {"b": 1, "keep": [1]}


@pytest.mark.parametrize("key", ["a b", "a..b", "", "a = 1"])
def test_what_is_no_toml_key_is_refused(key: str) -> None:
    with pytest.raises(CommandExecutionError, match="write it as in a TOML file"):
        module("toml_file").parts(key)


def test_a_key_through_a_value_is_refused() -> None:
    with pytest.raises(CommandExecutionError, match="a is a value here, not a table"):
        module("toml_file").merged({"a": 1}, {"a.b": 2})


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("127.0.0.1 localhost\n", (["127.0.0.1 localhost"], None)),
        (
            "a\n# nodes of the cluster: begin\n1 x\n# nodes of the cluster: end\nb\n",
            (["a", "b"], ["1 x"]),
        ),
    ],
)
def test_the_block_in_a_hosts_file(text: str, wanted: tuple[list[str], list[str] | None]) -> None:
    assert module("hosts_file").split(text) == wanted
