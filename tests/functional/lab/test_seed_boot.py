"""A machine's first boots: cloud-init of a real node reads the product's own seed image."""

from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from lab.nodes.machines import TEMPLATE_ID, NspawnMachines
from lab.nodes.scratch import ScratchNode, address_of, free_id, prepare, wait_booted
from lab.proxmox.machines import MachineConfig, NetworkCard
from saltern.model import MachineSpec
from saltern.proxmox import seed

MAC = "BC:24:11:0A:0B:0C"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMeTW0ee6o7pLg0O2sR5NI1LKdU4U9K4Mk4jZPX153w8 operator"


def spec(name: str, address: str) -> MachineSpec:
    lab = IPv4Address("192.168.100.1")
    return MachineSpec(
        name=name, role="worker", arch="amd64", cpus=2, memory_mib=1024, disk_gib=20, address=IPv4Address(address),
        prefix_length=24, gateway=lab, dns=(lab,), tags=(), proxmox_node="pve", template="debian-12-saltern",
        bridge="vmbr0", storage="local-lvm", iso_storage="local", clone="linked", pool=None, onboot=True,
        disk_device="scsi0",
    )  # fmt: skip


def write_seed(iso: Path, machine_id: int, name: str, instance_id: str) -> None:
    minion = seed.MinionIdentity("192.168.100.1", "PRIVATE KEY\n", "PUBLIC KEY\n", "MASTER KEY\n")
    operator = seed.Operator("k8s", "k8s", (KEY,))
    iso.write_bytes(seed.image(spec(name, address_of(machine_id)), MAC, minion, operator, instance_id))


def config(*isos: Path) -> MachineConfig:
    return MachineConfig("node", 2, 1024, (NetworkCard(0, MAC, "vmbr0"),), {}, None, (), isos, False)


@pytest.fixture(scope="module")
def machines() -> NspawnMachines:
    machines = NspawnMachines()
    prepare(machines)
    return machines


@pytest.fixture(scope="module")
def seeded(machines: NspawnMachines, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ScratchNode, Path]]:
    """A node that was started with a seed in its drive, once cloud-init is done; and the image."""
    machine_id = free_id(machines)
    iso = tmp_path_factory.mktemp("seed") / "seed.iso"
    write_seed(iso, machine_id, "seeded-01", "first")
    machines.clone(TEMPLATE_ID, machine_id, full=False)
    try:
        machines.start(machine_id, config(iso))
        yield finished(machines, machine_id), iso
    finally:
        machines.stop(machine_id, force=True)
        machines.destroy(machine_id)


def finished(machines: NspawnMachines, machine_id: int) -> ScratchNode:
    """The node, booted and through with cloud-init."""
    wait_booted(machines, machine_id)
    node = ScratchNode(machines, machine_id)
    node.exec(["cloud-init", "status", "--wait"])
    return node


def test_the_seed_is_read_completely(seeded: tuple[ScratchNode, Path]) -> None:
    node, _ = seeded
    assert "status: done" in node.run(["cloud-init", "status", "--long"])
    assert node.run(["systemctl", "is-system-running"]).strip() == "running"
    assert node.run(["hostname"]).strip() == "seeded-01"


def test_the_address_is_the_seeds(seeded: tuple[ScratchNode, Path], machines: NspawnMachines) -> None:
    node, _ = seeded
    cards = {card.name: card for card in machines.interfaces(node.machine_id)}
    assert cards["eth0"].mac == MAC.lower()
    assert f"{node.address}/24" in cards["eth0"].addresses
    assert "nameserver 192.168.100.1" in node.run(["cat", "/run/systemd/resolve/resolv.conf"])
    assert "default via 192.168.100.1 dev eth0" in node.run(["ip", "route"])


def test_the_operator_may_log_in_and_become_root(seeded: tuple[ScratchNode, Path]) -> None:
    node, _ = seeded
    assert node.run(["cat", "/home/k8s/.ssh/authorized_keys"]).strip().endswith(KEY)
    assert node.run(["su", "k8s", "-c", "sudo -n id -u"]).strip() == "0"


def test_the_minion_has_its_identity_and_is_started(seeded: tuple[ScratchNode, Path]) -> None:
    node, _ = seeded
    assert node.run(["cat", "/etc/salt/pki/minion/minion.pem"]) == "PRIVATE KEY\n"
    assert node.run(["stat", "-c", "%a", "/etc/salt/pki/minion/minion.pem"]).strip() == "400"
    assert node.run(["systemctl", "is-enabled", "salt-minion"]).strip() == "enabled"


def test_a_private_key_is_nowhere_for_everybody(seeded: tuple[ScratchNode, Path]) -> None:
    node, _ = seeded
    found = node.run(["grep", "-rlF", "PRIVATE KEY\\n", "/var/lib/cloud", "/var/log", "/run/cloud-init", "/etc"], "")
    readable = 'for f; do su nobody -s /bin/sh -c "test -r $f" && echo $f; done; true'
    assert node.run(["sh", "-c", readable, "sh", *found.split()]) == ""


def test_an_ejected_seed_leaves_the_machine_as_it_is(
    seeded: tuple[ScratchNode, Path], machines: NspawnMachines
) -> None:
    node, _ = seeded
    host_key = node.run(["cat", "/etc/ssh/ssh_host_ed25519_key.pub"])
    machines.stop(node.machine_id, force=True)
    machines.start(node.machine_id, config())
    again = finished(machines, node.machine_id)
    assert again.run(["hostname"]).strip() == "seeded-01"
    assert again.run(["cat", "/etc/ssh/ssh_host_ed25519_key.pub"]) == host_key
    cards = {card.name: card for card in machines.interfaces(node.machine_id)}
    assert f"{node.address}/24" in cards["eth0"].addresses
    assert not (again.root / "var/lib/cloud/seed/nocloud").exists()


def test_a_new_instance_id_makes_it_a_new_machine(seeded: tuple[ScratchNode, Path], machines: NspawnMachines) -> None:
    node, iso = seeded
    host_key = node.run(["cat", "/etc/ssh/ssh_host_ed25519_key.pub"])
    # As in a template: the seed starts it. One that already looks for its master takes 20 s to stop for the restart.
    node.run(["systemctl", "disable", "salt-minion"])
    machines.stop(node.machine_id, force=True)
    write_seed(iso, node.machine_id, "seeded-02", "second")
    machines.start(node.machine_id, config(iso))
    again = finished(machines, node.machine_id)
    assert again.run(["hostname"]).strip() == "seeded-02"
    assert again.run(["cat", "/etc/ssh/ssh_host_ed25519_key.pub"]) != host_key
