"""etcd's members: who answers, who is removed, and when not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from tests.unit.modules.member import Member

# etcdctl 3.6 "endpoint health --cluster --write-out=json" with one member stopped: its exit code is 1 then.
HEALTH = (
    '[{"endpoint":"https://192.168.100.151:2379","health":true,"took":"9.1ms"},'
    '{"endpoint":"https://192.168.100.153:2379","health":false,"took":"5.0s","error":"context deadline exceeded"}]'
)


def member(number: int, name: str, learner: bool = False) -> dict[str, Any]:
    client = [f"https://192.168.100.15{number}:2379"] if name else []
    return {"ID": number, "name": name, "peerURLs": [f"https://192.168.100.15{number}:2380"], "clientURLs": client} | (
        {"isLearner": True} if learner else {}
    )


class Etcd(Member):
    """A control-plane node whose etcd pod answers by etcdctl's output; a removal takes effect."""

    def __init__(self, root: Path, *members: dict[str, Any], deaf: bool = False, refuses: str = "") -> None:
        super().__init__(root)
        module = self._load("_modules", "etcd_member")
        self.call = {name: getattr(module, name) for name in ("standing", "remove", "member_of", "parse_health")}
        state = root / "members.json"
        state.write_text(json.dumps({"members": members}))
        self.tool(
            "kubectl",
            f"""
words = sys.argv[1:]
state = pathlib.Path({str(state)!r})
known = json.loads(state.read_text())
if "list" in words:
    print(json.dumps(known))
elif "health" in words:
    print({HEALTH!r})
    sys.stderr.write("command terminated with exit code 1")
    sys.exit(1)
elif {refuses!r}:
    sys.stderr.write({refuses!r})
    sys.exit(1)
elif not {deaf!r}:
    left = [one for one in known["members"] if format(one["ID"], "x") != words[-1]]
    state.write_text(json.dumps({{"members": left}}))
""",
        )

    def removed(self) -> list[list[str]]:
        return [call["argv"][-3:] for call in self.calls("kubectl") if "remove" in call["argv"]]


THREE = (member(1, "saw-k8s-m-01"), member(2, "saw-k8s-m-02"), member(3, "saw-k8s-m-03"))
LAST = ("saw-k8s-m-03", "192.168.100.153")


def test_members_are_told_with_their_health(tmp_path: Path) -> None:
    standing = Etcd(tmp_path, *THREE).call["standing"]()
    assert [(one["name"], one["healthy"]) for one in standing] == [
        ("saw-k8s-m-01", True), ("saw-k8s-m-02", False), ("saw-k8s-m-03", False)
    ]  # fmt: skip
    assert standing[0]["id"] == "1" and not standing[0]["learner"]


def test_health_that_could_not_be_asked_is_no_health(tmp_path: Path) -> None:
    assert Etcd(tmp_path).call["parse_health"]("Error: no endpoints\n") == []


def test_a_member_is_removed_by_its_id(tmp_path: Path) -> None:
    etcd = Etcd(tmp_path, *THREE)
    assert etcd.call["remove"](*LAST) == "saw-k8s-m-03: removed from etcd (member 3)"
    assert etcd.removed() == [["member", "remove", "3"]]
    assert etcd.call["remove"](*LAST) == "saw-k8s-m-03: no member of etcd"
    assert len(etcd.removed()) == 1


def test_a_member_that_never_started_is_known_by_its_address(tmp_path: Path) -> None:
    etcd = Etcd(tmp_path, *THREE[:2], member(3, "", learner=True))
    assert etcd.call["remove"](*LAST) == "saw-k8s-m-03: removed from etcd (member 3)"


def test_an_address_that_only_begins_alike_is_anothers(tmp_path: Path) -> None:
    etcd = Etcd(tmp_path, *THREE[:2], member(3, "", learner=True))
    assert etcd.call["remove"]("saw-k8s-m-09", "192.168.100.15") == "saw-k8s-m-09: no member of etcd"


def test_nobody_is_removed_while_another_is_a_learner(tmp_path: Path) -> None:
    etcd = Etcd(tmp_path, *THREE, member(4, "", learner=True))
    with pytest.raises(CommandExecutionError, match=r"now: https://192\.168\.100\.154:2380 is a learner"):
        etcd.call["remove"](*LAST)
    assert etcd.removed() == []


def test_etcds_own_refusal_is_told(tmp_path: Path) -> None:
    etcd = Etcd(tmp_path, *THREE, refuses="Error: etcdserver: unhealthy cluster")
    with pytest.raises(CommandExecutionError, match="lists the member 3: Error: etcdserver: unhealthy cluster"):
        etcd.call["remove"](*LAST)


def test_a_removal_without_effect_is_a_failure(tmp_path: Path) -> None:
    etcd = Etcd(tmp_path, *THREE, deaf=True)
    with pytest.raises(CommandExecutionError, match="still lists the member 3 after its removal"):
        etcd.call["remove"](*LAST)
