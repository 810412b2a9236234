"""What a state run recorded, and what has drifted since: Salt's own state runs, the project's own states."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
import salt.state
from salt.exceptions import CommandExecutionError

from tests.functional.node.conftest import Minion


class Applied(Minion):
    """A minion whose sandbox is below a directory, and that runs states as ``state.apply`` does."""

    def __init__(self, root: Path) -> None:
        self.root = root
        pillar = {"saltern": {"paths": {"sandbox": str(root / "sandbox")}, "os": {"packages": ["a"]}}}
        super().__init__(root, pillar)

    @property
    def record(self) -> Path:
        return self.root / "sandbox/etc/provisioner/last-apply.json"

    def run(self, sls: str = "room.files", test: bool = False, **states: dict[str, Any]) -> dict[str, Any]:
        """Run states of one SLS: {ID with underscores: {"module.function": {argument: value}}}, then the recording."""
        high = {key.replace("_", " "): _high(sls, *next(iter(wanted.items()))) for key, wanted in states.items()}
        high["What was applied is recorded"] = _high("recorded.written", "last_apply.recorded", {"order": "last"})
        return dict(salt.state.State(self.options | {"test": test}).call_high(high))


def _high(sls: str, function: str, arguments: dict[str, Any]) -> dict[str, Any]:
    module, _, name = function.partition(".")
    return {module: [*({key: value} for key, value in arguments.items()), name], "__sls__": sls, "__env__": "base"}


@pytest.fixture
def node(tmp_path: Path) -> Applied:
    return Applied(tmp_path)


def files(root: Path) -> dict[str, Any]:
    """Two states that manage files below a directory."""
    written = {"name": str(root / "a.conf"), "text": "a = 1\n"}
    linked = {"links": [{"path": str(root / "link"), "target": "/opt/a"}], "backups": [str(root / "backup")]}
    return {
        "A_file_is_so": {"config_file.managed": written},
        "A_link_leads_there": {"link_farm.present": linked},
    }


def test_nothing_has_drifted_right_after_a_run(node: Applied, tmp_path: Path) -> None:
    returned = node.run(**files(tmp_path))
    assert {ret["result"] for ret in returned.values()} == {True}
    assert returned[next(tag for tag in returned if "last_apply" in tag)]["changes"] == {}
    assert node.call("last_apply.drift") == []
    summary = node.call("last_apply.summary")
    assert summary["succeeded"] is True and summary["failed"] == [] and set(summary["pillar"]) == {"paths", "os"}
    assert stat.S_IMODE(node.record.stat().st_mode) == 0o600


def test_what_has_drifted_is_named_as_the_states_name_it(node: Applied, tmp_path: Path) -> None:
    node.run(**files(tmp_path))
    (tmp_path / "a.conf").write_text("a = 2\n")
    (tmp_path / "a.conf").chmod(0o600)
    (tmp_path / "link").unlink()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    file, link = node.call("last_apply.drift")
    assert (file["id"], file["sls"]) == ("A file is so", "room.files")
    assert file["what"] == [f"{tmp_path}/a.conf content differs", f"{tmp_path}/a.conf mode 0600 instead of 0644"]
    assert link["what"] == [f"{tmp_path}/link missing"]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_run_in_test_mode_records_nothing(node: Applied, tmp_path: Path) -> None:
    node.run(test=True, **files(tmp_path))
    assert not node.record.exists() and not (tmp_path / "a.conf").exists()
    with pytest.raises(CommandExecutionError, match=r"no state run is recorded on this node: salt .* state.apply"):
        node.call("last_apply.drift")


def test_a_run_of_one_sls_keeps_what_is_known_of_the_others(node: Applied, tmp_path: Path) -> None:
    node.run("room.files", **files(tmp_path))
    other = {"Nothing_is_there": {"file.absent": {"name": str(tmp_path / "gone")}}}
    node.run("room.absent", **other)
    (tmp_path / "a.conf").unlink()
    (tmp_path / "gone").touch()
    assert [item["id"] for item in node.call("last_apply.drift")] == ["A file is so", "Nothing is there"]
    node.run("room.files", **{"A_link_leads_there": files(tmp_path)["A_link_leads_there"]})
    assert [item["id"] for item in node.call("last_apply.drift")] == ["Nothing is there"]


def test_a_failed_state_is_recorded_by_name_and_still_looked_at(node: Applied, tmp_path: Path) -> None:
    (tmp_path / "link").mkdir()
    node.run(**files(tmp_path))
    summary = node.call("last_apply.summary")
    assert (summary["succeeded"], summary["failed"]) == (False, ["A link leads there"])
    (drifted,) = node.call("last_apply.drift")
    assert drifted["what"] == [f"a directory is in a link's place: move away {tmp_path}/link"]


def test_arguments_of_states_that_are_not_let_look_again_are_not_kept(node: Applied) -> None:
    node.run(**{"A_secret_passes": {"test.nop": {"token": "abcdef.0123456789abcdef"}}})
    assert "0123456789abcdef" not in node.record.read_text()
    assert node.call("last_apply.drift") == []


def test_states_of_another_version_are_told_apart_from_drift(node: Applied, tmp_path: Path) -> None:
    node.run(**files(tmp_path))
    record = json.loads(node.record.read_text())
    file, link = record["sls"]["room.files"]["states"]
    file["arguments"]["of_another_version"] = 1
    del link["arguments"]
    node.record.write_text(json.dumps(record))
    (drifted,) = node.call("last_apply.drift")
    assert drifted["what"][0].startswith("was applied by another version of config_file.managed, which could not")


def test_a_damaged_record_is_named_and_written_anew(node: Applied, tmp_path: Path) -> None:
    node.run(**files(tmp_path))
    node.record.write_text("{")
    with pytest.raises(CommandExecutionError, match=r"last-apply.json is damaged .* state.apply writes it anew"):
        node.call("last_apply.read")
    node.run(**files(tmp_path))
    assert node.call("last_apply.drift") == []


def test_kubeconfigs_are_compared_without_asking_the_endpoint(node: Applied) -> None:
    node.run(**{"Every_kubeconfig_names_the_load_balancer": {"kubeconfig.endpoints": {}}})
    node.replace("kubeconfig_endpoints.wanted", lambda: "https://192.168.100.150:6443")
    node.replace("kubeconfig_endpoints.found", lambda: {"/etc/kubernetes/a.conf": "https://192.168.100.151:6443"})
    node.replace("kubeadm_facts.endpoint_trusted", lambda: pytest.fail("may wait for seconds"))
    (drifted,) = node.call("last_apply.drift")
    assert drifted["what"] == [
        "/etc/kubernetes/a.conf https://192.168.100.151:6443 instead of https://192.168.100.150:6443"
    ]


def kubelet(node: Applied) -> Path:
    """The directory of what kubeadm writes of the kubelet, with one file in it."""
    directory = node.root / "sandbox/var/lib/kubelet"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.yaml").write_text("kind: KubeletConfiguration\n")
    return directory


def configured(node: Applied, sls: str = "kubelet.configured", failed: bool = False) -> None:
    """Record a run of the state that keeps those files; how it compares is its own tests' matter."""
    state = {"id": "The kubelet is configured", "sls": sls, "function": "kubeadm_files.kubelet", "name": "n"}
    node.call("last_apply.write", [state | {"arguments": {}}], [state["id"]] if failed else [])


def test_files_that_kubeadm_would_have_to_render_are_compared_by_digest(node: Applied) -> None:
    directory = kubelet(node)
    configured(node)
    assert node.call("last_apply.drift") == []
    (directory / "config.yaml").write_text("kind: Another\n")
    (directory / "config.yaml").chmod(0o600)
    (directory / "kubeadm-flags.env").touch()
    (drifted,) = node.call("last_apply.drift")
    assert drifted["what"] == [
        f"{directory}/kubeadm-flags.env new",
        f"{directory}/config.yaml content differs",
        f"{directory}/config.yaml mode 0600 instead of 0644",
    ]
    (directory / "config.yaml").unlink()
    assert f"{directory}/config.yaml missing" in node.call("last_apply.drift")[0]["what"]


def test_files_that_came_after_a_run_are_taken_up_by_the_next_one(node: Applied, tmp_path: Path) -> None:
    """A node is prepared before it joins: kubeadm writes these files, and the run that joins records them."""
    configured(node)
    directory = kubelet(node)
    assert node.call("last_apply.drift") == []
    node.run("room.files", **files(tmp_path))
    (directory / "config.yaml").write_text("kind: Another\n")
    assert node.call("last_apply.drift")[0]["what"] == [f"{directory}/config.yaml content differs"]


def test_files_that_could_not_be_mended_are_not_taken_for_right(node: Applied) -> None:
    directory = kubelet(node)
    configured(node, failed=True)
    configured(node, "other.room")
    assert node.call("last_apply.read")["sls"]["kubelet.configured"]["states"][0]["files"] is None
    configured(node)
    (directory / "config.yaml").write_text("kind: Another\n")
    configured(node, failed=True)
    assert node.call("last_apply.drift")[0]["what"] == [f"{directory}/config.yaml content differs"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vm.swappiness": {"old": "60", "new": "10"}}, ["vm.swappiness 60 instead of 10"]),
        ({"/a": {"old": None, "new": {"mode": "0755"}}}, ["/a missing"]),
        ({"containerd": {"old": "1.7", "new": None}}, ["containerd present"]),
        (
            {"/a": {"old": {"user": "eve", "mode": "0755"}, "new": {"user": "root", "mode": "0755"}}},
            ["/a user eve instead of root"],
        ),
        ({"/a.toml": {"crio.x": {"old": 1, "new": 2}, "crio.y": {"old": 1, "new": 3}}},
         ["/a.toml crio.x 1 instead of 2", "/a.toml crio.y 1 instead of 3"]),
        ({"a.service": {"restarted": "a.conf changed"}}, ["a.service restarted a.conf changed"]),
        ({"kubelet": {"old": "1.36.3 installed (sha256 " + "0" * 64 + ")", "new": "1.36.4"}}, ["kubelet differs"]),
        ({"k9s": {"old": "not installed", "new": "0.51.0"}}, ["k9s not installed instead of 0.51.0"]),
    ],
)  # fmt: skip
def test_changes_in_words(node: Applied, changes: dict[str, Any], words: list[str]) -> None:
    assert node.call("last_apply.in_words", changes) == words


def test_the_record_is_json_whatever_the_arguments_are(node: Applied, tmp_path: Path) -> None:
    node.run(**files(tmp_path))
    states = json.loads(node.record.read_text())["sls"]["room.files"]["states"]
    assert states[1]["arguments"]["links"] == [{"path": str(tmp_path / "link"), "target": "/opt/a"}]
