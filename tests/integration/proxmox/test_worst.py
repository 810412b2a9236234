"""Proxmox at its worst: random creates and destroys, random faults, and nothing left that should not be there.

A run is repeated with its seed, which a failure names (``SALTERN_WORST_SEED``). The same seed plays the same commands
and faults; how those that run at once meet is left to the machine.
``SALTERN_WORST_SEQUENCES`` is the number of sequences (200).
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
import salt.utils.cloud
import yaml

from lab.proxmox import mishaps
from lab.proxmox.settings import GIB, Limits, Node, Settings, Storage
from tests.integration.proxmox.conftest import QUICK, Lab, Runner
from tests.integration.proxmox.estate import Estate, SeededMachines
from tests.integration.proxmox.salt_cloud_process import CHECKOUT, Command, Master, Running
from tests.integration.proxmox.worst_faults import Trouble, trouble

SEED = os.environ.get("SALTERN_WORST_SEED") or secrets.token_hex(4)
SEQUENCES = int(os.environ.get("SALTERN_WORST_SEQUENCES", "200"))
# A command that hangs would hang for ever; none of these takes as much as a second by itself.
COMMAND_S = 60
SETTINGS = Settings(
    nodes=(Node("pve", "127.0.0.1"), Node("pve2", "127.0.0.2")),
    storages=(
        Storage("local", "dir", ("iso",), 100 * GIB),
        Storage("ceph", "rbd", ("images",), 500 * GIB, shared=True),
    ),
    durations=QUICK,
    limits=Limits(clone_lock_s=0.5, storage_lock_s=0.5, agent_s=0, unauthorized_s=0, statistics_s=0.05),
)
ROLES = {"worst-ha": "load_balancer", "worst-m": "control_plane", "worst-w": "worker"}
NAMES = [*ROLES, "worst-w-05", "worst-w-06", "worst-w-07"]
SIZE = {"cpus": 2, "memory_gib": 16, "disk_gib": 20}
CLUSTER_SLS: dict[str, Any] = {
    "cluster": {
        "name": "worst",
        "network": {"cidr": "192.168.100.0/24", "gateway": "192.168.100.1", "dns": ["192.168.100.1"]},
        "worker_range": "192.168.100.160-192.168.100.165",
    },
    "nodes": {
        "worst-ha": {"role": "load_balancer", "address": "192.168.100.150", **SIZE},
        "worst-m": {"role": "control_plane", "address": "192.168.100.151", **SIZE, "proxmox_node": "pve2"},
        "worst-w": {"role": "worker", "address": "192.168.100.154", **SIZE},
    },
    "proxmox": {"storage": "ceph"},
    "operator": {"user": "k8s", "group": "k8s", "ssh_keys": ["ssh-ed25519 AAAAC3Nza+C1/lZDI1 operator@desk"]},
    "master": {"address": "127.0.0.1"},
    "metallb": {"pools": {"default": ["192.168.100.200-192.168.100.220"]}},
    "artefacts": {"disabled": ["k9s", "cilium-cli", "etcdctl"]},
}
# Sums of files that nothing here downloads: the shipped definition may leave them to the operator.
VERSIONS_SLS = {"artefacts": {chart: {"sha256": {"any": "0" * 64}} for chart in ("cilium-chart", "metallb-chart")}}


@dataclass
class Site:
    """A Proxmox, a master, and what belongs to whom."""

    lab: Lab
    machines: SeededMachines
    master: Master
    estate: Estate
    log: Path
    told: list[str] = field(default_factory=list)

    def provider(self, dice: Random | None = None) -> dict[str, Any]:
        """A provider file, with a password or a token."""
        common = {"driver": "proxmox", "url": "127.0.0.1", "port": self.lab.port, "verify_ssl": str(self.lab.ca)}
        common |= {"wait_for": "agent", "answer_timeout_s": COMMAND_S}
        name, _, value = self.lab.token.partition("=")
        if dice and dice.random() < 0.3:
            return common | {"token_name": name, "token_value": value}
        password = self.lab.datacentre.directory / "credentials" / "saltern@pve.password"
        return common | {"user": "saltern@pve", "password": password.read_text().strip()}

    def run(self, *commands: Command) -> list[dict[str, Any] | None]:
        """Type commands at once and wait for all."""
        self.told.append(f"  $ {' & '.join(map(str, commands))}")
        running = [Running(command, self.master, self.log) for command in commands]
        answers = [each.end(COMMAND_S) for each in running]
        self.told += [f"    {command.name}: {answer}" for command, answer in zip(commands, answers, strict=True)]
        return answers

    def bring(self, found: Trouble) -> None:
        """Let trouble begin."""
        self.told += [f"  fault: {each}" for each in found.told]
        self.machines.boots = not found.mute
        (self.lab.datacentre.directory / "faults.json").write_text(json.dumps(found.faults))

    def calm(self) -> None:
        """End it."""
        (self.lab.datacentre.directory / "faults.json").unlink()
        self.machines.boots = True
        self.machines.booted |= self.machines.on

    def lose(self, name: str) -> None:
        """Somebody removes a machine in Proxmox's web interface."""
        for guest in self.lab.datacentre.guests.all():
            if guest.name == name:
                self.told.append(f"  {name} ({guest.vmid}) is removed by hand")
                mishaps.vanish(self.lab.datacentre, guest.vmid)


@pytest.fixture
def site(runner: Runner, tmp_path: Path) -> Iterator[Site]:
    machines = SeededMachines()
    lab = runner.start(SETTINGS, machines)
    master = _master(tmp_path)
    estate = Estate(lab.datacentre, machines, master.pki_dir, master.state_dir, "worst", frozenset(ROLES))
    estate.furnish()
    yield Site(lab, machines, master, estate, tmp_path / "salt-cloud.log")
    (lab.datacentre.directory / "faults.json").unlink(missing_ok=True)


def _master(directory: Path) -> Master:
    pki, pillar, overlay = directory / "pki", directory / "pillar", directory / "overlay"
    for each in (pki / "minions", pillar, overlay):
        each.mkdir(parents=True)
    (pki / "master.pub").write_text("MASTER PUBLIC KEY\n")
    shutil.copy(CHECKOUT / "pillar" / "versions.sls", pillar)
    (pillar / "cluster.sls").write_text(yaml.safe_dump(CLUSTER_SLS))
    (overlay / "versions.sls").write_text(yaml.safe_dump(VERSIONS_SLS))
    keys = tuple(salt.utils.cloud.gen_keys(2048) for _ in range(7))
    return Master(pki, (str(pillar), str(overlay)), directory / "state", keys)


def test_nothing_is_left_that_should_not_be_there(site: Site) -> None:
    made = 0
    for number in range(1, SEQUENCES + 1):
        site.told = [f"sequence {number} of seed {SEED}"]
        dice = Random(f"{SEED}/{number}")  # noqa: S311  # must be repeatable, protects nothing
        made += _sequence(site, dice)
        _settle(site, dice)
    assert made >= SEQUENCES / 10, f"seed {SEED}: {made} machines were made in {SEQUENCES} sequences: too few to tell"


def _sequence(site: Site, dice: Random) -> int:
    """Play some commands while there is trouble. Returns: how many machines were made."""
    found = trouble(dice)
    provider = site.provider(dice) | found.provider
    made = 0
    site.bring(found)
    for _ in range(dice.choice((1, 1, 2))):
        name = dice.choice(NAMES)
        if dice.random() < 0.1:
            site.lose(name)
        commands = [_command(dice, name, provider)]
        while dice.random() < 0.25:
            commands.append(_command(dice, dice.choice(NAMES), provider))
        answers = site.run(*commands)
        alone = len(commands) == 1 and commands[0].dies_at is None
        if alone and found.harmless:
            assert "done" in (answers[0] or {}), _story(site, "nothing that went wrong excuses", [str(answers[0])])
        made += sum(isinstance((answer or {}).get("done"), dict) for answer in answers)
    site.calm()
    return made


def _command(dice: Random, name: str, provider: dict[str, Any]) -> Command:
    verb = "create" if dice.random() < 0.65 else "destroy"
    dies_at = dice.randint(1, 40) if dice.random() < 0.2 else None
    return _typed(verb, name, provider, dies_at, dice.random() < 0.5)


def _typed(verb: Any, name: str, provider: dict[str, Any], dies_at: int | None = None, after: bool = False) -> Command:
    role = ROLES.get(name, "worker")
    # salt-cloud puts the keys of provider and profile together; only a worker's has a size.
    return Command(verb, name, role, provider | (SIZE if role == "worker" else {}), dies_at, after)


def _settle(site: Site, dice: Random) -> None:
    """Nothing foreign is touched; the next command mends every name that is not as it should be; then all is well."""
    estate, log = site.estate, site.log
    estate.meet_strangers()
    assert not estate.touched(), _story(site, "what is not the driver's was touched", estate.touched())
    for name in NAMES:
        wrong = estate.wrong(name)
        if not wrong:
            continue
        site.told.append(f"  not as it should be: {wrong}")
        verb = dice.choice(("create", "destroy"))
        (answer,) = site.run(_typed(verb, name, site.provider()))
        assert answer and "done" in answer, _story(site, f"{verb} {name} failed without a fault", [str(answer)])
        assert not estate.wrong(name), _story(site, f"{verb} {name} did not mend it", estate.wrong(name))
    assert not estate.orphans(), _story(site, "orphans", estate.orphans())
    assert not estate.touched(), _story(site, "what is not the driver's was touched", estate.touched())
    log.write_text("")


def _story(site: Site, what: str, found: list[str]) -> str:
    story = "\n".join(site.told)
    log = site.log.read_text() if site.log.exists() else ""
    repeat = f"Again: SALTERN_WORST_SEED={SEED} pytest tests/integration/proxmox/test_worst.py"
    return f"{what}: {found}\n{story}\n--- what salt-cloud said:\n{log}\n{repeat}"
