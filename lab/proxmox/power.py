"""Switching VMs on and off: the work of the power tasks."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator

from lab.proxmox import cloudinit, config_values
from lab.proxmox.datacentre import Datacentre
from lab.proxmox.errors import ProxmoxError
from lab.proxmox.guests import Guest
from lab.proxmox.locks import storage_lock_timeout
from lab.proxmox.machines import MachineConfig, MachineError, NetworkCard
from lab.proxmox.tasks import Task


def start(datacentre: Datacentre, vmid: int, node: str, task: Task, skip_lock: bool = False) -> None:
    """Switch a VM on (``qmstart``).

    Raises:
        ProxmoxError: unknown, locked, a template, or running already. MachineError: the machine's own reason.
    """
    with datacentre.locks.guest(vmid, datacentre.settings.limits.guest_lock_s):
        guest = datacentre.guests.get(vmid, node)
        if not skip_lock:
            guest.check_lock()
        if guest.is_template:
            raise ProxmoxError("you can't start a vm if it's a template")
        if datacentre.running(guest):
            raise ProxmoxError(f"VM {vmid} already running")
        _switch_on(datacentre, guest, task)


def _switch_on(datacentre: Datacentre, guest: Guest, task: Task) -> None:
    guest.apply_pending()
    task.pace(datacentre.settings.durations.start_s)
    datacentre.machines.start(guest.vmid, machine_config(datacentre, guest))
    guest.started_at = datacentre.clock()
    guest.seed = cloudinit.seed_options(guest.config)
    datacentre.guests.save(guest)


def machine_config(datacentre: Datacentre, guest: Guest) -> MachineConfig:
    """Return what the machine of a VM is told at its start; builds the cloud-init drive when there is one.

    Raises:
        ProxmoxError: a CD drive holds an image that does not exist any more.
    """
    config = guest.config
    isos = []
    has_cloudinit_drive = False
    for drive in config_values.drives(config).values():
        if drive.is_cloudinit:
            has_cloudinit_drive = True
            build_cloudinit_drive(datacentre, guest)
            isos.append(datacentre.cloudinit_iso(guest.vmid))
        elif drive.is_cdrom and drive.has_medium:
            datacentre.volumes.get(drive.volume)
            path = datacentre.volumes.file(drive.volume)
            isos += [path] if path else []
    return MachineConfig(
        name=config.get("name", f"VM{guest.vmid}"),
        cores=int(config.get("cores", "1")) * int(config.get("sockets", "1")),
        memory_mib=int(config.get("memory", "512")),
        nets=tuple(
            NetworkCard(index, mac, config_values.card_bridge(config[f"net{index}"]))
            for index, mac in cloudinit.cards(config).items()
        ),
        ipconfig={int(key[8:]): config[key] for key in sorted(config) if re.fullmatch(r"ipconfig\d+", key)},
        ciuser=config.get("ciuser"),
        sshkeys=config_values.ssh_key_lines(config.get("sshkeys", "")),
        iso_paths=tuple(isos),
        has_cloudinit_drive=has_cloudinit_drive,
    )


def build_cloudinit_drive(datacentre: Datacentre, guest: Guest) -> None:
    """Write the cloud-init drive of a VM from its present options."""
    cloudinit.write_iso(cloudinit.documents(guest.config, guest.vmid), datacentre.cloudinit_iso(guest.vmid))


@contextlib.contextmanager
def _held(datacentre: Datacentre, vmid: int, node: str, skip_lock: bool = False) -> Iterator[Guest]:
    """Hold a VM for one action at a time.

    Raises:
        ProxmoxError: unknown, or locked in its configuration (unless ``skip_lock``), or in use until the time-out.
    """
    with datacentre.locks.guest(vmid, datacentre.settings.limits.guest_lock_s):
        guest = datacentre.guests.get_for_action(vmid, node)
        if not skip_lock:
            guest.check_lock()
        yield guest


def stop(datacentre: Datacentre, vmid: int, node: str, task: Task, skip_lock: bool = False) -> None:
    """Pull the plug of a VM (``qmstop``); one that is off already is fine."""
    with _held(datacentre, vmid, node, skip_lock) as guest:
        if not datacentre.running(guest):
            task.say(f"VM {vmid} not running")
            return
        task.pace(datacentre.settings.durations.stop_s)
        datacentre.machines.stop(vmid, force=True)
        _switched_off(datacentre, guest)


def shutdown(datacentre: Datacentre, vmid: int, node: str, timeout_s: float, force: bool, task: Task) -> None:
    """Ask a VM to shut down (``qmshutdown``).

    Args:
        timeout_s: how long to wait for it.
        force: pull the plug after that.

    Raises:
        ProxmoxError: it is still on after ``timeout_s``, and ``force`` is False.
    """
    with _held(datacentre, vmid, node) as guest:
        if datacentre.running(guest):
            _shut_down(datacentre, guest, timeout_s, force, task)


def _shut_down(datacentre: Datacentre, guest: Guest, timeout_s: float, force: bool, task: Task) -> None:
    if not _asked_to_stop(datacentre, guest.vmid, timeout_s):
        if not force:
            raise ProxmoxError("VM quit/powerdown failed - got timeout")
        task.say("VM quit/powerdown failed - terminating now with SIGTERM")
        datacentre.machines.stop(guest.vmid, force=True)
    _switched_off(datacentre, guest)


def _asked_to_stop(datacentre: Datacentre, vmid: int, timeout_s: float) -> bool:
    """Ask the machine to shut down, wait up to ``timeout_s``, and say whether it is off. It may go off later too."""

    def ask() -> None:
        # A machine that did not go off in the time that its backend grants: the same to the caller as one that hangs.
        with contextlib.suppress(MachineError):
            datacentre.machines.stop(vmid, force=False)
            ended.set()

    ended = threading.Event()
    asking = threading.Thread(target=ask, name=f"shutdown-{vmid}", daemon=True)
    asking.start()
    asking.join(timeout_s)
    return ended.is_set()


def _switched_off(datacentre: Datacentre, guest: Guest) -> None:
    """What waited for the machine to be off becomes true now."""
    guest.apply_pending()
    guest.started_at = 0.0
    datacentre.guests.save(guest)


def reboot(datacentre: Datacentre, vmid: int, node: str, timeout_s: float, task: Task) -> None:
    """Shut a VM down and start it again (``qmreboot``): pending values become true."""
    with _held(datacentre, vmid, node) as guest:
        _shut_down(datacentre, guest, timeout_s, False, task)
        _switch_on(datacentre, guest, task)


def reset(datacentre: Datacentre, vmid: int, node: str, task: Task, skip_lock: bool = False) -> None:
    """Press a VM's reset button (``qmreset``): pending values go on waiting."""
    with _held(datacentre, vmid, node, skip_lock) as guest:
        datacentre.machines.stop(vmid, force=True)
        task.pace(datacentre.settings.durations.other_s)
        datacentre.machines.start(vmid, machine_config(datacentre, guest))
        guest.started_at = datacentre.clock()
        datacentre.guests.save(guest)


def destroy(
    datacentre: Datacentre,
    vmid: int,
    node: str,
    purge: bool,
    task: Task,
    skip_lock: bool = False,
    disks_left: str | None = None,
) -> None:
    """Remove a VM with its disks (``qmdestroy``); with ``disks_left`` on purpose without them, which is no failure.

    Raises:
        ProxmoxError: locked, or a template that linked clones need.
    """
    with _held(datacentre, vmid, node, skip_lock) as guest:
        if datacentre.running(guest):
            raise ProxmoxError(f"VM {vmid} is running - destroy failed")
        for volume in datacentre.volumes.of_guest(vmid):
            datacentre.volumes.check_not_base(volume.volid)
        task.pace(datacentre.settings.durations.destroy_s)
        datacentre.machines.destroy(vmid)
        if purge and datacentre.ha.is_managed(vmid):
            datacentre.ha.remove(f"vm:{vmid}")
        if purge:
            datacentre.access.remove_path(f"/vms/{vmid}")
        if disks_left:
            _tell_of_disks(datacentre, vmid, task.warn if disks_left == "warnings" else task.say)
        datacentre.forget_guest(vmid, with_disks=not disks_left)


def _tell_of_disks(datacentre: Datacentre, vmid: int, tell: Callable[[str], None]) -> None:
    """Say of each disk why it stays; the second try, for disks without a VM, says the reason alone."""
    for volume in datacentre.volumes.of_guest(vmid):
        shared = datacentre.volumes.storage(volume.storage).shared
        why = storage_lock_timeout(volume.storage, shared_storage=shared)
        tell(f"Could not remove disk '{volume.volid}', check manually: {why}")
        tell(str(why))
