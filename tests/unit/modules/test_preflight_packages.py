"""The package manager's locks, held by a real process, and dpkg's journal."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
from pathlib import Path

import pytest

from saltern import node_pillar
from tests.salt_node import Node
from tests.unit.modules.member import CLUSTER

MODULES = ["preflight", "preflight_packages", "os_package"]


@pytest.fixture
def node(tmp_path) -> Node:
    """A worker before its first bring-up, whose package manager is idle."""
    made = Node(tmp_path / "node", node_pillar.build(CLUSTER, "saw-k8s-w-01"), MODULES, minion_id="saw-k8s-w-01")
    vars(made.modules["os_package"])["__grains__"] = {"os_family": "Debian"}
    installed = dict.fromkeys(made.pillar["saltern"]["os"]["packages"], "1.0")
    made.salt["pkg.list_pkgs"] = lambda: installed
    made.installed = installed
    module = vars(made.modules["preflight_packages"])
    module["holder"] = lambda *rest: None
    module["interrupted"] = lambda: False
    return made


def brought_up(node: Node) -> None:
    """Leave the marker of the first bring-up."""
    node.file("etc", "provisioner", "packages.json", text='{"refreshed": true, "upgraded": false}')


def hold(path: str, ready: multiprocessing.Event, done: multiprocessing.Event) -> None:
    """Lock a file as dpkg does, until told to end."""
    with Path(path).open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        ready.set()
        done.wait(30)


@pytest.fixture
def held(tmp_path):
    """A lock file that another process holds: (path, PID)."""
    path = tmp_path / "lock-frontend"
    path.touch()
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=hold, args=(str(path), ready, done))
    process.start()
    assert ready.wait(30)
    yield str(path), process.pid
    done.set()
    process.join()


@pytest.fixture
def module(tmp_path):
    return Node(tmp_path / "plain", {}, ["preflight_packages"]).modules["preflight_packages"]


def test_who_holds_a_lock(module, held):
    path, pid = held
    found = module.holder([path])
    assert (found["lock"], found["pid"]) == (path, pid)
    command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    assert command and found["command"] == command[:80]


def test_a_file_that_nobody_locks(module, tmp_path):
    (tmp_path / "free").touch()
    assert module.holder([str(tmp_path / "free")]) is None


def test_files_that_are_not_there_are_not_locked(module, tmp_path):
    assert module.holder([str(tmp_path / "absent")]) is None


def test_a_process_that_has_just_ended(module, held, tmp_path):
    assert module.holder([held[0]], proc=tmp_path)["command"] == "a process that has ended"


def test_a_lock_is_waited_for(module):
    answers = iter([{"lock": "l", "pid": 7, "command": "apt"}, None])
    vars(module)["holder"] = lambda locks: next(answers)
    assert module.released(wait_s=5) is None


def test_a_lock_that_stays(module, held):
    assert module.released(wait_s=0, locks=[held[0]])["pid"] == held[1]


@pytest.mark.parametrize(("names", "is_so"), [([], False), (["0000", "0001"], True), (["tmp.i"], False)])
def test_the_journal_of_dpkg(module, tmp_path, names, is_so):
    (tmp_path / "updates").mkdir()
    for name in names:
        (tmp_path / "updates" / name).touch()
    assert module.interrupted(tmp_path / "updates") is is_so


def test_without_dpkg_nothing_was_interrupted(module, tmp_path):
    assert module.interrupted(tmp_path / "updates") is False


BUSY = {"lock": "/var/lib/dpkg/lock-frontend", "pid": 4711, "command": "/usr/bin/python3 /usr/bin/unattended-upgrade"}


def at_work(node: Node, held: object = BUSY) -> None:
    """A package manager that does not end."""
    module = vars(node.modules["preflight_packages"])
    module["holder"] = lambda *rest: BUSY
    module["released"] = lambda: held


def test_an_idle_package_manager(node):
    node.salt["pkg.list_pkgs"] = lambda: pytest.fail("nothing has to be asked")
    assert node.salt["preflight_packages.findings"]() == []


def test_a_package_manager_at_work(node):
    at_work(node)
    (found,) = node.salt["preflight_packages.findings"]()
    assert (found["code"], found["where"]) == ("package-manager-busy", "/var/lib/dpkg/lock-frontend")
    assert found["what"].endswith("at work: /usr/bin/python3 /usr/bin/unattended-upgrade (PID 4711)")
    assert "ps -fp 4711" in found["remedy"]


def test_a_package_manager_that_ends_in_time(node):
    at_work(node, held=None)
    assert node.salt["preflight_packages.findings"]() == []


def test_a_member_that_needs_no_package_goes_on_beside_an_upgrade(node):
    at_work(node)
    brought_up(node)
    assert node.salt["preflight_packages.findings"]() == []


@pytest.mark.parametrize("drift", [{"socat": None}, {"containerd": "1.6"}])
def test_a_member_that_lacks_or_has_too_much_needs_the_lock(node, drift):
    at_work(node)
    brought_up(node)
    node.installed.update({name: version for name, version in drift.items() if version})
    for name in (name for name, version in drift.items() if not version):
        node.installed.pop(name)
    (found,) = node.salt["preflight_packages.findings"]()
    assert found["code"] == "package-manager-busy"


def test_an_interrupted_dpkg(node):
    vars(node.modules["preflight_packages"])["interrupted"] = lambda: True
    (found,) = node.salt["preflight_packages.findings"]()
    assert found["code"] == "package-manager-interrupted" and "dpkg --configure -a" in found["remedy"]


def test_the_size_of_the_question_is_the_kernels(module):
    """struct flock of 64-bit Linux has 32 bytes; a shorter buffer would be written beyond."""
    assert module.struct.calcsize(module.FLOCK) == 32
    assert os.sysconf("SC_LONG_BIT") == 64
