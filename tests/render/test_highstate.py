"""Every SLS through Salt's own compiler, for every role and operating-system family.

What is checked: Jinja and YAML, includes and requisites (by Salt), that each state function exists and takes these
arguments (here: Salt would find out on the node).
"""

from __future__ import annotations

import copy
import inspect
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import salt.config
import salt.state
from salt.utils.datastructures import HashableOrderedDict

from saltern import definition, node_pillar
from tests.salt_node import load
from tests.unit.saltern.definitions import PAIR

CHECKOUT = Path(__file__).parents[2]
ROOMS = CHECKOUT / "salt"
FAMILIES = {
    "Debian": {"os": "Debian", "os_family": "Debian", "osrelease": "12", "init": "systemd"},
    "Ubuntu": {"os": "Ubuntu", "os_family": "Debian", "osrelease": "24.04", "init": "systemd"},
    "RedHat": {"os": "CentOS Stream", "os_family": "RedHat", "osrelease": "9", "init": "systemd"},
}
# A load balancer that shares an address is compiled from a definition of its own.
SHARING = "sharing load_balancer"
NODES = {
    "control_plane": "saw-k8s-m-01",
    "worker": "saw-k8s-w-01",
    "load_balancer": "saw-k8s-ha-01",
    SHARING: "saw-k8s-ha-02",
}
HIGHSTATE = {
    "control_plane": ["os", "binaries", "crio", "kubelet", "kubeconfig", "kubeadm.static_pods", "cluster"],
    "worker": ["os", "binaries", "crio", "kubelet", "kubeconfig.endpoints"],
    "load_balancer": ["os", "haproxy"],
    SHARING: ["os", "haproxy", "keepalived"],
}
# Rooms that orchestration applies, and to whom (docs/architecture.md).
ORCHESTRATED = {"kubeadm": ["control_plane", "worker"]} | {
    room: ["control_plane"] for room in ("cilium", "metallb", "verification")
}
# Included by every room of the highstate.
RECORDED = "recorded"
# What orchestration hands over with an SLS, as it passes it (docs/architecture.md).
HANDED_OVER = {"saltern_ca": "-----BEGIN CERTIFICATE-----\n", "saltern_join": dict.fromkeys(NODES.values(), "sealed")}
TREE = "The directories of the provisioner and of the sandbox exist"
REQUISITES = ("require", "watch", "onchanges", "onfail", "prereq", "require_any", "watch_any", "listen")


def roles_of(room: str) -> list[str]:
    """The roles that get the SLS of a folder."""
    if room == RECORDED:
        return list(NODES)
    return ORCHESTRATED.get(room) or [role for role, rooms in HIGHSTATE.items() if room in rooms]


def every_sls() -> list[tuple[str, str]]:
    """(SLS name, role) of everything below salt/ that is applied to a node."""
    found = []
    for path in sorted(ROOMS.glob("*/*.sls")):
        name = path.parent.name if path.stem == "init" else f"{path.parent.name}.{path.stem}"
        # Orchestrations run on the master; their folder is a link into this file root.
        found += [(name, role) for role in roles_of(path.parent.name) if not path.parent.is_symlink()]
    return found


@pytest.fixture(scope="session")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sums of the charts, which the shipped definition leaves to the operator."""
    path = tmp_path_factory.mktemp("overlay")
    rows = "".join(f'  {chart}: {{sha256: {{any: "{"0" * 64}"}}}}\n' for chart in ("cilium-chart", "metallb-chart"))
    (path / "versions.sls").write_text(f"artefacts:\n{rows}")
    (path / SHARING).mkdir()
    (path / SHARING / "cluster.sls").write_text(json.dumps(PAIR))
    return path


class Compiler:
    """Salt's compiler as it runs in one node's minion."""

    def __init__(self, minion_id: str, family: str, overlay: Path, root: Path) -> None:
        more = [overlay / SHARING] if minion_id == NODES[SHARING] else []
        cluster = definition.load([CHECKOUT / "pillar", overlay, *more])
        self.pillar = node_pillar.build(cluster, minion_id) | HANDED_OVER
        self.options = salt.config.DEFAULT_MINION_OPTS.copy() | {
            "id": minion_id,
            "root_dir": str(root),
            "cachedir": str(root / "cache"),
            "extension_modules": str(root / "extmods"),
            "module_dirs": [str(CHECKOUT / "salt")],
            "file_client": "local",
            "file_roots": {"base": [str(ROOMS)]},
            "grains": {"kernel": "Linux", "saltversioninfo": [3008, 3], "id": minion_id} | FAMILIES[family],
            "pillar": self.pillar,
            "test": True,
        }
        self.highstate = salt.state.HighState(self.options, initial_pillar=self.pillar)

    def top(self) -> list[str]:
        """What top.sls gives this node."""
        return [str(name) for name in self.highstate.top_matches(self.highstate.get_top()).get("base", [])]

    def compile(self, sls: list[str]) -> list[dict[str, Any]]:
        """The low chunks of some SLS. Fails with all that the compiler finds."""
        # Salt keeps what was rendered before in the run; here each call is a run.
        self.highstate.building_highstate = HashableOrderedDict()
        high, errors = self.highstate.render_highstate({"base": sls})
        assert not errors, "\n".join(errors)
        state = self.highstate.state
        high, errors = state.reconcile_extend(high)
        errors += state.verify_high(high)
        high, more = state.requisite_in(high)
        chunks, compile_errors = state.compile_high_data(copy.deepcopy(high))
        errors += [*more, *compile_errors]
        assert not errors, "\n".join(map(str, errors))
        return list(chunks)


@pytest.fixture(scope="session")
def new_compiler(overlay: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Make a compiler for a minion ID and a family. Salt's matchers see the options of the one made last."""
    return lambda minion_id, family: Compiler(minion_id, family, overlay, tmp_path_factory.mktemp("minion"))


@pytest.fixture(scope="session")
def compiler(new_compiler: Any) -> Any:
    """Compilers by role and family, each made once."""
    return cache(lambda role, family: new_compiler(NODES[role], family))


def unknown_arguments(function: Any, chunk: dict[str, Any]) -> list[str]:
    """Arguments of a chunk that its state function does not take."""
    internal = {
        *salt.state.STATE_INTERNAL_KEYWORDS,
        *REQUISITES,
        "__id__",
        "__sls__",
        "__env__",
        "name",
        "state",
        "fun",
    }
    parameters = inspect.signature(function).parameters
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        return []
    return [argument for argument in chunk if argument not in parameters and argument not in internal]


def missing_arguments(function: Any, chunk: dict[str, Any]) -> list[str]:
    """Arguments that a state function needs and a chunk lacks."""
    return [
        name
        for name, each in inspect.signature(function).parameters.items()
        if each.default is inspect.Parameter.empty
        and each.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        and name not in chunk
    ]


def check(compiler: Compiler, chunks: list[dict[str, Any]]) -> None:
    """The functions and arguments of a compiled run."""
    findings = []
    for chunk in chunks:
        function = compiler.highstate.state.states.get(f"{chunk['state']}.{chunk['fun']}")
        if function is None:
            findings.append(f"{chunk['__id__']}: no state function {chunk['state']}.{chunk['fun']}")
            continue
        findings += [f"{chunk['__id__']}: takes no {argument}" for argument in unknown_arguments(function, chunk)]
        findings += [f"{chunk['__id__']}: needs {argument}" for argument in missing_arguments(function, chunk)]
    assert not findings, "\n".join(findings)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("role", NODES)
def test_the_highstate_of_a_role(new_compiler: Any, role: str, family: str) -> None:
    its = new_compiler(NODES[role], family)
    assert its.top() == HIGHSTATE[role]
    check(its, its.compile(HIGHSTATE[role]))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("sls", "role"), every_sls())
def test_an_sls_by_itself(compiler: Any, sls: str, role: str, family: str) -> None:
    """One file compiles; what it requires of other files of its room is looked for in the room's init."""
    its = compiler(role, family)
    room = sls.partition(".")[0]
    chunks = its.compile([sls] if sls.endswith(".clean") or sls == room else [room, sls])
    assert chunks
    check(its, chunks)


def test_a_node_of_no_role_gets_nothing(new_compiler: Any) -> None:
    assert new_compiler("a-stranger", "Debian").top() == []


def test_every_state_id_is_a_sentence_of_its_own(compiler: Any) -> None:
    """The output reads as a log: words, no path or identifier."""
    ids = {chunk["__id__"] for role in NODES for chunk in compiler(role, "Debian").compile(HIGHSTATE[role])}
    assert [name for name in ids if " " not in name or "/" in name or "{" in name] == []


@pytest.mark.parametrize("role", NODES)
def test_whatever_is_applied_is_recorded_last(compiler: Any, role: str) -> None:
    its = compiler(role, "Debian")
    runs = [HIGHSTATE[role], *([room] for room in HIGHSTATE[role] if "." not in room)]
    runs += [["kubeadm.joined"]] if "load_balancer" not in role else [["haproxy.trusted"]]
    for run in runs:
        assert its.compile(run)[-1]["__sls__"] == f"{RECORDED}.written", run


@pytest.mark.parametrize("here", [True, False])
def test_what_the_api_holds_is_applied_by_its_keeper_alone(new_compiler: Any, here: bool) -> None:
    its = new_compiler(NODES["control_plane"], "Debian")
    keeper = {"node": "saw-k8s-m-01", "here": here, "reason": "a reason", "failure": False}
    its.highstate.state.functions["keeper.named"] = lambda: keeper
    applied = {f"{chunk['state']}.{chunk['fun']}" for chunk in its.compile(HIGHSTATE["control_plane"])}
    assert "keeper.told" in applied
    acting = {"helm_release.deployed", "manifest.applied", "node_marks.as_defined"}
    assert applied & acting == (acting if here else set())


@pytest.mark.parametrize("role", NODES)
def test_drift_of_every_state_is_seen_or_known_not_to_be(compiler: Any, role: str) -> None:
    """Each state of the highstate can be let look again by cluster.status, or it is named why not."""
    module = load(CHECKOUT / "_modules" / "last_apply.py", {})
    chunks = compiler(role, "Debian").compile(HIGHSTATE[role])
    applied = {f"{chunk['state']}.{chunk['fun']}" for chunk in chunks}
    unknown = applied - module.REPLAYED - set(module.FINGERPRINTED) - set(module.UNSEEN)
    assert not unknown, f"{unknown}: put them into REPLAYED, FINGERPRINTED or UNSEEN of _modules/last_apply.py"


@pytest.mark.parametrize("role", NODES)
def test_what_is_recorded_of_a_state_are_its_own_arguments(compiler: Any, role: str) -> None:
    its = compiler(role, "Debian")
    applied = load(CHECKOUT / "_states" / "last_apply.py", {})._applied
    for chunk in its.compile(HIGHSTATE[role]):
        function = its.highstate.state.states[f"{chunk['state']}.{chunk['fun']}"]
        told = applied(json.loads(json.dumps(chunk)))
        inspect.signature(function).bind(told["name"], **told["arguments"])
        assert told["id"] == chunk["__id__"] and "require" not in told["arguments"]


@pytest.mark.parametrize("role", NODES)
def test_directories_that_a_boot_empties_are_made_again_by_it(compiler: Any, role: str) -> None:
    chunks = {chunk["__id__"]: chunk for chunk in compiler(role, "Debian").compile(["os"])}
    made = chunks["A boot makes those again that it empties"]
    assert made["name"] == "/etc/tmpfiles.d/saltern-directories.conf"
    lines = [line.split() for line in made["text"].splitlines() if not line.startswith("#")]
    work = [each for each in chunks[TREE]["directories"] if Path("/tmp") in Path(each["path"]).parents]  # noqa: S108 - a name
    assert lines == [["d", each["path"], each["mode"], each["user"], each["group"], "-"] for each in work]
    assert len(lines) == 4
    gone = [chunk["name"] for chunk in compiler(role, "Debian").compile(["os.clean"]) if chunk["fun"] == "absent"]
    assert made["name"] in gone


def test_keepalived_gets_its_script_and_is_reloaded_with_it(compiler: Any) -> None:
    chunks = {chunk["__id__"]: chunk for chunk in compiler(SHARING, "Debian").compile(["keepalived"])}
    script = chunks["keepalived can ask the local HAProxy"]
    assert script["text"] == (ROOMS / "keepalived/files/check-haproxy").read_text()
    assert (script["mode"], script["restarts"]) == ("0755", ["keepalived.service"])
    settings = chunks["keepalived is configured"]["settings"]
    assert script["name"] == settings["check"]["path"]


def test_a_run_has_few_states(compiler: Any) -> None:
    """Each costs CPU on every node at every run: lists are one state."""
    assert len(compiler("control_plane", "Debian").compile(HIGHSTATE["control_plane"])) <= 35


def test_only_the_file_root_is_served() -> None:
    """Everything below salt/ can be read by every minion."""
    links = {path.name: path.readlink() for path in ROOMS.iterdir() if path.is_symlink()}
    synced = {"_clouds", "_grains", "_modules", "_output", "_pillar", "_runners", "_states", "_utils"}
    assert set(links) <= synced | {"orchestrate"}
    assert all(str(target) == f"../{name}" for name, target in links.items())
    assert [path for path in ROOMS.rglob("*") if path.is_symlink() and path.parent != ROOMS] == []


@pytest.mark.parametrize("room", sorted(path.name for path in ROOMS.iterdir() if (path / "init.sls").exists()))
def test_every_room_has_a_table_of_contents_and_an_undo(room: str) -> None:
    text = (ROOMS / room / "init.sls").read_text()
    assert text.startswith("#")
    body = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert body[0] == "include:"
    assert all(line.startswith(f"- {room}.") or line == f"- {RECORDED}" for line in body[1:])
    assert (ROOMS / room / "clean.sls").exists()
