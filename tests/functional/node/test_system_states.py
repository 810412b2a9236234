"""Swap, modules, sysctl, mounts, directories, links, hosts, packages: against real files, mounts and namespaces."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from tests.functional.node.conftest import Minion

FSTAB = """\
# /etc/fstab: static file system information.
UUID=1f0a / ext4 errors=remount-ro 0 1
UUID=77aa none swap sw 0 0
/swap.img\tnone\tswap\tsw,pri=5\t0\t0
# /dev/sdb1 none swap sw 0 0
/dev/sdc1 /srv/swap ext4 defaults 0 2
"""
Apart = Callable[[Callable[[], None]], None]


@pytest.fixture
def fstab(tmp_path: Path) -> Path:
    path = tmp_path / "fstab"
    path.write_text(FSTAB)
    return path


class Swap:
    """Swap areas and units that a node may have, in place of the machine's own."""

    def __init__(self, minion: Minion, root: Path, areas: list[str], units: list[str]) -> None:
        self.areas, self.masks = areas, root / "masks"
        unit_files = root / "units"
        for directory in (self.masks, unit_files):
            directory.mkdir()
        for unit in units:
            (unit_files / unit).write_text("[Swap]\n")
        own = {name: minion.plain(f"swap.{name}") for name in ("units", "mask", "unmask", "masked")}
        directories = [str(unit_files), str(self.masks)]
        minion.replace("swap.active", lambda: list(self.areas))
        minion.replace("swap.off", self.areas.remove)
        minion.replace("swap.on", self.areas.append)
        minion.replace("swap.units", lambda: own["units"](directories, str(self.masks)))
        minion.replace("swap.masked", lambda: own["masked"](str(self.masks)))
        minion.replace("swap.mask", lambda unit: own["mask"](unit, str(self.masks)))
        minion.replace("swap.unmask", lambda unit: own["unmask"](unit, str(self.masks)))
        minion.replace("node_facts.container", lambda: None)


def test_swap_is_turned_off_and_given_back(minion: Minion, tmp_path: Path, fstab: Path, backups: list[str]) -> None:
    swap = Swap(minion, tmp_path, ["/swap.img", "/dev/zram0"], ["dev-zram0.swap"])
    done = minion.settle("swap.disabled", backups=backups, fstab=str(fstab))
    assert done["changes"]["in use"] == {"old": ["/swap.img", "/dev/zram0"], "new": []}
    assert done["changes"]["units"] == {"old": ["dev-zram0.swap"], "new": []}
    lines = fstab.read_text().splitlines()
    assert lines[2] == "# swap off for Kubernetes: UUID=77aa none swap sw 0 0"
    assert lines[3] == "# swap off for Kubernetes: /swap.img\tnone\tswap\tsw,pri=5\t0\t0"
    assert [*lines[:2], *lines[4:]] == [*FSTAB.splitlines()[:2], *FSTAB.splitlines()[4:]]
    for directory in backups:
        assert Path(directory, "fstab.original").read_text() == FSTAB
    assert (swap.masks / "dev-zram0.swap").readlink() == Path("/dev/null")

    with fstab.open("a") as table:
        table.write("/opt/sandbox/etc/kubernetes /etc/kubernetes none bind,nofail 0 0\n")
    minion.settle("swap.enabled", backups=backups, fstab=str(fstab))
    assert fstab.read_text() == FSTAB + "/opt/sandbox/etc/kubernetes /etc/kubernetes none bind,nofail 0 0\n"
    assert sorted(swap.areas) == ["/dev/zram0", "/swap.img"]
    assert list(swap.masks.iterdir()) == []


def test_the_backup_of_fstab_is_the_first_one(minion: Minion, tmp_path: Path, fstab: Path, backups: list[str]) -> None:
    Swap(minion, tmp_path, [], [])
    minion.apply("swap.disabled", backups=backups, fstab=str(fstab))
    Path(backups[0], "fstab.original").unlink()  # as a reboot does to /tmp
    with fstab.open("a") as table:
        table.write("/swap2 none swap sw 0 0\n")
    minion.apply("swap.disabled", backups=backups, fstab=str(fstab))
    assert Path(backups[1], "fstab.original").read_text() == FSTAB
    assert not Path(backups[0], "fstab.original").exists()


def test_swap_that_cannot_be_turned_off_is_a_failure(
    minion: Minion, tmp_path: Path, fstab: Path, backups: list[str]
) -> None:
    Swap(minion, tmp_path, ["/swap.img"], [])

    def refuse(area: str) -> None:
        raise CommandExecutionError(f"swapoff {area}: Cannot allocate memory")

    minion.replace("swap.off", refuse)
    done = minion.apply("swap.disabled", backups=backups, fstab=str(fstab))
    assert done["result"] is False
    assert done["comment"] == "swapoff /swap.img: Cannot allocate memory"
    assert set(done["changes"]) == {"fstab"}


def test_swap_of_a_containers_host_is_named_and_left(
    minion: Minion, tmp_path: Path, fstab: Path, backups: list[str]
) -> None:
    swap = Swap(minion, tmp_path, ["/dev/sda2"], [])
    minion.replace("node_facts.container", lambda: "lxc")
    fstab.write_text("")
    done = minion.settle("swap.disabled", backups=backups, fstab=str(fstab))
    assert done["comment"] == "swap of the lxc host stays in use: /dev/sda2"
    assert swap.areas == ["/dev/sda2"]


def test_administrators_swap_unit_is_not_overwritten(
    minion: Minion, tmp_path: Path, fstab: Path, backups: list[str]
) -> None:
    swap = Swap(minion, tmp_path, [], [])
    (swap.masks / "data.swap").write_text("[Swap]\n")
    done = minion.apply("swap.disabled", backups=backups, fstab=str(fstab))
    assert done["result"] is False
    assert "data.swap is a unit of this machine's administrator" in done["comment"]


def test_kernel_modules_are_listed_loaded_and_given_back(minion: Minion, tmp_path: Path, backups: list[str]) -> None:
    lists, loaded = tmp_path / "modules-load.d", {"overlay": "built in", "br_netfilter": None}
    lists.mkdir()
    (lists / "overlay.conf").write_text("# the administrator's\noverlay\n")
    minion.replace("kernel_module.available", loaded.get)
    minion.replace("kernel_module.load", lambda module: loaded.update({module: "loaded"}))
    minion.replace("kernel_module.unload", lambda module: bool(loaded.update({module: None})) or True)
    where: dict[str, Any] = {"modules": ["overlay", "br_netfilter"], "backups": backups, "lists": str(lists)}
    done = minion.settle("kernel_module.present", **where)
    assert done["changes"] == {
        "overlay": {"content": {"old": "# the administrator's\noverlay\n", "new": "overlay\n"}},
        "br_netfilter": {
            "kernel": {"old": None, "new": "loaded"},
            "content": {"old": None, "new": "br_netfilter\n"},
            "user": {"old": None, "new": "root"},
            "group": {"old": None, "new": "root"},
            "mode": {"old": None, "new": "0644"},
        },
    }
    assert done["comment"] == "overlay: built in, br_netfilter: loaded"
    assert (lists / "br_netfilter.conf").read_text() == "br_netfilter\n"
    minion.settle("kernel_module.absent", **where)
    assert (lists / "overlay.conf").read_text() == "# the administrator's\noverlay\n"
    assert not (lists / "br_netfilter.conf").exists()
    assert loaded == {"overlay": "built in", "br_netfilter": None}


def test_a_module_that_the_kernel_lacks_is_named(minion: Minion, tmp_path: Path, backups: list[str]) -> None:
    done = minion.apply("kernel_module.present", modules=["no_such_thing"], backups=backups, lists=str(tmp_path))
    assert done["result"] is False
    assert "kernel module no_such_thing" in done["comment"]
    assert "load it on the host" in done["comment"]


def test_sysctl_profile_in_a_kernel_of_its_own(
    minion: Minion, tmp_path: Path, backups: list[str], network_namespace: Apart
) -> None:
    """Real keys of a network namespace: written, drift mended, missing and read-only ones named, all given back."""
    directory = tmp_path / "sysctl.d"
    directory.mkdir()
    (directory / "15-inotify.conf").write_text("fs.inotify.max_user_instances = 128\n")
    (directory / "75-net.conf").write_text("# old\n")
    profiles = {
        "75-net": {
            "net.ipv4.ip_forward": "1",
            "net.ipv4.tcp_rmem": "8192 65536 33554432",
            "net.saltern.no_such_key": "1",
            "kernel.ostype": "Salt",
        }
    }
    where: dict[str, Any] = {
        "profiles": profiles, "obsolete": ["15-inotify"], "backups": backups, "directory": str(directory)
    }  # fmt: skip
    forward = Path("/proc/sys/net/ipv4/ip_forward")

    def story() -> None:
        before = Path("/proc/sys/net/ipv4/tcp_rmem").read_text()
        forward.write_text("0")
        done = minion.settle("sysctl_profile.applied", **where)
        assert done["changes"]["net.ipv4.ip_forward"] == {"old": "0", "new": "1"}
        assert done["changes"]["15-inotify.conf"]["content"]["new"] is None
        assert "missing here: net.saltern.no_such_key" in done["comment"]
        assert "read-only here: kernel.ostype" in done["comment"]
        assert done["comment"].startswith("2 of 4 values in force")
        assert Path("/proc/sys/net/ipv4/tcp_rmem").read_text().split() == ["8192", "65536", "33554432"]
        assert "net.saltern.no_such_key = 1" in (directory / "75-net.conf").read_text()

        forward.write_text("0")
        again = minion.settle("sysctl_profile.applied", **where)
        assert again["changes"] == {"net.ipv4.ip_forward": {"old": "0", "new": "1"}}

        minion.settle("sysctl_profile.absent", **where)
        assert forward.read_text().strip() == "0"
        assert Path("/proc/sys/net/ipv4/tcp_rmem").read_text() == before
        assert (directory / "75-net.conf").read_text() == "# old\n"
        assert (directory / "15-inotify.conf").exists()

    network_namespace(story)


def test_a_value_that_the_kernel_refuses_is_a_failure(
    minion: Minion, tmp_path: Path, backups: list[str], network_namespace: Apart
) -> None:
    profiles = {"75-net": {"net.ipv4.ip_default_ttl": "9999"}}

    def story() -> None:
        done = minion.apply(
            "sysctl_profile.applied", profiles=profiles, obsolete=[], backups=backups, directory=str(tmp_path)
        )
        assert done["result"] is False
        assert done["comment"] == "net.ipv4.ip_default_ttl = 9999: Invalid argument"

    network_namespace(story)


def test_bind_mounts_are_mounted_listed_and_undone(
    minion: Minion, tmp_path: Path, fstab: Path, backups: list[str], mount_namespace: Apart
) -> None:
    tmp = tmp_path.resolve()
    (tmp / "link").symlink_to(tmp / "real")
    mounts = [
        {"source": f"{tmp}/sandbox/etc", "path": f"{tmp}/etc"},
        {"source": f"{tmp}/sandbox/run", "path": f"{tmp}/link/cilium"},  # as /var/run/cilium, /var/run being a link
    ]
    (tmp / "real").mkdir()

    def story() -> None:
        done = minion.settle("bind_mount.mounted", mounts=mounts, backups=backups, fstab=str(fstab))
        assert done["changes"][f"{tmp}/etc"]["mounted"] == {"old": None, "new": "source"}
        (tmp / "sandbox/etc/file").write_text("shown")
        assert (tmp / "etc/file").read_text() == "shown"
        assert fstab.read_text() == (
            FSTAB + f"{tmp}/sandbox/etc {tmp}/etc none bind,nofail 0 0\n"
            f"{tmp}/sandbox/run {tmp}/link/cilium none bind,nofail 0 0\n"
        )
        assert Path(backups[1], "fstab.original").read_text() == FSTAB

        minion.call("bind_mount.unmount", f"{tmp}/etc")
        again = minion.settle("bind_mount.mounted", mounts=mounts, backups=backups, fstab=str(fstab))
        assert again["changes"] == {f"{tmp}/etc": {"mounted": {"old": None, "new": "source"}}}

        minion.settle("bind_mount.unmounted", mounts=mounts, backups=backups, fstab=str(fstab))
        assert fstab.read_text() == FSTAB
        assert not (tmp / "etc").exists()
        assert (tmp / "sandbox/etc/file").exists()

    mount_namespace(story)


def test_another_clusters_files_are_not_hidden_by_a_mount(
    minion: Minion, tmp_path: Path, fstab: Path, backups: list[str], mount_namespace: Apart
) -> None:
    (tmp_path / "kubernetes").mkdir()
    (tmp_path / "kubernetes/admin.conf").write_text("another cluster's")
    mounts = [{"source": str(tmp_path / "sandbox"), "path": str(tmp_path / "kubernetes")}]

    def story() -> None:
        for run in (minion.preview, minion.apply):
            done = run("bind_mount.mounted", mounts=mounts, backups=backups, fstab=str(fstab))
            assert done["result"] is False
            assert "holds admin.conf, which the bind mount" in done["comment"]
            assert done["changes"] == {}
        assert fstab.read_text() == FSTAB

    mount_namespace(story)


def test_a_foreign_mount_is_refused(
    minion: Minion, tmp_path: Path, fstab: Path, backups: list[str], mount_namespace: Apart
) -> None:
    for name in ("other", "path", "source"):
        (tmp_path / name).mkdir()
    mounts = [{"source": str(tmp_path / "source"), "path": str(tmp_path / "path")}]

    def story() -> None:
        minion.call("bind_mount.mount", str(tmp_path / "other"), str(tmp_path / "path"))
        done = minion.apply("bind_mount.mounted", mounts=mounts, backups=backups, fstab=str(fstab))
        assert done["result"] is False
        assert "something else is mounted there" in done["comment"]

    mount_namespace(story)


def test_directories_are_made_mended_and_removed_when_empty(minion: Minion, tmp_path: Path) -> None:
    directories = [
        {"path": str(tmp_path / "opt"), "user": "root", "group": "root", "mode": "0755"},
        {"path": str(tmp_path / "opt/keys"), "user": "nobody", "group": "nogroup", "mode": "0700"},
        {"path": str(tmp_path / "opt/data"), "user": "root", "group": "root", "mode": "0755"},
    ]
    done = minion.settle("directory_tree.present", directories=directories)
    keys = str(tmp_path / "opt/keys")
    assert done["changes"][keys] == {"old": None, "new": {"user": "nobody", "group": "nogroup", "mode": "0700"}}
    os.chown(keys, 12345, 0)
    done = minion.settle("directory_tree.present", directories=directories)
    assert done["changes"][keys]["old"] == {"user": "12345", "group": "root", "mode": "0700"}
    (tmp_path / "opt/data/file").write_text("data")
    done = minion.apply("directory_tree.absent_if_empty", directories=directories)
    assert list(done["changes"]) == [keys]
    assert "opt/data" in done["comment"]
    assert (tmp_path / "opt/data/file").exists()


def test_a_file_in_a_directorys_place_and_an_unknown_owner_are_named(minion: Minion, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    wanted = {"path": str(tmp_path / "file"), "user": "root", "group": "root", "mode": "0755"}
    assert "is in the way" in minion.apply("directory_tree.present", directories=[wanted])["comment"]
    wanted = {"path": str(tmp_path / "new"), "user": "no-such-user", "group": "root", "mode": "0755"}
    done = minion.apply("directory_tree.present", directories=[wanted])
    assert done["result"] is False
    assert "no-such-user" in done["comment"]


def test_links_replace_a_file_and_give_it_back(minion: Minion, tmp_path: Path, backups: list[str]) -> None:
    links = [
        {"path": str(tmp_path / "bin/kubectl"), "target": "/opt/sandbox/bin/kubectl"},
        {"path": str(tmp_path / "crictl.yaml"), "target": "/opt/sandbox/etc/crictl.yaml"},
    ]
    (tmp_path / "crictl.yaml").write_text("the distribution's\n")
    done = minion.settle("link_farm.present", links=links, backups=backups)
    assert done["changes"][links[1]["path"]] == {"old": "(no link)", "new": "/opt/sandbox/etc/crictl.yaml"}
    assert Path(links[0]["path"]).readlink() == Path("/opt/sandbox/bin/kubectl")
    minion.settle("link_farm.absent", links=links, backups=backups)
    assert (tmp_path / "crictl.yaml").read_text() == "the distribution's\n"
    assert not os.path.lexists(links[0]["path"])


def test_a_directory_in_a_links_place_is_refused(minion: Minion, tmp_path: Path, backups: list[str]) -> None:
    (tmp_path / "kubectl").mkdir()
    links = [{"path": str(tmp_path / "kubectl"), "target": "/opt/sandbox/bin/kubectl"}]
    done = minion.apply("link_farm.present", links=links, backups=backups)
    assert done["result"] is False
    assert str(tmp_path / "kubectl") in done["comment"]


def test_hosts_have_one_block_at_the_head(minion: Minion, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    own = "127.0.0.1 localhost\n127.0.1.1 saw-k8s-w-01\n"
    hosts.write_text(own)
    entries = {"192.168.100.151": ["saw-k8s-m-01"], "192.168.100.154": ["saw-k8s-w-01"]}
    minion.settle("hosts_file.present", entries=entries, hosts=str(hosts))
    assert hosts.read_text() == (
        "# nodes of the cluster: begin\n192.168.100.151 saw-k8s-m-01\n192.168.100.154 saw-k8s-w-01\n"
        "# nodes of the cluster: end\n" + own
    )
    done = minion.settle("hosts_file.present", entries={"192.168.100.151": ["saw-k8s-m-01"]}, hosts=str(hosts))
    assert done["changes"]["block"]["new"] == ["192.168.100.151 saw-k8s-m-01"]
    minion.settle("hosts_file.absent", hosts=str(hosts))
    assert hosts.read_text() == own


def test_half_a_hosts_block_is_not_guessed_at(minion: Minion, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("# nodes of the cluster: begin\n127.0.0.1 localhost\n")
    done = minion.apply("hosts_file.present", entries={}, hosts=str(hosts))
    assert done["result"] is False
    assert "only one of the two lines" in done["comment"]
    assert hosts.read_text() == "# nodes of the cluster: begin\n127.0.0.1 localhost\n"


def test_a_hosts_file_that_is_gone_or_unreadable_comes_back(minion: Minion, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    minion.settle("hosts_file.present", entries={"192.168.100.151": ["m-01"]}, hosts=str(hosts))
    assert hosts.stat().st_mode & 0o777 == 0o644
    hosts.chmod(0o600)
    done = minion.settle("hosts_file.present", entries={"192.168.100.151": ["m-01"]}, hosts=str(hosts))
    assert done["changes"] == {"mode": {"old": "0600", "new": "0644"}}


@pytest.mark.parametrize("name", ["overlay.conf", "75-net.conf"])
def test_owner_and_mode_of_a_file_are_kept(
    minion: Minion, tmp_path: Path, backups: list[str], name: str, network_namespace: Apart
) -> None:
    state, where = {
        "overlay.conf": ("kernel_module.present", {"modules": ["overlay"], "lists": str(tmp_path)}),
        "75-net.conf": (
            "sysctl_profile.applied",
            {"profiles": {"75-net": {"net.ipv4.ip_forward": "1"}}, "obsolete": [], "directory": str(tmp_path)},
        ),
    }[name]
    minion.replace("kernel_module.available", lambda _module: "built in")

    def story() -> None:
        minion.apply(state, backups=backups, **where)
        os.chown(tmp_path / name, 65534, 65534)
        (tmp_path / name).chmod(0o666)
        ((_item, change),) = minion.settle(state, backups=backups, **where)["changes"].items()
        assert change == {
            "user": {"old": "nobody", "new": "root"},
            "group": {"old": "nogroup", "new": "root"},
            "mode": {"old": "0666", "new": "0644"},
        }

    network_namespace(story)


def test_the_mode_of_fstab_is_kept(minion: Minion, tmp_path: Path, backups: list[str]) -> None:
    fstab = tmp_path / "fstab"
    fstab.write_text("# none\n")
    fstab.chmod(0o600)
    done = minion.settle("bind_mount.mounted", mounts=[], backups=backups, fstab=str(fstab))
    assert done["changes"] == {str(fstab): {"mode": {"old": "0600", "new": "0644"}}}


class Apt:
    """A package manager that keeps count."""

    def __init__(self, minion: Minion, installed: dict[str, str], known: dict[str, str]) -> None:
        self.installed, self.known, self.calls = installed, known, []
        minion.replace("pkg.list_pkgs", lambda: dict(self.installed))
        minion.replace("pkg.latest_version", self.latest_version)
        minion.replace("pkg.refresh_db", lambda **_options: self.calls.append("refresh"))
        minion.replace("pkg.upgrade", self.upgrade)
        minion.replace("pkg.install", self.install)
        minion.replace("pkg.remove", lambda pkgs: [self.installed.pop(package) for package in pkgs])

    def install(self, pkgs: list[str], refresh: bool, **_options: Any) -> None:
        self.calls.append(f"install {' '.join(pkgs)}, refresh {refresh}")
        self.installed |= {package: self.known[package] for package in pkgs if package in self.known}

    def latest_version(self, *names: str, refresh: bool) -> str | dict[str, str]:
        """As Salt has it: "" for a package that no source has, a text for one name, a mapping for several."""
        assert refresh is False
        found = {name: self.known.get(name, "") for name in names}
        return found if len(names) > 1 else found[names[0]]

    def upgrade(self, refresh: bool) -> dict[str, Any]:
        self.calls.append(f"upgrade, refresh {refresh}")
        return {"openssl": {"old": "1", "new": "2"}}


def test_index_and_upgrade_come_at_the_first_bring_up_only(minion: Minion, tmp_path: Path) -> None:
    apt = Apt(minion, {"gpg": "2.2", "containerd": "1.6"}, {"socat": "1.7", "nftables": "1.0"})
    where: dict[str, Any] = {"absent": ["containerd"], "refresh": True, "upgrade": True, "marker": str(tmp_path / "m")}
    preview = minion.preview("os_package.settled", packages=["gpg", "socat"], **where)
    assert preview["result"] is None
    assert set(preview["changes"]) == {"first bring-up", "socat", "containerd"}
    assert apt.calls == []
    done = minion.apply("os_package.settled", packages=["gpg", "socat"], **where)
    assert done["changes"] == {
        "openssl": {"old": "1", "new": "2"},
        "first bring-up": {"old": None, "new": "index refreshed, packages upgraded"},
        "socat": {"old": None, "new": "1.7"},
        "containerd": {"old": "1.6", "new": None},
    }
    assert apt.calls == ["refresh", "upgrade, refresh False", "install socat, refresh False"]
    apt.calls.clear()
    done = minion.settle("os_package.settled", packages=["gpg", "socat", "nftables"], **where)
    assert apt.calls == ["install nftables, refresh False"]


def test_a_package_that_did_not_come_is_named(minion: Minion, tmp_path: Path) -> None:
    Apt(minion, {}, {})
    done = minion.apply(
        "os_package.settled", packages=["socat"], absent=[], refresh=False, upgrade=False, marker=str(tmp_path / "m")
    )
    assert done["result"] is False
    assert "not as wanted after the package manager ran: socat" in done["comment"]
