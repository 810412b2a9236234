"""unit.running and unit.dead, with systemctl's answers as systemd 252 gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.functional.node.conftest import Minion


class Systemd:
    """Units by name, told and changed by systemctl's words; `asked` is what was run besides `show`."""

    def __init__(self, minion: Minion) -> None:
        self.units: dict[str, dict[str, str]] = {}
        self.asked: list[str] = []
        self.failing: set[str] = set()
        self.conditions_fail: set[str] = set()
        self.container: str | None = None
        minion.replace("cmd.run_all", self.run)
        minion.replace("cmd.run_stdout", lambda argv, **_options: f"journal of {argv[2]}")
        minion.replace("node_facts.container", lambda: self.container)

    def add(self, unit: str, active: bool = False, enabled: bool = False, **properties: str) -> None:
        self.units[unit] = {
            "Id": unit,
            "LoadState": "loaded",
            "ActiveState": "active" if active else "inactive",
            "SubState": "running" if active else "dead",
            "UnitFileState": "enabled" if enabled else "disabled",
            "NeedDaemonReload": "no",
            "ConditionResult": "yes" if active else "no",
            "ConditionTimestampMonotonic": "5143265" if active else "0",
            "MainPID": "0",
        } | properties

    def run(self, argv: list[str], **_options: Any) -> dict[str, Any]:
        assert argv[:2] == ["systemctl", "--no-pager"]
        verb, *rest = argv[2:]
        if verb == "show":
            return self._answer("\n\n".join(self._show(unit) for unit in rest[2:]))
        self.asked.append(" ".join([verb, *rest]))
        if verb == "daemon-reload":
            for unit in self.units.values():
                unit["NeedDaemonReload"] = "no"
            return self._answer("")
        return self._change(verb, rest[-1])

    def _change(self, verb: str, name: str) -> dict[str, Any]:
        unit = self.units[name]
        if verb in ("enable", "disable"):
            assert unit["LoadState"] != "masked", f"Failed to {verb} unit: Unit file {name} is masked."
            unit["UnitFileState"] = f"{verb}d"
        elif verb == "unmask":
            masked = unit["LoadState"] == "masked"
            unit |= {"LoadState": "loaded", "UnitFileState": "disabled"} if masked else {}
        elif verb == "stop":
            unit |= {"ActiveState": "inactive", "SubState": "dead"}
        elif name in self.failing:
            unit |= {"ActiveState": "failed", "SubState": "failed"}
            return {"retcode": 1, "stdout": "", "stderr": f"Job for {name} failed"}
        elif name in self.conditions_fail:
            unit |= {"ConditionResult": "no", "ConditionTimestampMonotonic": "99"}
        else:
            unit |= {"ActiveState": "active", "SubState": "running", "ConditionResult": "yes"}
        return self._answer("")

    def _show(self, name: str) -> str:
        unknown = {"Id": name, "LoadState": "not-found", "ActiveState": "inactive", "SubState": "dead"}
        unknown |= {"UnitFileState": "", "NeedDaemonReload": "no"}
        unknown |= {"ConditionResult": "no", "ConditionTimestampMonotonic": "0", "MainPID": "0"}
        return "\n".join(f"{key}={value}" for key, value in self.units.get(name, unknown).items())

    @staticmethod
    def _answer(text: str) -> dict[str, Any]:
        return {"retcode": 0, "stdout": text, "stderr": ""}


def killed(verb: str, unit: str) -> None:
    """A run that ends before the unit is restarted."""
    raise KeyboardInterrupt


def minion_act(minion: Minion) -> Any:
    """unit.act as it was before it was replaced."""
    return minion._replaced["unit.act"]


@pytest.fixture
def systemd(minion: Minion) -> Systemd:
    return Systemd(minion)


def test_units_are_enabled_and_started_once(minion: Minion, systemd: Systemd) -> None:
    systemd.add("nftables.service")
    systemd.add("chrony.service", active=True, enabled=True)
    done = minion.settle("unit.running", units=["nftables.service", "chrony.service"])
    assert done["changes"] == {
        "nftables.service": {"old": {"active": False, "enabled": False}, "new": {"active": True, "enabled": True}}
    }
    assert done["comment"] == "nftables.service active (running), chrony.service active (running)"
    assert systemd.asked == ["enable nftables.service", "start nftables.service"]


def test_no_units_are_no_question(minion: Minion, systemd: Systemd) -> None:
    assert minion.settle("unit.running", units=[])["changes"] == {}


def test_daemon_reload_only_when_a_unit_file_changed(minion: Minion, systemd: Systemd) -> None:
    systemd.add("crio.service", active=True, enabled=True, NeedDaemonReload="yes")
    minion.settle("unit.running", units=["crio.service"])
    assert systemd.asked == ["daemon-reload"]


def test_a_failed_start_shows_systemds_words_and_the_journal(minion: Minion, systemd: Systemd) -> None:
    systemd.add("crio.service", enabled=True)
    systemd.failing.add("crio.service")
    done = minion.apply("unit.running", units=["crio.service"])
    assert done["result"] is False
    assert "Job for crio.service failed" in done["comment"]
    assert "journal of crio.service" in done["comment"]


def test_an_unknown_unit_is_a_failure(minion: Minion, systemd: Systemd) -> None:
    minion.replace("unit.enable", lambda unit: None)
    minion.replace("unit.act", lambda verb, unit: None)
    done = minion.apply("unit.running", units=["no-such.service"])
    assert done["result"] is False
    assert done["comment"] == "no-such.service: inactive (dead)"


def test_the_kubelet_is_started_once_its_configuration_is_there(
    minion: Minion, systemd: Systemd, tmp_path: Path
) -> None:
    systemd.add("kubelet.service")
    config = tmp_path / "config.yaml"
    done = minion.settle("unit.running", units=["kubelet.service"], needs=str(config))
    assert systemd.asked == ["enable kubelet.service"]
    assert done["comment"] == f"kubelet.service inactive (dead); started once {config} exists"
    config.write_text("kind: KubeletConfiguration\n")
    minion.settle("unit.running", units=["kubelet.service"], needs=str(config))
    assert systemd.asked == ["enable kubelet.service", "start kubelet.service"]


def test_a_clock_that_is_the_hosts_is_named_in_a_container(minion: Minion, systemd: Systemd) -> None:
    systemd.add("chrony.service", enabled=True)
    systemd.conditions_fail.add("chrony.service")
    assert minion.apply("unit.running", units=["chrony.service"])["result"] is False
    systemd.container = "systemd-nspawn"
    done = minion.settle("unit.running", units=["chrony.service"])
    assert "a condition of it does not hold in this systemd-nspawn container" in done["comment"]


UNIT_TEXT = "[Service]\nExecStart=/bin/true\n"


@pytest.mark.parametrize("act", ["restart", "reload"])
def test_what_another_state_has_noted_restarts_or_reloads_what_is_active(
    minion: Minion, systemd: Systemd, act: str
) -> None:
    systemd.add("haproxy.service", active=True, enabled=True)
    minion.call("unit_restart.note", ["haproxy.service"], "haproxy.cfg changed")
    done = minion.settle("unit.running", units=["haproxy.service"], act=act)
    assert systemd.asked == [f"{act} haproxy.service"]
    assert done["changes"] == {
        "haproxy.service": {"old": {f"{act}ed": None}, "new": {f"{act}ed": "haproxy.cfg changed"}}
    }


def test_what_a_run_in_test_mode_foresees_is_told_once_and_done_never(minion: Minion, systemd: Systemd) -> None:
    systemd.add("haproxy.service", active=True, enabled=True)
    minion.call("unit_restart.note", ["haproxy.service"], "haproxy.cfg changed", test=True)
    foreseen = minion.preview("unit.running", units=["haproxy.service"], act="reload")
    assert foreseen["changes"]["haproxy.service"]["new"] == {"reloaded": "haproxy.cfg changed"}
    assert minion.settle("unit.running", units=["haproxy.service"], act="reload")["changes"] == {}
    assert systemd.asked == []


def test_what_is_not_due_is_not_started_and_its_notes_are_dropped(
    minion: Minion, systemd: Systemd, tmp_path: Path
) -> None:
    systemd.add("kubelet.service")
    minion.call("unit_restart.note", ["kubelet.service"], "its configuration changed")
    minion.settle("unit.running", units=["kubelet.service"], needs=str(tmp_path / "no"))
    assert systemd.asked == ["enable kubelet.service"]
    assert minion.call("unit_restart.reasons", "kubelet.service") == []


def test_a_file_of_the_unit_is_mended_and_the_unit_restarted_once(
    minion: Minion, systemd: Systemd, tmp_path: Path
) -> None:
    path = tmp_path / "crio.service"
    path.write_text("[Service]\nExecStart=/bin/false\n")
    path.chmod(0o600)
    systemd.add("crio.service", active=True, enabled=False, NeedDaemonReload="yes")
    done = minion.settle("unit.running", units=["crio.service"], files=[{"path": str(path), "text": UNIT_TEXT}])
    assert systemd.asked == ["daemon-reload", "enable crio.service", "restart crio.service"]
    assert done["changes"] == {
        str(path): {
            "content": {"old": "[Service]\nExecStart=/bin/false\n", "new": UNIT_TEXT},
            "mode": {"old": "0600", "new": "0644"},
        },
        "crio.service": {
            "old": {"enabled": False, "restarted": None},
            "new": {"enabled": True, "restarted": f"{path} changed"},
        },
    }


def test_a_mode_alone_restarts_nothing(minion: Minion, systemd: Systemd, tmp_path: Path) -> None:
    path = tmp_path / "crio.service"
    path.write_text(UNIT_TEXT)
    path.chmod(0o666)
    systemd.add("crio.service", active=True, enabled=True)
    done = minion.settle("unit.running", units=["crio.service"], files=[{"path": str(path), "text": UNIT_TEXT}])
    assert done["changes"] == {str(path): {"mode": {"old": "0666", "new": "0644"}}}
    assert systemd.asked == []


def test_a_mask_is_taken_off_and_not_written_through(minion: Minion, systemd: Systemd, tmp_path: Path) -> None:
    path, target = tmp_path / "crio.service", tmp_path / "null"
    target.touch()
    path.symlink_to(target)
    systemd.add("crio.service", LoadState="masked", UnitFileState="masked")
    done = minion.settle("unit.running", units=["crio.service"], files=[{"path": str(path), "text": UNIT_TEXT}])
    assert done["changes"]["crio.service"] == {
        "old": {"active": False, "enabled": False, "masked": True},
        "new": {"active": True, "enabled": True, "masked": False},
    }
    assert done["changes"][str(path)]["content"] == {"old": f"(link to {target})", "new": UNIT_TEXT}
    assert (path.read_text(), path.is_symlink(), target.read_text()) == (UNIT_TEXT, False, "")


def test_a_restart_that_failed_is_tried_again_by_the_next_run(
    minion: Minion, systemd: Systemd, tmp_path: Path
) -> None:
    files = [{"path": str(tmp_path / "crio.service"), "text": UNIT_TEXT}]
    systemd.add("crio.service", active=True, enabled=True)
    minion.replace("unit.act", killed)
    with pytest.raises(KeyboardInterrupt):
        minion.apply("unit.running", units=["crio.service"], files=files)
    minion.replace("unit.act", minion_act(minion))
    done = minion.settle("unit.running", units=["crio.service"], files=files)
    assert done["changes"] == {
        "crio.service": {"old": {"restarted": None}, "new": {"restarted": f"{files[0]['path']} changed"}}
    }
    assert systemd.asked[-1] == "restart crio.service"


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("Debian", {"old": {"reloaded": None}, "new": {"reloaded": "haproxy.cfg changed"}}),
        ("RedHat", {"old": {"active": False, "enabled": False}, "new": {"active": True, "enabled": True}}),
    ],
)
def test_a_dry_run_takes_a_unit_for_what_its_package_makes_of_it(
    minion: Minion, systemd: Systemd, family: str, changes: object
) -> None:
    minion.replace("os_package.starts_services", lambda: family == "Debian")
    minion.call("os_package.foresee", ["haproxy"])
    minion.call("unit_restart.note", ["haproxy.service"], "haproxy.cfg changed", test=True)
    told = minion.preview("unit.running", units=["haproxy.service"], act="reload", packages=["haproxy"])
    assert told["changes"] == {"haproxy.service": changes}
    minion.functions.pack["__context__"].clear()
    assert minion.preview("unit.running", units=["haproxy.service"], packages=["haproxy"])["changes"] != {}


def test_other_control_plane_nodes_stand_still_for_a_restart_only(
    minion: Minion, systemd: Systemd, tmp_path: Path
) -> None:
    files = [{"path": str(tmp_path / "crio.service"), "text": UNIT_TEXT}]
    turns: list[str] = []

    def during(reason: str, act: Any) -> Any:
        turns.append(reason)
        return act()

    minion.replace("turn.during", during)
    systemd.add("crio.service")
    minion.settle("unit.running", units=["crio.service"], files=files, in_turn=True)
    assert turns == []
    minion.call("unit_restart.note", ["crio.service"], "a reason")
    minion.settle("unit.running", units=["crio.service"], files=files, in_turn=True)
    assert turns == ["restart of crio.service"]


def test_dead_units_are_stopped_and_disabled(minion: Minion, systemd: Systemd) -> None:
    systemd.add("crio.service", active=True, enabled=True)
    done = minion.settle("unit.dead", units=["crio.service", "no-such.service"])
    assert list(done["changes"]) == ["crio.service"]
    assert systemd.asked == ["stop crio.service", "disable crio.service"]
