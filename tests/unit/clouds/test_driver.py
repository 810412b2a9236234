"""The driver as Salt's loader gives it to salt-cloud: its functions, the master's keys, and what it says."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import salt.config
import salt.loader
from salt.exceptions import SaltCloudNotFound, SaltCloudSystemExit
from salt.utils.context import func_globals_inject

from saltern.proxmox.journal import Journal
from saltern.rows import KEPT_VARIABLE, Rows
from tests.unit.clouds.conftest import Pauses
from tests.unit.clouds.fake_proxmox import FakeProxmox, Guest

ALIAS = "my-proxmox-config"
NAME = "saw-k8s-w-01"
CHECKOUT = Path(__file__).parents[3]
Call = Callable[..., Any]


@pytest.fixture
def opts(tmp_path: Path, provider: dict[str, Any], pillar_dirs: list[Path]) -> dict[str, Any]:
    pki = tmp_path / "pki"
    (pki / "minions").mkdir(parents=True)
    (pki / "master.pub").write_text("MASTER PUBLIC KEY\n")
    options = salt.config.DEFAULT_MASTER_OPTS.copy()
    return options | {
        "root_dir": str(tmp_path),
        "cachedir": str(tmp_path / "cache"),
        "sock_dir": str(tmp_path / "sock"),
        "extension_modules": str(tmp_path / "ext"),
        "pki_dir": str(pki),
        "conf_file": str(tmp_path / "cloud"),
        "module_dirs": [str(CHECKOUT)],
        "saltern": {"pillar_dirs": [str(path) for path in pillar_dirs], "state_dir": str(tmp_path / "state")},
        "providers": {ALIAS: {"proxmox": provider | {"wait_for": "agent", "profiles": {}}}},
        "profiles": {},
    }


@pytest.fixture
def events() -> list[str]:
    return []


@pytest.fixture
def told() -> dict[str, dict[str, Any]]:
    """The payload of each event, by its tag."""
    return {}


@pytest.fixture
def call(
    opts: dict[str, Any], events: list[str], told: dict[str, dict[str, Any]], pauses: Pauses
) -> Iterator[Call]:
    """call("list_nodes", ...) runs one function of the driver for the provider; events are recorded by their tags.

    The driver's pauses are recorded, too, and take no time.
    """
    clouds = salt.loader.clouds(opts)

    def fire(key: str, msg: str, tag: str, args: dict[str, Any], **given: Any) -> None:
        events.append(tag)
        told[tag] = args

    def run(function: str, *args: Any, **kwargs: Any) -> Any:
        loaded = clouds[f"proxmox.{function}"]
        utils = {
            "cloud.fire_event": fire,
            "cloud.filter_event": lambda tag, data, defaults: {key: data[key] for key in defaults},
        }
        injected = {"__active_provider_name__": f"{ALIAS}:proxmox", "__utils__": utils, "_pause": pauses}
        with func_globals_inject(loaded, **injected):
            return loaded(*args, **kwargs)

    yield run
    clouds.clean_modules()


@pytest.fixture
def vm(opts: dict[str, Any]) -> dict[str, Any]:
    """What salt-cloud hands to create: provider and profile merged."""
    profile = {"name": NAME, "profile": "worker", "role": "worker", "provider": f"{ALIAS}:proxmox", "deploy": False}
    return opts["providers"][ALIAS]["proxmox"] | profile | {"pub_key": None, "priv_key": None}


@pytest.fixture
def booting(fake: FakeProxmox) -> FakeProxmox:
    """Machines whose guest agent reports the address of ipconfig0 once they run."""

    def boot(vmid: int, guest: Guest) -> None:
        fake.agents[vmid] = [guest.config["ipconfig0"].split("=")[1].split("/")[0]]

    fake.on_start = boot
    return fake


def accepted(opts: dict[str, Any]) -> list[str]:
    return sorted(path.name for path in (Path(opts["pki_dir"]) / "minions").iterdir())


def test_create_fires_events_accepts_the_key_and_returns_the_machine(
    call: Call, booting: FakeProxmox, vm: dict[str, Any], opts: dict[str, Any], events: list[str]
) -> None:
    result = call("create", vm)
    assert result == {
        "id": 100,
        "node": "pve",
        "state": "running",
        "private_ips": ["192.168.100.154"],
        "public_ips": [],
    }
    assert accepted(opts) == [NAME]
    key = (Path(opts["pki_dir"]) / "minions" / NAME).read_text()
    assert key.startswith("-----BEGIN PUBLIC KEY-----")
    assert events == [f"salt/cloud/{NAME}/{step}" for step in ("creating", "requesting", "created")]


@pytest.mark.parametrize("job", ["", "orchestrate.cluster"])
def test_the_event_of_a_new_machine_tells_which_job_had_it_made(
    call: Call, booting: FakeProxmox, vm: dict[str, Any], told: dict[str, Any], monkeypatch: Any, job: str
) -> None:
    if job:
        monkeypatch.setenv("SALTERN_JOB", job)
    call("create", vm)
    created = told[f"salt/cloud/{NAME}/created"]
    assert (created["name"], created["instance_id"], created["job"]) == (NAME, 100, job)


def test_a_worker_without_a_row_gets_one_and_loses_it_with_its_machine(
    call: Call, booting: FakeProxmox, vm: dict[str, Any], opts: dict[str, Any]
) -> None:
    rows = Rows(opts["saltern"]["state_dir"], "saw-k8s")
    result = call("create", vm | {"name": "saw-k8s-w-05", "cpus": 2, "memory_gib": 16, "disk_gib": 20})
    assert (result["private_ips"], result["row"]) == (["192.168.100.160"], str(rows.path("saw-k8s-w-05")))
    assert call("differences", call="function").get("saw-k8s-w-05") is None
    removed = call("destroy", "saw-k8s-w-05")["removed"]
    assert removed[-1] == "its row of the table, which salt-cloud had written"
    assert rows.rows() == {}


def test_a_row_stays_when_a_job_makes_the_machine_again(
    call: Call, booting: FakeProxmox, vm: dict[str, Any], opts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = Rows(opts["saltern"]["state_dir"], "saw-k8s")
    sized = {"cpus": 2, "memory_gib": 16, "disk_gib": 20}
    for name in ("saw-k8s-w-05", "saw-k8s-w-06"):
        call("create", vm | sized | {"name": name})
    monkeypatch.setenv(KEPT_VARIABLE, "saw-k8s-w-05")
    assert call("destroy", "saw-k8s-w-05")["removed"][-1] == "minion key"
    call("destroy", "saw-k8s-w-06")
    assert list(rows.rows()) == ["saw-k8s-w-05"], "only the row of that name"


def test_the_operator_is_told_each_step(
    call: Call, booting: FakeProxmox, vm: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    call("create", vm)
    steps = [line.removeprefix(f"{NAME}: ") for line in capsys.readouterr().err.splitlines() if line.startswith(NAME)]
    assert steps == [
        "cloning debian-12-saltern (linked) to 100 on pve",
        "uploading its seed image to local",
        "setting 2 CPUs, 16384 MiB, 192.168.100.154",
        "starting",
        "started; waiting for its agent",
    ]


def test_create_of_a_machine_that_differs_names_it(
    call: Call,
    fake: FakeProxmox,
    vm: dict[str, Any],
    defined_guest: Callable[..., Guest],
    caplog: pytest.LogCaptureFixture,
) -> None:
    fake.guests[100] = defined_guest(memory="8192")
    result = call("create", vm)
    assert result["differences"] == {"memory_mib": {"actual": "8192", "defined": "16384"}}
    assert f"{NAME} exists and differs from pillar/cluster.sls: memory_mib is 8192, defined 16384" in caplog.text


def test_a_failed_create_is_salt_cloud_s_error_and_takes_the_key_back(
    call: Call, fake: FakeProxmox, vm: dict[str, Any], opts: dict[str, Any]
) -> None:
    fake.fail("status/start", 403, "Permission check failed (/vms/100, VM.PowerMgmt)")
    with pytest.raises(SaltCloudSystemExit, match=r"VM\.PowerMgmt on /vms/100.*\n.*Removed again: machine 100"):
        call("create", vm)
    assert accepted(opts) == []


def test_a_rejected_key_stops_a_create(call: Call, fake: FakeProxmox, vm: dict[str, Any], opts: dict[str, Any]) -> None:
    rejected = Path(opts["pki_dir"]) / "minions_rejected"
    rejected.mkdir()
    (rejected / NAME).write_text("KEY")
    with pytest.raises(SaltCloudSystemExit, match=f"salt-key -d {NAME}"):
        call("create", vm)
    assert sorted(fake.guests) == [9000]


def test_a_master_that_never_ran_is_named(call: Call, vm: dict[str, Any], opts: dict[str, Any]) -> None:
    (Path(opts["pki_dir"]) / "master.pub").unlink()
    with pytest.raises(SaltCloudSystemExit, match="Start salt-master once"):
        call("create", vm)


@pytest.mark.parametrize(("directory", "reason"), [("run", "No such file"), ("r" * 108, "AF_UNIX path too long")])
def test_waiting_for_a_minion_needs_a_running_master(
    call: Call, fake: FakeProxmox, vm: dict[str, Any], opts: dict[str, Any], directory: str, reason: str
) -> None:
    root = Path(opts["root_dir"])
    # Salt moves its sockets into the cache directory when that has a much shorter name.
    settings = {"root_dir": str(root), **dict.fromkeys(("sock_dir", "cachedir"), str(root / directory))}
    (root / "master").write_text(json.dumps(settings))
    with pytest.raises(SaltCloudSystemExit, match=rf"event bus .* does not answer: {reason}.*Start salt-master"):
        call("create", vm | {"wait_for": "minion"})
    assert fake.made("POST") == []


def test_without_a_definition_the_key_to_add_is_named(call: Call, vm: dict[str, Any], opts: dict[str, Any]) -> None:
    del opts["saltern"]
    with pytest.raises(SaltCloudSystemExit, match=r"no `saltern: \{pillar_dirs"):
        salt.loader.clouds(opts)["proxmox.differences"](call="function")


def test_a_wrong_definition_is_told_in_full(call: Call, vm: dict[str, Any], opts: dict[str, Any]) -> None:
    bad = Path(opts["root_dir"]) / "bad"
    bad.mkdir()
    (bad / "cluster.sls").write_text("cluster: {nane: x}\n")
    opts["saltern"]["pillar_dirs"].append(str(bad))
    with pytest.raises(SaltCloudSystemExit, match="nane"):
        call("create", vm)


def test_destroy_removes_machine_and_key(
    call: Call, fake: FakeProxmox, opts: dict[str, Any], defined_guest: Callable[..., Guest], events: list[str]
) -> None:
    fake.guests[100] = defined_guest()
    (Path(opts["pki_dir"]) / "minions" / NAME).write_text("KEY")
    assert call("destroy", NAME) == {"removed": ["machine 100 on pve", "minion key"]}
    assert (sorted(fake.guests), accepted(opts)) == ([9000], [])
    assert events == [f"salt/cloud/{NAME}/destroying", f"salt/cloud/{NAME}/destroyed"]


def test_destroy_of_what_is_not_there(call: Call) -> None:
    with pytest.raises(SaltCloudNotFound, match="salt-cloud -Q"):
        call("destroy", "nobody")


def test_destroy_takes_away_what_a_dead_create_left(call: Call, fake: FakeProxmox, opts: dict[str, Any]) -> None:
    fake.guests[100] = Guest({"name": NAME})
    left_by_a_dead_create(opts, vmid=100, key=True)
    assert call("destroy", NAME)["removed"] == ["machine 100 on pve", f"minion key of {NAME}"]
    assert sorted(fake.guests) == [9000]
    assert accepted(opts) == []


def test_destroy_tells_what_to_type_for_a_disk_that_stays_and_goes_on_with_the_next_call(
    call: Call, fake: FakeProxmox, opts: dict[str, Any], defined_guest: Callable[..., Guest]
) -> None:
    fake.guests[100] = defined_guest()
    disk = "local-lvm:vm-100-disk-0"
    fake.leave_disk(disk, "storage is away")
    fake.fail("DELETE .*/content/", 403, "Permission check failed (/storage/local-lvm, Datastore.Allocate)")
    with pytest.raises(SaltCloudSystemExit, match=rf"node pve: pvesm free {disk}(?s:.)*/machine-leftover.md"):
        call("destroy", NAME)
    opts["destroy"] = True
    assert NAME in call("list_nodes_min")
    assert call("destroy", NAME)["removed"] == [f"disk {disk}, which Proxmox had left (storage is away)"]
    assert fake.disks == set()
    with pytest.raises(SaltCloudNotFound):
        call("destroy", NAME)


def left_by_a_dead_create(opts: dict[str, Any], name: str = NAME, **made: Any) -> Journal:
    """The record of a create that died, and the key that it accepted."""
    journal = Journal(Path(opts["saltern"]["state_dir"]) / "saw-k8s" / "machines")
    with journal.claim(name) as record:
        record.note(node="pve", **made)
    if made.get("key"):
        (Path(opts["pki_dir"]) / "minions" / name).write_text("KEY")
    return journal


@pytest.mark.parametrize(
    "left",
    [
        {"seed_node": "pve", "seed_volid": "local:iso/x.iso"},
        {"key": True},
        {"address": "192.168.100.160"},
        {"vmid": 101},  # which is gone
    ],
)
def test_salt_cloud_hears_of_what_is_left_without_a_machine_and_destroy_removes_it(
    call: Call, fake: FakeProxmox, opts: dict[str, Any], left: dict[str, Any]
) -> None:
    fake.images["local:iso/x.iso"] = b"a private key"
    journal = left_by_a_dead_create(opts, "saw-k8s-w-05", **left)
    assert "saw-k8s-w-05" not in call("list_nodes_min")
    opts["destroy"] = True
    assert call("list_nodes_min") == {"saw-k8s-w-05": {"id": None, "state": "missing"}}
    assert len(call("destroy", "saw-k8s-w-05")["removed"]) == 1
    assert (journal.unfinished(), journal.addresses(), accepted(opts)) == (set(), set(), [])
    assert ("seed_volid" in left) == (not fake.images)


def test_the_key_of_a_machine_that_vanished_goes_if_the_table_has_it(call: Call, opts: dict[str, Any]) -> None:
    for name in (NAME, "another"):
        (Path(opts["pki_dir"]) / "minions" / name).write_text("KEY")
    opts["destroy"] = True
    assert call("list_nodes_min") == {NAME: {"id": None, "state": "missing"}}
    assert call("destroy", NAME) == {"removed": ["minion key"]}
    with pytest.raises(SaltCloudNotFound):
        call("destroy", "another")
    assert accepted(opts) == ["another"]


def test_a_machine_that_vanishes_while_it_is_destroyed_takes_its_key_along(
    call: Call, fake: FakeProxmox, opts: dict[str, Any], defined_guest: Callable[..., Guest]
) -> None:
    fake.guests[100] = defined_guest()
    (Path(opts["pki_dir"]) / "minions" / NAME).write_text("KEY")
    fake.before("status/stop", lambda: fake.guests.pop(100) and None)
    assert call("destroy", NAME)["removed"] == ["machine 100 on pve", "minion key"]
    assert accepted(opts) == []


@pytest.mark.parametrize("query", ["list_nodes", "list_nodes_full"])
def test_a_machine_that_vanishes_during_a_query_is_left_out(
    call: Call, fake: FakeProxmox, defined_guest: Callable[..., Guest], query: str
) -> None:
    fake.guests |= {100: defined_guest(), 101: defined_guest(name="other")}
    fake.before("GET nodes/pve/qemu/100/config", lambda: fake.guests.pop(100) and None)
    assert list(call(query)) == ["other"]


# Queries.


def test_list_nodes(call: Call, fake: FakeProxmox, defined_guest: Callable[..., Guest]) -> None:
    fake.guests |= {100: defined_guest(), 101: Guest({"name": "other", "ipconfig0": "ip=dhcp"}, running=True)}
    fake.agents[101] = ["192.168.100.77"]
    found = call("list_nodes")
    assert found[NAME]["state"] == "running"
    assert found[NAME]["size"] == "2 CPUs, 16384 MiB, 20 GiB"
    assert {name: row["private_ips"] for name, row in found.items()} == {
        NAME: ["192.168.100.154"],
        "other": ["192.168.100.77"],
    }


def test_two_machines_of_one_name_are_both_listed(
    call: Call, fake: FakeProxmox, defined_guest: Callable[..., Guest]
) -> None:
    fake.guests |= {100: defined_guest(), 101: defined_guest()}
    assert sorted(call("list_nodes_min")) == [NAME, f"{NAME} (101)"]


def test_machines_of_a_node_that_is_offline_are_not_asked_for(
    call: Call, fake: FakeProxmox, defined_guest: Callable[..., Guest]
) -> None:
    fake.guests[100] = defined_guest()
    fake.nodes["pve2"] = "offline"
    assert sorted(call("list_nodes")) == [NAME]


def test_before_a_create_a_half_made_machine_counts_as_missing(
    call: Call, fake: FakeProxmox, opts: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    fake.guests[100] = Guest({"name": NAME})
    with Journal(Path(opts["saltern"]["state_dir"]) / "saw-k8s" / "machines").claim(NAME) as record:
        record.note(node="pve", vmid=100)
    assert call("list_nodes_min") == {}
    assert "half made by a create that died" in caplog.text
    opts["destroy"] = True
    assert list(salt_functions(opts)["proxmox.list_nodes_min"]()) == [NAME]


def salt_functions(opts: dict[str, Any]) -> Any:
    return salt.loader.clouds(opts)


@pytest.mark.parametrize(
    ("asked", "warned"),
    [({"map": "cluster.map"}, True), ({"names": [NAME]}, True), ({"names": ["x"]}, False), ({}, False)],
)
def test_before_a_create_machines_that_differ_are_named(
    opts: dict[str, Any],
    fake: FakeProxmox,
    defined_guest: Callable[..., Guest],
    caplog: pytest.LogCaptureFixture,
    asked: dict[str, Any],
    warned: bool,
) -> None:
    fake.guests[100] = defined_guest(cores=8)
    opts.update(asked)
    salt_functions(opts)["proxmox.list_nodes_min"]()
    assert (f"{NAME} exists and differs" in caplog.text) is warned


def test_differences_of_the_whole_table(call: Call, fake: FakeProxmox, defined_guest: Callable[..., Guest]) -> None:
    fake.guests[100] = defined_guest(cores=8)
    found = call("differences", call="function")
    assert found.pop(NAME) == {"cpus": {"actual": "8", "defined": "2"}}
    assert len(found) == 7
    assert found["saw-k8s-m-01"] == {"exists": {"actual": "no", "defined": "yes"}}


def test_a_query_that_fails_is_logged(call: Call, fake: FakeProxmox, caplog: pytest.LogCaptureFixture) -> None:
    """salt-cloud itself only says so at debug level, and goes on as if there were no machines."""
    fake.fail("GET nodes", 403, "Permission check failed (/nodes, Sys.Audit)")
    with pytest.raises(SaltCloudSystemExit):
        call("list_nodes")
    (record,) = [record for record in caplog.records if "Sys.Audit on /nodes" in record.getMessage()]
    assert record.levelno == logging.ERROR


def test_images_are_templates_and_isos(call: Call, fake: FakeProxmox) -> None:
    fake.images["local:iso/debian.iso"] = b"x" * 1024**2
    assert call("avail_images") == {
        "debian-12-saltern": {"type": "template", "id": 9000, "node": "pve", "disk_gib": 20.0},
        "local:iso/debian.iso": {"type": "iso", "node": "pve", "size_mib": 1.0},
    }


def test_locations_are_nodes(call: Call, fake: FakeProxmox) -> None:
    fake.nodes["pve2"] = "offline"
    found = call("avail_locations")
    assert found["pve"] == {"status": "online", "cpus": 8, "memory_gib": 64.0}
    assert found["pve2"]["status"] == "offline"


@pytest.mark.parametrize(
    ("asked", "said"), [(ALIAS, True), ("proxmox", True), ("all", True), ("other", False), (None, False)]
)
def test_sizes_have_no_meaning(
    call: Call, opts: dict[str, Any], caplog: pytest.LogCaptureFixture, asked: str | None, said: bool
) -> None:
    opts["list_sizes"] = asked
    functions = salt_functions(opts)
    with func_globals_inject(functions["proxmox.get_configured_provider"], __active_provider_name__=f"{ALIAS}:proxmox"):
        assert functions["proxmox.get_configured_provider"]()
    assert ("Proxmox has no sizes" in caplog.text) is said


@pytest.mark.parametrize("changes", [{"password": None}, {"user": "root"}, {"verify_ssl": "/no/such.pem"}, {"url": ""}])
def test_a_provider_that_cannot_be_used_is_left_out(
    opts: dict[str, Any], fake: FakeProxmox, changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    opts["providers"][ALIAS]["proxmox"].update(changes)
    functions = salt_functions(opts)
    with func_globals_inject(functions["proxmox.get_configured_provider"], __active_provider_name__=f"{ALIAS}:proxmox"):
        assert functions["proxmox.get_configured_provider"]() is False
    assert f"key {next(iter(changes))}" in caplog.text
    assert fake.calls == []


# Actions.


@pytest.mark.parametrize(
    ("action", "before", "after", "calls"),
    [
        ("start", False, {"state": "running", "changed": True}, 1),
        ("start", True, {"state": "running", "changed": False}, 0),
        ("stop", True, {"state": "stopped", "changed": True}, 1),
        ("stop", False, {"state": "stopped", "changed": False}, 0),
        ("shutdown", True, {"state": "stopped", "changed": True}, 1),
        ("shutdown", False, {"state": "stopped", "changed": False}, 0),
        ("reboot", True, {"state": "running", "changed": True}, 1),
    ],
)
def test_power(
    call: Call,
    fake: FakeProxmox,
    defined_guest: Callable[..., Guest],
    action: str,
    before: bool,
    after: dict[str, Any],
    calls: int,
) -> None:
    fake.guests[100] = defined_guest()
    fake.guests[100].running = before
    assert call(action, NAME, call="action") == after
    assert len(fake.made("POST")) == calls


def test_show_instance_asks_the_agent_too(call: Call, fake: FakeProxmox, defined_guest: Callable[..., Guest]) -> None:
    fake.guests[100] = defined_guest()
    fake.agents[100] = ["192.168.100.154", "192.168.100.200"]
    shown = call("show_instance", NAME, call="action")
    assert shown["private_ips"] == ["192.168.100.154", "192.168.100.200"]
    assert shown["config"]["memory"] == "16384"


@pytest.mark.parametrize("function", ["start", "stop", "shutdown", "reboot", "show_instance"])
def test_actions_need_a_machine(call: Call, function: str) -> None:
    with pytest.raises(SaltCloudSystemExit, match=f"salt-cloud -a {function} NAME"):
        call(function, NAME, call="function")
    with pytest.raises(SaltCloudNotFound, match="Proxmox has no machine nobody"):
        call(function, "nobody", call="action")


@pytest.mark.parametrize(
    "function", ["list_nodes", "list_nodes_full", "list_nodes_min", "avail_images", "avail_locations", "differences"]
)
def test_functions_need_a_provider(call: Call, function: str) -> None:
    with pytest.raises(SaltCloudSystemExit, match=f"salt-cloud -f {function} PROVIDER"):
        call(function, call="action")
