"""A machine of the definition in Proxmox's words: the configuration it gets, and how one that exists differs."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from saltern.proxmox.inventory import GIB, MIB, split_options

if TYPE_CHECKING:
    from saltern.model import MachineSpec

# The prefix that is registered for Proxmox's own machines.
_MAC_PREFIX = "BC:24:11"
_UNITS = {"K": 1024, "M": MIB, "G": GIB, "T": 1024 * GIB}
# Where the seed image goes when the template has no drive for it; ide2 is Proxmox's own habit.
_SEED_DRIVES = ("ide2", "ide0", "ide1", "ide3")
NO_DISC = "none,media=cdrom"


def new_mac() -> str:
    """A random MAC address of Proxmox's range, e.g. "BC:24:11:4F:00:1A"."""
    return ":".join([_MAC_PREFIX, *(f"{byte:02X}" for byte in secrets.token_bytes(3))])


def settings(spec: MachineSpec, mac: str, operator: str, ssh_keys: list[str], seed: dict[str, str]) -> dict[str, Any]:
    """Everything that a clone is told, in one call to its config.

    Args:
        spec: the machine.
        mac: MAC address of its network interface.
        operator: user that Proxmox's own cloud-init would make.
        ssh_keys: that user's public keys, one line each.
        seed: the drive of the seed image: {"ide2": "local:iso/x.iso,media=cdrom"}.

    Returns: parameters for POST nodes/{node}/qemu/{vmid}/config. The boot order is the template's.
    """
    wanted: dict[str, Any] = {
        "sockets": 1,
        "cores": spec.cpus,
        "memory": spec.memory_mib,
        "net0": f"virtio={mac},bridge={spec.bridge}",
        "ipconfig0": _ipconfig(spec),
        "nameserver": " ".join(str(server) for server in spec.dns),
        "ciuser": operator,
        # Stored percent-encoded, and form-encoded once more on the wire; a plus would be refused.
        "sshkeys": quote("\n".join(ssh_keys), safe="") or None,
        "ciupgrade": 0,
        "tags": ";".join(spec.tags) or None,
        "onboot": int(spec.onboot),
        "agent": 1,
    }
    return wanted | seed


def seed_drive(config: dict[str, Any]) -> str:
    """The drive that takes the seed image, given the template's configuration.

    A drive with Proxmox's own cloud-init image comes first, since two images labelled cidata would leave it to chance
    which one the machine reads; then an empty CD drive; then a free place.
    """
    drives = {key: str(value) for key, value in config.items() if key.rstrip("0123456789") in ("ide", "sata", "scsi")}
    ours = [key for key, value in sorted(drives.items()) if "cloudinit" in value.split(",")[0]]
    discs = [key for key, value in sorted(drives.items()) if "media=cdrom" in value.split(",")]
    free = [key for key in _SEED_DRIVES if key not in drives]
    return (ours + discs + free)[0]


def disk_gib(config: dict[str, Any], device: str) -> float:
    """Size of a disk in GiB, by its `size=`; 0 when the machine has no such disk."""
    size = split_options(str(config.get(device, ""))).get("size", "")
    if not size:
        return 0
    if size[-1] in _UNITS:
        return float(size[:-1]) * _UNITS[size[-1]] / GIB
    return int(size) / GIB


def differences(spec: MachineSpec, config: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Compare a machine that exists with the definition.

    What only counts at the first boot (user, keys, seed image) is left out, and so are settings that the
    definition does not make.

    Returns: {setting: (as it is, as defined)}; empty when it is as defined.
    """
    net = split_options(str(config.get("net0", "")))
    cores = int(config.get("cores", 1)) * int(config.get("sockets", 1))
    address = split_options(str(config.get("ipconfig0", "")))
    wanted_address = split_options(_ipconfig(spec))
    pairs = {
        "cpus": (str(cores), str(spec.cpus)),
        "memory_mib": (str(split_options(str(config.get("memory", "512"))).get("", "?")), str(spec.memory_mib)),
        f"disk_gib ({spec.disk_device})": (f"{disk_gib(config, spec.disk_device):g}", f"{spec.disk_gib:g}"),
        "bridge": (net.get("bridge", "none"), spec.bridge),
        "address": (address.get("ip", "none"), wanted_address["ip"]),
        "gateway": (address.get("gw", "none"), wanted_address["gw"]),
        "tags": (_tags(config.get("tags", "")), _tags(";".join(spec.tags))),
        "onboot": (str(int(config.get("onboot", 0))), str(int(spec.onboot))),
        "agent": (_agent(str(config.get("agent", "0"))), "1"),
    }
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def told(found: dict[str, tuple[str, str]]) -> str:
    """Differences as one line: "memory_mib is 8192, defined 16384; .."."""
    return "; ".join(f"{key} is {actual}, defined {wanted}" for key, (actual, wanted) in found.items())


def _ipconfig(spec: MachineSpec) -> str:
    return f"ip={spec.address}/{spec.prefix_length},gw={spec.gateway}"


def _tags(text: object) -> str:
    """Proxmox stores tags in lower case, once each, sorted."""
    return ";".join(sorted({tag.lower() for tag in str(text).replace(",", ";").split(";") if tag}))


def _agent(value: str) -> str:
    options = split_options(value)
    return options.get("", options.get("enabled", "0"))


def seed_name(name: str) -> str:
    """A new file name for a machine's seed image; no other image has it, since an upload would replace that."""
    return f"{name}-seed-{secrets.token_hex(8)}.iso"


def seeds_of(name: str, config: dict[str, Any]) -> list[str]:
    """The volumes of a machine's own seed images that are still in its drives: ["local:iso/NAME-seed-..iso"]."""
    pattern = re.compile(rf"[^:]+:iso/{re.escape(name)}-seed-[0-9a-f]{{16}}\.iso$")
    volumes = [split_options(str(value)).get("", "") for value in config.values()]
    return [volume for volume in volumes if pattern.match(volume)]
