"""Machines that are marked for it are switched on when the lab's host starts."""

from __future__ import annotations

import pytest

from lab import onboot
from tests.integration.proxmox.conftest import Lab


def test_marked_machines_are_switched_on_and_no_others(lab: Lab) -> None:
    lab.vm(101, "marked", onboot=1)
    lab.vm(102, "unmarked")
    api = lab.proxmoxer(user="root@pam", password=lab.password)
    assert onboot.switch_on(api) == ["marked"]
    assert [lab.machines.running(vmid) for vmid in (101, 102)] == [True, False]
    assert onboot.switch_on(api) == []


def test_a_machine_that_does_not_start_is_named(lab: Lab) -> None:
    root = lab.vm(101, "marked", onboot=1)
    assert root.put("/nodes/pve/qemu/101/config", lock="backup").status == 200
    api = lab.proxmoxer(user="root@pam", password=lab.password)
    with pytest.raises(RuntimeError, match=r"marked did not start: VM is locked \(backup\)"):
        onboot.switch_on(api)
