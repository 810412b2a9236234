"""The HA manager's part: it is asked, says yes, and acts later."""

from __future__ import annotations

from lab.proxmox import power
from lab.proxmox.access import ROOT, Identity
from lab.proxmox.datacentre import Datacentre
from lab.proxmox.tasks import Task


def request(datacentre: Datacentre, vmid: int, state: str, task: Task) -> None:
    """Note the wanted state of a managed VM (``hastart``, ``hastop``); the task is over before the VM changes."""
    task.say(f"Requesting HA {'start' if state == 'started' else 'stop'} for VM {vmid}")
    datacentre.ha.change(f"vm:{vmid}", {"state": state})
    bring_about(datacentre, vmid, state)


def bring_about(datacentre: Datacentre, vmid: int, state: str) -> None:
    """Start the task with which the manager makes a wanted state true, when the VM is not in it."""
    guest = datacentre.guests.find(vmid)
    if guest is None or datacentre.running(guest) == (state == "started"):
        return

    def act(task: Task) -> None:
        # The manager looks at its requests every few seconds only.
        task.pace(datacentre.settings.durations.ha_reaction_s)
        if state == "started":
            power.start(datacentre, vmid, guest.node, task)
        else:
            limit_s = datacentre.settings.limits.shutdown_s
            power.shutdown(datacentre, vmid, guest.node, limit_s, True, task)

    kind = "qmstart" if state == "started" else "qmshutdown"
    datacentre.tasks.start(guest.node, kind, str(vmid), Identity(ROOT), act)
