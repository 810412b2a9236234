"""Machines that are marked for it are switched on when the lab's host starts."""

from __future__ import annotations

import pytest

from lab import onboot
from lab.proxmox.machines import MachineConfig, MachineError
from tests.integration.proxmox.conftest import Lab


def test_marked_machines_are_switched_on_and_no_others(lab: Lab) -> None:
    lab.vm(101, "marked", onboot=1)
    lab.vm(102, "unmarked")
    api = lab.proxmoxer(user="root@pam", password=lab.password)
    assert onboot.switch_on(api) == ["marked"]
    assert [lab.machines.running(vmid) for vmid in (101, 102)] == [True, False]
    assert onboot.switch_on(api) == []


def test_a_machine_that_does_not_start_is_named(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(machine_id: int, config: MachineConfig) -> None:
        raise MachineError(f"no power for {config.name}")

    lab.vm(101, "marked", onboot=1)
    monkeypatch.setattr(lab.machines, "start", refuse)
    api = lab.proxmoxer(user="root@pam", password=lab.password)
    with pytest.raises(RuntimeError, match="marked did not start: no power for marked"):
        onboot.switch_on(api)
