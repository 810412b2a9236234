"""What there may be on Proxmox and on the master, and what of it is not the driver's: asked of the emulator itself."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lab.proxmox import config_values
from lab.proxmox.datacentre import Datacentre
from lab.proxmox.guests import Guest
from lab.proxmox.machines import Interface
from lab.proxmox.volumes import Volume
from saltern.rows import Rows
from tests.integration.proxmox.fake_machines import FakeMachines

GIB = 1024**3
TEMPLATE_ID = 9000
STRANGER = re.compile(r"stranger-\d+")
FOREIGN_MACHINES = {
    100: {"name": "db", "memory": "1024", "scsi0": "ceph:vm-100-disk-0,size=10G", "protection": "1"},
    101: {"name": "worst-w-051", "ide2": "local:iso/debian.iso,media=cdrom", "scsi0": "ceph:vm-101-disk-0,size=1G"},
    103: {"name": "another-w-05", "ide2": "local:iso/worst-w-05-seed.iso,media=cdrom", "memory": "512"},
}
# The last of them is in no machine's configuration.
FOREIGN_DISKS = {"ceph:vm-100-disk-0": 10 * GIB, "ceph:vm-101-disk-0": GIB, "ceph:vm-100-disk-7": GIB}
# Named nearly as the driver names its own.
FOREIGN_IMAGES = ("debian.iso", "worst-w-05-seed.iso", "worst-w-05-seed-0123456789abcdef.iso")
FOREIGN_KEYS = ("salt-minion-of-the-desk", "worst-w-051")


class SeededMachines(FakeMachines):
    """Machines that answer with the address of the seed that they booted from, which goes with them."""

    def destroy(self, machine_id: int) -> None:
        super().destroy(machine_id)
        self.seeds.pop(machine_id, None)

    def interfaces(self, machine_id: int) -> list[Interface]:
        self._check_booted(machine_id)
        network = json.loads(self.seeds[machine_id]["network-config"])["ethernets"]["eth0"]
        return [Interface("eth0", network["match"]["macaddress"], tuple(network["addresses"]))]


@dataclass
class Estate:
    """Everything that can be left behind somewhere.

    Args:
        datacentre, machines: the emulator and what is behind it.
        pki_dir: the master's keys.
        state_dir: the product's: records of creates and rows.
        tabled: names that have a row of the operator's.
        foreign: what the driver did not make, by a name, as a sum of its bytes.
    """

    datacentre: Datacentre
    machines: FakeMachines
    pki_dir: Path
    state_dir: Path
    cluster: str
    tabled: frozenset[str]
    foreign: dict[str, str] = field(default_factory=dict)

    def furnish(self) -> None:
        """Put in what others have there, and remember it."""
        for vmid, config in FOREIGN_MACHINES.items():
            self.datacentre.guests.add(Guest(vmid, "pve", dict(config)))
            self.machines.machines.add(vmid)
        self.machines.on.add(100)
        for volid, size in FOREIGN_DISKS.items():
            self.datacentre.volumes.add_image(Volume(volid, "images", "raw", size, 0, int(volid.split("-")[1])))
        folder = self.datacentre.volumes.folder("local", "iso")
        folder.mkdir(parents=True)
        for name in FOREIGN_IMAGES:
            (folder / name).write_bytes(name.encode() * 100)
        for name in FOREIGN_KEYS:
            (self.pki_dir / "minions" / name).write_text(f"the key of {name}")
        self.foreign = dict(self._foreign())

    def meet_strangers(self) -> None:
        """Remember the machines that took a number; they are foreign from now on."""
        for name, content in self._foreign():
            if STRANGER.search(name):
                self.foreign.setdefault(name, content)

    def touched(self) -> list[str]:
        """What was foreign and is not as it was."""
        now = dict(self._foreign())
        return sorted(name for name, content in self.foreign.items() if now.get(name) != content)

    def wrong(self, name: str) -> list[str]:
        """What is of one machine and should not be, or should and is not; empty when all is well."""
        guests = [guest for guest in self._guests() if guest.config.get("name") == name]
        found = [f"record {path.read_text()}" for path in [self._record(name)] if path.exists()]
        if len(guests) > 1:
            found.append(f"machines {[guest.vmid for guest in guests]}")
        elif guests:
            found += self._wrong_machine(guests[0])
        else:
            found += [f"accepted key, no machine: {name}"] if self._key(name) else []
            found += [f"row, no machine: {name}"] if self._row(name) else []
        return [f"{name}: {each}" for each in found]

    def orphans(self) -> list[str]:
        """Machines, disks, images and keys that belong to nobody."""
        guests = self._guests()
        known = {guest.vmid for guest in guests}
        behind = self.machines.machines - {TEMPLATE_ID, *FOREIGN_MACHINES}
        everybody = self.datacentre.guests.all()
        used = {drive.volume for guest in everybody for drive in config_values.drives(guest.config).values()}
        named = {str(guest.config.get("name")) for guest in guests}
        return [
            *(f"half-made VM {guest.vmid}" for guest in guests if guest.lock or "name" not in guest.config),
            *(f"machine {vmid} without a VM" for vmid in sorted(behind - known)),
            *(f"disk {volid}" for volid in self._volumes("ceph") if volid not in used and volid not in FOREIGN_DISKS),
            *(f"image {volid}" for volid in self._volumes("local") if volid.split("/")[1] not in FOREIGN_IMAGES),
            *(f"fragment of an upload {path.name}" for path in self.datacentre.uploads.glob("*")),
            *(f"accepted key of {name}, which is no machine" for name in sorted(self._keys() - named)),
            *(f"row of {name}, which is no machine" for name in sorted(set(self._rows()) - named)),
        ]

    def _guests(self) -> list[Guest]:
        return [
            guest
            for guest in self.datacentre.guests.all()
            if guest.vmid not in {TEMPLATE_ID, *FOREIGN_MACHINES} and not STRANGER.fullmatch(guest.name)
        ]

    def _volumes(self, storage: str) -> list[str]:
        return [volume.volid for volume in self.datacentre.volumes.list(storage)]

    def _wrong_machine(self, guest: Guest) -> Iterator[str]:
        name = guest.name
        seed = self.machines.seeds.get(guest.vmid, {})
        drives = config_values.drives(guest.config)
        if not seed:
            yield f"VM {guest.vmid} was never started"
            return
        own_key = next(
            file["content"] for file in _user_data(seed)["write_files"] if file["path"].endswith("/minion.pub")
        )
        if self._key(name) != own_key:
            yield f"VM {guest.vmid} has another key than is accepted" if self._key(name) else "no accepted key"
        if str(drives["ide2"]) != "none,media=cdrom":
            yield f"VM {guest.vmid} still has {drives['ide2']}"
        if drives["scsi0"].size_bytes != 20 * GIB:
            yield f"VM {guest.vmid} has a disk of {drives['scsi0'].size_bytes}"
        address = json.loads(seed["network-config"])["ethernets"]["eth0"]["addresses"][0]
        if f"ip={address}," not in guest.config.get("ipconfig0", ""):
            yield f"VM {guest.vmid} was told {address} and has {guest.config.get('ipconfig0')}"
        if name not in self.tabled and self._row(name).get("address") != address.split("/")[0]:
            yield f"VM {guest.vmid} has {address}, its row is {self._row(name)}"

    def _record(self, name: str) -> Path:
        return self.state_dir / self.cluster / "machines" / f"{name}.json"

    def _row(self, name: str) -> dict[str, Any]:
        return self._rows().get(name, {})

    def _rows(self) -> dict[str, dict[str, Any]]:
        return Rows(self.state_dir, self.cluster).rows()

    def _key(self, name: str) -> str:
        path = self.pki_dir / "minions" / name
        return path.read_text() if path.exists() else ""

    def _keys(self) -> set[str]:
        return {path.name for path in (self.pki_dir / "minions").iterdir()} - set(FOREIGN_KEYS)

    def _foreign(self) -> Iterator[tuple[str, str]]:
        directory = self.datacentre.directory
        folder = self.datacentre.volumes.folder("local", "iso")
        paths = [directory / "guests" / f"{vmid}.json" for vmid in (TEMPLATE_ID, *FOREIGN_MACHINES)]
        paths += [folder / name for name in FOREIGN_IMAGES]
        paths += [self.pki_dir / "minions" / name for name in FOREIGN_KEYS]
        for path in paths:
            yield path.name, hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "gone"
        volumes = {volume.volid: volume for volume in self.datacentre.volumes.list("ceph")}
        for volid in (f"ceph:base-{TEMPLATE_ID}-disk-0", *FOREIGN_DISKS):
            yield volid, str(asdict(volumes[volid])) if volid in volumes else "gone"
        for vmid in sorted(FOREIGN_MACHINES):
            there = vmid in self.machines.machines
            yield f"machine {vmid}", f"{'there' if there else 'gone'}, {'on' if self.machines.running(vmid) else 'off'}"
        for guest in self.datacentre.guests.all():
            if STRANGER.fullmatch(guest.name):
                content = (directory / "guests" / f"{guest.vmid}.json").read_bytes()
                yield guest.name, hashlib.sha256(content).hexdigest()
                disk = config_values.drives(guest.config)["scsi0"].volume
                yield f"disk of {guest.name}", str(asdict(volumes[disk])) if disk in volumes else "gone"


def _user_data(seed: dict[str, str]) -> dict[str, Any]:
    return dict(yaml.safe_load(seed["user-data"]))
