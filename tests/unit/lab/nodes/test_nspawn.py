"""The command lines of a node."""

import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from lab.nodes import nspawn
from lab.nodes.cgroups import procs_files_of
from tests.unit.lab.test_host import ORDINARY

ROOT = Path("/var/lib/saltern/lab/nodes/101")


def boot(**changes: object) -> list[str]:
    host = replace(ORDINARY, **changes)  # type: ignore[arg-type]
    return nspawn.boot_command(host, "node-101", "saw-k8s-m-01", ROOT, networked=True)


def test_a_node_boots_in_the_labs_network() -> None:
    argv = boot()
    assert argv[:4] == ["nsenter", "--net=/run/netns/saltern-lab", "--", "systemd-nspawn"]
    assert {"--boot", f"--directory={ROOT}", "--network-bridge=br0", "--capability=all"} <= set(argv)


def test_systemd_gives_a_scope_and_otherwise_the_lab_has_made_the_cgroups() -> None:
    assert "--keep-unit" not in boot(systemd=True)
    assert "--keep-unit" in boot(systemd=False)


def test_modules_and_kmsg_are_shown_where_the_machine_has_them() -> None:
    assert {"--bind-ro=/lib/modules", "--bind=/dev/kmsg"} <= set(boot())
    assert not {"--bind-ro=/lib/modules", "--bind=/dev/kmsg"} & set(boot(modules_dir=None, kmsg=False))


def test_what_the_kernel_was_built_with_is_shown_unless_every_node_sees_it() -> None:
    assert "--bind-ro=/boot/config-6.1.0-30-amd64" in boot()
    for seen in (Path("/proc/config.gz"), Path("/lib/modules/6.1.0-30-amd64/config"), None):
        assert not [option for option in boot(kernel_config=seen) if "config" in option]


def test_a_node_without_a_card_is_not_on_the_machines_network() -> None:
    argv = nspawn.boot_command(ORDINARY, "node-101", "x", ROOT, networked=False)
    assert "--private-network" in argv
    assert "--network-bridge=br0" not in argv


def test_joining_writes_the_pid_that_the_command_then_has(tmp_path: Path) -> None:
    places = [tmp_path / "a", tmp_path / "b"]
    script = "echo $$; echo $0 $1"
    argv = nspawn.joining(places, ["sh", "-c", script, "first", "second word"])
    pid, words = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [place.read_text().strip() for place in places] == [pid, pid]
    assert words == "first second word"


def test_a_node_that_reboots_is_booted_again_and_its_end_is_the_ends_status(tmp_path: Path) -> None:
    boots = tmp_path / "boots"
    script = f'echo $1 >>{boots}; [ $(wc -l <{boots}) -lt 3 ] && exit 133; exit 7'
    argv = nspawn.rebooting(["sh", "-c", script, "sh", "an argument"], "node-none")
    assert subprocess.run(argv, timeout=60).returncode == 7
    assert boots.read_text().splitlines() == ["an argument"] * 3


def test_what_a_boot_left_behind_is_cleared_before_the_next() -> None:
    clean = nspawn.rebooting(["boot"], "node-101")[4]
    assert "umount --quiet --lazy /run/systemd/nspawn/propagate/node-101 2>/dev/null" in clean
    assert "nsenter --net=/run/netns/saltern-lab -- ip link delete dev vb-node-101 2>/dev/null" in clean


def test_a_request_to_end_reaches_the_node_and_it_is_not_booted_again(tmp_path: Path) -> None:
    """As systemd-nspawn it takes its time, and may say that it reboots."""
    boots = tmp_path / "boots"
    script = f'trap "sleep 0.3; exit 133" TERM; echo >>{boots}; while :; do sleep 0.05; done'
    child = subprocess.Popen(nspawn.rebooting(["sh", "-c", script], "node-none"))
    try:
        while not boots.exists():
            pass
        child.terminate()
        assert child.wait(timeout=60) == 133
        assert len(boots.read_text().splitlines()) == 1
    finally:
        child.kill()
        child.wait()


def test_a_node_dies_with_what_keeps_it() -> None:
    keeper = subprocess.Popen(nspawn.rebooting(["sleep", "60"], "node-none"))
    while not (children := nspawn.processes.children(keeper.pid)) or "sleep" not in command_of(children[0]):
        pass
    (node,) = filter(None, map(nspawn.processes.Process.of, children))
    keeper.kill()
    keeper.wait()
    assert nspawn.processes.wait(node, 30)


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text()


def test_the_cgroups_of_a_process_are_found() -> None:
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    places = nspawn.Cgroups(ORDINARY).hierarchies
    files = procs_files_of(os.getpid(), places)
    assert len(files) == len(places) <= len(lines)
    assert all(str(os.getpid()) in file.read_text().split() for file in files)


def test_no_leader_before_there_is_a_namespace() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        process = nspawn.processes.Process.of(os.getpid())
        assert process
        assert nspawn.leader(process) is None
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("script", ["exec {}", "{}; exit"], ids=["its child", "its child's child"])
def test_the_leader_is_pid_1_of_its_own_namespace(script: str) -> None:
    parent = subprocess.Popen(["sh", "-c", script.format("unshare --pid --fork --kill-child sleep 60")])
    try:
        process = nspawn.processes.Process.of(parent.pid)
        assert process
        while (found := nspawn.leader(process)) is None and parent.poll() is None:
            pass
        assert found is not None
        assert Path(f"/proc/{found}/status").read_text().split("NSpid:")[1].split("\n")[0].split()[-1] == "1"
    finally:
        for child in nspawn.processes.children(parent.pid):
            os.kill(child, signal.SIGKILL)
        parent.kill()
        parent.wait()
