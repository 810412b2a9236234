"""What a machine is to be: rows of the table, further workers, and addresses that no two creates may share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from saltern.proxmox.create import CreateFailedError, Creation
from saltern.proxmox.errors import RefusedError
from saltern.proxmox.journal import Journal
from saltern.proxmox.placement import Placement
from saltern.rows import Rows
from tests.unit.clouds.conftest import FakeMinions
from tests.unit.clouds.fake_proxmox import FakeProxmox, Guest


def used(name: str, ipconfig: str) -> Guest:
    return Guest({"name": name, "ipconfig0": ipconfig, "scsi0": "d,size=20G"})


def test_a_row_of_the_table_is_taken_as_it_is(creation: Creation, fake: FakeProxmox, place: Any) -> None:
    created = creation.create("saw-k8s-m-02", place("control_plane", cpus=9, memory_gib=9, disk_gib=99))
    assert created.address == "192.168.100.152"
    assert fake.guests[100].config["cores"] == "2"


def test_a_further_worker_gets_the_profile_s_size_and_the_next_address(
    creation: Creation, fake: FakeProxmox, place: Any
) -> None:
    fake.guests[200] = used("a", "ip=192.168.100.160/24,gw=192.168.100.1")
    fake.guests[201] = used("b", "ip=dhcp,ip6=auto")
    fake.guests[202] = used("c", "ip=192.168.100.162/24")
    created = creation.create("saw-k8s-w-05", place("worker", cpus=4, memory_gib=32, disk_gib=60))
    config = fake.guests[created.machine.vmid].config
    assert created.address == "192.168.100.161"
    assert config["ipconfig0"] == "ip=192.168.100.161/24,gw=192.168.100.1"
    assert (config["cores"], config["memory"], config["scsi0"].split("size=")[1]) == ("4", "32768", "60G")


def test_without_a_size_a_worker_is_like_those_of_the_table(creation: Creation, fake: FakeProxmox, place: Any) -> None:
    created = creation.create("saw-k8s-w-05", place("worker"))
    assert fake.guests[created.machine.vmid].config["memory"] == "16384"


def test_a_further_worker_keeps_its_address_when_it_exists(creation: Creation, place: Any, fake: FakeProxmox) -> None:
    creation.create("saw-k8s-w-05", place("worker"))
    again = creation.create("saw-k8s-w-05", place("worker"))
    assert (again.new, again.address, again.differences) == (False, "192.168.100.160", {})


def test_an_address_is_free_again_after_a_failed_create(
    creation: Creation, fake: FakeProxmox, place: Any, journal: Journal
) -> None:
    fake.fail("status/start", 500, "got weird error")
    with pytest.raises(CreateFailedError, match=r"reservation of 192\.168\.100\.160"):
        creation.create("saw-k8s-w-05", place("worker"))
    assert journal.addresses() == set()
    assert creation.create("saw-k8s-w-06", place("worker")).address == "192.168.100.160"


def test_parallel_creates_get_different_addresses(journal: Journal, place: Callable[..., Placement]) -> None:
    """Eight at once, none of whose machines Proxmox knows yet."""
    given: list[str] = []
    together = threading.Barrier(8)

    def place_one(name: str) -> None:
        with journal.claim(name) as record:
            together.wait()
            given.append(str(place("worker").specify(record, None).address))
            together.wait()

    threads = [threading.Thread(target=place_one, args=(f"saw-k8s-w-{index}",)) for index in range(20, 28)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(given) == [f"192.168.100.{last}" for last in range(160, 168)]


def test_a_further_worker_gets_a_row_once_it_is_there(
    creation: Creation, place: Callable[..., Placement], rows: Rows, minions: FakeMinions
) -> None:
    minions.on_answer = lambda: seen.append(list(rows.rows()))
    seen: list[list[str]] = []
    created = creation.create("saw-k8s-w-05", place("worker", cpus=4, memory_gib=32, disk_gib=60))
    assert (seen, created.row) == ([[]], rows.path("saw-k8s-w-05"))
    assert rows.rows()["saw-k8s-w-05"] == {
        "role": "worker",
        "address": "192.168.100.160",
        "cpus": 4,
        "memory_gib": 32,
        "disk_gib": 60,
        "proxmox_node": "pve",
        "arch": "amd64",
    }


def test_a_machine_of_the_table_gets_no_second_row(creation: Creation, place: Any, rows: Rows) -> None:
    assert creation.create("saw-k8s-w-01", place("worker")).row is None
    assert rows.rows() == {}


def test_a_failed_create_leaves_no_row(creation: Creation, place: Any, rows: Rows, minions: FakeMinions) -> None:
    minions.answers = False
    with pytest.raises(CreateFailedError):
        creation.create("saw-k8s-w-05", place("worker"))
    assert rows.rows() == {}


def test_a_written_row_s_address_is_not_given_again(creation: Creation, place: Any, rows: Rows) -> None:
    """Neither Proxmox nor this create's own reading of the definition has it."""
    worker = place("worker")
    size = {"cpus": 2, "memory_gib": 16, "disk_gib": 20}
    rows.add("saw-k8s-w-09", {"role": "worker", "address": "192.168.100.160", **size})
    assert creation.create("saw-k8s-w-05", worker).address == "192.168.100.161"


@pytest.fixture
def edit(tmp_path: Path) -> Callable[[str], int]:
    """edit(nodes) is the operator who changes the table."""
    (tmp_path / "edited").mkdir()
    return (tmp_path / "edited" / "cluster.sls").write_text


def test_a_row_that_would_break_the_definition_takes_the_machine_back(
    creation: Creation, fake: FakeProxmox, place: Any, rows: Rows, minions: FakeMinions, edit: Callable[[str], int]
) -> None:
    """The operator gives the address away while the machine is made."""
    minions.on_answer = lambda: edit("nodes: {saw-k8s-w-04: {address: 192.168.100.160}}")
    with pytest.raises(
        CreateFailedError, match=r"(?s)Giving saw-k8s-w-05 a row.*the address of saw-k8s-w-04"
    ) as raised:
        creation.create("saw-k8s-w-05", place("worker"))
    assert "Removed again: machine 100 on pve" in str(raised.value)
    assert (rows.rows(), sorted(fake.guests)) == ({}, [9000])


def test_another_error_of_the_definition_takes_nothing_back(
    creation: Creation, place: Any, rows: Rows, minions: FakeMinions, edit: Callable[[str], int]
) -> None:
    minions.on_answer = lambda: edit("nodes: {saw-k8s-w-04: {cpus: 0}}")
    assert creation.create("saw-k8s-w-05", place("worker")).new
    assert list(rows.rows()) == ["saw-k8s-w-05"]


def test_a_full_range_is_named(creation: Creation, fake: FakeProxmox, place: Any) -> None:
    fake.guests |= {200 + last: used(f"x{last}", f"ip=192.168.100.{last}/24") for last in range(160, 190)}
    with pytest.raises(CreateFailedError, match=r"cluster\.worker_range .*192\.168\.100\.160-192\.168\.100\.189"):
        creation.create("saw-k8s-w-05", place("worker"))


@pytest.mark.parametrize(
    ("name", "role", "message"),
    [
        ("saw-k8s-m-01", "worker", "the table has it as a control_plane.*salt-cloud -p control_plane saw-k8s-m-01"),
        ("saw-k8s-m-09", "control_plane", "a control_plane needs one"),
        ("saw-k8s-w-05", "master", "the role 'master'.*load_balancer, control_plane, worker"),
        ("Worker_5", "worker", "no DNS label"),
    ],
)
def test_profile_and_table_must_agree(
    creation: Creation, fake: FakeProxmox, place: Any, name: str, role: str, message: str
) -> None:
    with pytest.raises((RefusedError, CreateFailedError), match=message):
        creation.create(name, place(role))
    assert fake.made("POST", "PUT", "DELETE") == []


def test_a_stranger_s_machine_without_an_address_is_named(
    creation: Creation, fake: FakeProxmox, place: Callable[..., Any]
) -> None:
    fake.guests[200] = used("saw-k8s-w-05", "ip=dhcp")
    with pytest.raises(RefusedError, match="no fixed address"):
        creation.create("saw-k8s-w-05", place("worker"))
