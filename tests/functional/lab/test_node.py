"""A real node: booted from the template, entered, stopped, crashed, and gone without a trace."""

import errno
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import network, processes
from lab.nodes.machines import NspawnMachines
from lab.nodes.scratch import ScratchNode, scratch_node
from lab.proxmox.machines import MachineConfig, MachineError, NetworkCard
from lab.shell import run


@pytest.fixture(scope="module")
def node() -> Iterator[ScratchNode]:
    with scratch_node(name="scratch-01") as node:
        yield node


def test_it_has_booted_completely(node: ScratchNode) -> None:
    assert node.run(["systemctl", "is-system-running"]).strip() == "running"
    assert node.run(["hostname"]).strip() == "scratch-01"


def test_its_card_has_the_name_and_addresses_that_it_was_given(node: ScratchNode) -> None:
    cards = {card.name: card for card in NspawnMachines().interfaces(node.machine_id)}
    assert f"{node.address}/24" in cards["eth0"].addresses
    assert cards["eth0"].mac.startswith("bc:24:11:ff:ff:")


def test_the_lab_and_the_node_reach_each_other_and_nothing_outside(node: ScratchNode) -> None:
    # Nothing listens there: the node itself refuses, which no other machine could do for it.
    connect = f"import socket; print(socket.socket().connect_ex(('{node.address}', 9)))"
    assert int(run(network.inside([sys.executable, "-c", connect]))) == errno.ECONNREFUSED
    node.run(["ping", "-c", "1", "-W", "2", network.ADDRESS])
    assert node.exec(["ping", "-c", "1", "-W", "1", "198.51.100.1"])[0] != 0


def test_commands_get_their_words_and_give_their_exit_code(node: ScratchNode) -> None:
    assert node.exec(["sh", "-c", 'cat; echo "$1" >&2; exit 7', "sh", "a b"], b"\xffin") == (7, b"\xffin", b"a b\n")
    assert node.exec(["no-such-command"])[0] == 127


def test_commands_run_in_the_nodes_own_cgroups(node: ScratchNode) -> None:
    groups = node.run(["cat", "/proc/self/cgroup"])
    leader = node.run(["cat", "/proc/1/cgroup"])
    assert [line.split(":")[2] for line in groups.splitlines()] == [line.split(":")[2] for line in leader.splitlines()]


def test_it_may_change_its_own_network_and_not_the_machine(node: ScratchNode) -> None:
    node.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"])
    before = Path("/proc/sys/fs/inotify/max_user_instances").read_text()
    for key in ("fs.inotify.max_user_instances=77", "vm.swappiness=1", "kernel.panic=99"):
        code, _, errors = node.exec(["sysctl", "-w", key])
        assert code != 0, key
        assert b"permission denied" in errors.lower() or b"read-only" in errors.lower()
    assert Path("/proc/sys/fs/inotify/max_user_instances").read_text() == before


def test_a_node_has_a_boot_id_of_its_own(node: ScratchNode) -> None:
    own = node.run(["cat", "/proc/sys/kernel/random/boot_id"])
    assert own != Path("/proc/sys/kernel/random/boot_id").read_text()


def test_pods_can_share_mounts_and_bpf_maps(node: ScratchNode) -> None:
    assert "shared" in node.run(["findmnt", "--noheadings", "--output", "PROPAGATION", "/"])
    assert node.run(["stat", "-f", "-c", "%T", "/sys/fs/bpf"]).strip() == "bpf_fs"
    node.run(["sh", "-c", "for c in /sys/fs/cgroup/*/; do mkdir $c/probe && rmdir $c/probe || exit 1; done"])


def test_salt_runs_the_checkouts_modules(node: ScratchNode) -> None:
    assert node.salt_call("test.echo", "a b") == "a b"
    assert "swap.active" in node.salt_call("sys.list_functions", "swap")


def test_it_cannot_be_started_twice(node: ScratchNode) -> None:
    with pytest.raises(MachineError, match="is already running"):
        NspawnMachines().start(node.machine_id, _config(node.machine_id))


def test_it_cannot_be_destroyed_while_it_runs(node: ScratchNode) -> None:
    with pytest.raises(MachineError, match="is running: stop it first"):
        NspawnMachines().destroy(node.machine_id)


def test_what_it_wrote_is_there_after_a_stop_and_a_start() -> None:
    machines = NspawnMachines()
    with scratch_node() as node:
        node.run(["sh", "-c", "echo kept > /root/file"])
        machines.stop(node.machine_id, force=False)
        assert not machines.running(node.machine_id)
        assert _traces(node.machine_id) == []
        machines.start(node.machine_id, _config(node.machine_id))
        assert (node.root / "root/file").read_text() == "kept\n"


def test_another_process_takes_over_what_is_running() -> None:
    with scratch_node() as node:
        assert NspawnMachines().running(node.machine_id)  # knows it from the record on disk only
        assert node.machine_id in NspawnMachines().running_ids()


def test_a_crashed_node_starts_again() -> None:
    machines = NspawnMachines()
    with scratch_node() as node:
        record = machines.paths.run / f"node-{node.machine_id}.json"
        process = processes.recorded(record)
        assert process
        os.kill(process.pid, signal.SIGKILL)
        assert processes.wait(process, 10)
        assert not machines.running(node.machine_id)
        with pytest.raises(MachineError, match="does not answer"):
            machines.exec(node.machine_id, ["true"], b"")
        machines.start(node.machine_id, _config(node.machine_id))
        assert machines.running(node.machine_id)


def test_nothing_is_left_of_a_node() -> None:
    with scratch_node() as node:
        assert _traces(node.machine_id) != []
    assert _traces(node.machine_id) == []
    assert not node.root.exists()


@pytest.mark.parametrize(
    ("machine_id", "cards", "words"),
    [
        (9228, (), "machine 9228 has no disk"),
        (9000, (NetworkCard(0, "A", "vmbr0"), NetworkCard(1, "B", "vmbr1")), "has 2 network cards, the lab has one"),
    ],
)
def test_what_cannot_start_says_why(
    node: ScratchNode, machine_id: int, cards: tuple[NetworkCard, ...], words: str
) -> None:
    config = MachineConfig("x", 1, 512, cards, {}, None, (), (), False)
    with pytest.raises(MachineError, match=words):
        NspawnMachines().start(machine_id, config)


def test_a_disk_larger_than_the_room_is_refused(node: ScratchNode) -> None:
    machines = NspawnMachines()
    machines.resize(node.machine_id, "scsi0", 20 * 2**30)
    with pytest.raises(MachineError, match="no space for scsi0"):
        machines.resize(node.machine_id, "scsi0", 10**15)


def _config(machine_id: int) -> MachineConfig:
    card = NetworkCard(0, f"BC:24:11:FF:FF:{machine_id % 100:02d}", "vmbr0")
    return MachineConfig("scratch", 1, 1024, (card,), {}, None, (), (), False)


def _traces(machine_id: int) -> list[str]:
    """What a node leaves on the machine while it runs: link, cgroups, nspawn's directory."""
    name = f"node-{machine_id}"
    links = run(network.inside(["ip", "-oneline", "link", "show"]))
    found = [f"link vb-{name}"] if f"vb-{name}@" in links else []
    found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/saltern-lab/{name}")]
    found += [str(path) for path in Path("/run/systemd/nspawn/propagate").glob(name)]
    return found
