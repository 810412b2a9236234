"""Drifts of the operating system on a booted node: foreseen as they are mended, mended once.

The same list of drifts as there, as far as a node without master, mirror and cluster has the states.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.nodes.scratch import ScratchNode, scratch_node
from saltern import definition, node_pillar
from tests.cluster import drift_run, drifts

CHECKOUT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def node() -> Iterator[ScratchNode]:
    with scratch_node("saw-k8s-w-01") as booted:
        yield booted


@pytest.fixture(scope="module")
def pillar(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A worker's pillar; packages and their services, which come from the lab's running mirror, are left out."""
    overlay = tmp_path_factory.mktemp("overlay")
    rows = "".join(f'  {chart}: {{sha256: {{any: "{"0" * 64}"}}}}\n' for chart in ("cilium-chart", "metallb-chart"))
    (overlay / "versions.sls").write_text(f"artefacts:\n{rows}")
    pillar = node_pillar.build(definition.load([CHECKOUT / "pillar", overlay]), "saw-k8s-w-01")
    pillar["saltern"]["os"] |= {"packages": [], "services": [], "refresh": False}
    return pillar


@pytest.fixture(scope="module")
def found(node: ScratchNode, pillar: dict[str, Any]) -> list[drifts.Drift]:
    """All drifts of the room os."""
    node.salt_call("state.apply", "os", pillar=pillar)
    lowstate = node.salt_call("state.show_low_sls", "os", pillar=pillar)
    chunks = [chunk for chunk in lowstate if f"{chunk['state']}.{chunk['fun']}" != "os_package.settled"]
    return drifts.of_node(drifts.Node("saw-k8s-w-01", "worker", True, node.salt_call), chunks)


def run(node: ScratchNode, found: list[drifts.Drift], *parts: str) -> dict[str, Any]:
    return drifts.told(node.run(["bash"], stdin=drifts.script(found, *parts)))


# The others are of what this node is not: a member of a cluster, a load balancer.
@pytest.mark.parametrize("wave", [drifts.EDITED, drifts.REMOVED, drifts.DISOWNED])
def test_a_dry_run_foresees_what_the_run_mends(
    node: ScratchNode, pillar: dict[str, Any], found: list[drifts.Drift], wave: str
) -> None:
    own = [drift for drift in found if drift.wave == wave]
    assert own
    seen = run(node, own, "seen", "act", "seen")
    blind = [own[number] for number in drift_run.without_effect(own, seen["seen0"], seen["seen2"])]
    assert [drift.what for drift in blind if drift.shown_by_container] == []

    foreseen = node.salt_call("state.apply", "os", pillar=pillar, test=True)
    assert run(node, own, "seen")["seen0"] == seen["seen2"], "a dry run changes nothing"
    done = node.salt_call("state.apply", "os", pillar=pillar)
    assert drift_run.failures(done) == {}
    assert drift_run.differences(drift_run.changes(foreseen), drift_run.changes(done)) == []
    assert drift_run.not_told([d for d in own if d not in blind], drift_run.changes(foreseen)) == []
    assert drift_run.not_mended(own, seen["seen0"], run(node, own, "seen")["seen0"]) == []
    assert drift_run.changes(node.salt_call("state.apply", "os", pillar=pillar)) == {}
    run(node, own, "tidy")


def test_a_state_without_drifts_is_found(found: list[drifts.Drift]) -> None:
    stranger = {"state": "no_such", "fun": "state", "__id__": "A sentence"}
    with pytest.raises(LookupError, match=r"no drift for state no_such.state \('A sentence'\)"):
        drifts.of_node(drifts.Node("a", "worker", True, lambda *_args: None), [stranger])
