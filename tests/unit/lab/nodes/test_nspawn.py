"""The command lines of a node."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

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


def test_the_leader_is_pid_1_of_its_own_namespace() -> None:
    script = "unshare --pid --fork --kill-child sleep 60"
    parent = subprocess.Popen(["sh", "-c", f"exec {script}"])
    try:
        process = nspawn.processes.Process.of(parent.pid)
        assert process
        while (found := nspawn.leader(process)) is None and parent.poll() is None:
            pass
        assert found is not None
        assert Path(f"/proc/{found}/status").read_text().split("NSpid:")[1].split("\n")[0].split()[-1] == "1"
    finally:
        parent.kill()
        parent.wait()
