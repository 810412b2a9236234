"""Whatever is changed by hand is foreseen by a dry run and mended by a run, and the service goes on.

The drifts come from the states themselves (drifts.py), in waves: all that are independent of each other at once, on a
worker, the load balancer and two control-plane nodes. What they and the runs did is printed; pytest -s shows it.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from types import TracebackType
from typing import Any

import pytest

from saltern.model import Cluster
from tests.cluster import drift_run, drifts
from tests.cluster.lab_shell import Shell
from tests.cluster.probe import Probe, wait_until
from tests.cluster.test_02_failover import api_is_whole

RUN_LIMIT_S = 600


@dataclass(frozen=True)
class Drifted:
    """The nodes that drift, and what can drift on each."""

    shell: Shell
    drifts: Mapping[str, Sequence[drifts.Drift]]
    unmended: list[str] = field(default_factory=list)

    def wave(self, name: str) -> dict[str, list[drifts.Drift]]:
        """{node: its drifts of a wave}, of the nodes that have any."""
        waves = {node: [drift for drift in found if drift.wave == name] for node, found in self.drifts.items()}
        return {node: found for node, found in waves.items() if found}

    def scripts(self, wave: Mapping[str, list[drifts.Drift]], *parts: str) -> dict[str, dict[str, Any]]:
        """Run parts of a wave's drifts on all its nodes at the same time; {node: what was told}."""

        def run(node: str) -> dict[str, Any]:
            command = drifts.command(drifts.script(wave[node], *parts))
            return drifts.told(self.shell.salt(node, "cmd.run_stdout", command)[node])

        with ThreadPoolExecutor() as pool:
            return dict(zip(wave, pool.map(run, wave), strict=True))

    def apply(self, nodes: Collection[str], *options: str) -> dict[str, Any]:
        """`salt -L NODES state.apply`: each node's states."""
        found = self.shell.salt(",".join(nodes), "state.apply", *options, timeout_s=RUN_LIMIT_S)
        assert set(found) == set(nodes), f"{set(nodes) - set(found)} did not answer"
        return found


ANSWERED, TIMED_OUT = "0", "28"  # curl's exit codes


class ControlPlane:
    """Asks every API server on its own node whether it is ready, from entering the block to leaving it.

    One that refuses connections is down. One that is late on a loaded machine is not, nor one that answers that it is
    not ready: that is etcd choosing a leader, and all of them say so for a moment when one member is restarted.
    """

    def __init__(self, shell: Shell, addresses: Mapping[str, str]) -> None:
        self._shell, self._addresses = shell, addresses
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask_on, daemon=True)
        self.down: list[tuple[str, ...]] = []
        self.answers: Counter[str] = Counter()

    def _ask_on(self) -> None:
        config = "\n".join(
            f'url = "https://{address}:6443/readyz"\noutput = "/dev/null"' for address in self._addresses.values()
        )
        shown = "%{url} %{http_code} %{exitcode}\\n"
        options = ("--insecure", "--silent", "--max-time", "2", "--parallel", "--write-out", shown)
        while not self._stop.wait(0.3):
            done = self._shell.run("bash", "-c", 'curl "$@" --config - <<< "$0"', config, *options, check=False)
            answers = {url: (code, ended) for url, code, ended in map(str.split, done.stdout.splitlines())}
            told = {name: answers[f"https://{at}:6443/readyz"] for name, at in self._addresses.items()}
            self.answers.update(f"{name}: HTTP {code}, curl {ended}" for name, (code, ended) in told.items())
            down = (name for name, (_code, ended) in told.items() if ended not in (ANSWERED, TIMED_OUT))
            self.down.append(tuple(down))

    def __enter__(self) -> ControlPlane:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(timeout=10)


@pytest.fixture(scope="module")
def drifted(shell: Shell, table: Cluster) -> Drifted:
    """A worker, the load balancer and two control-plane nodes, in order and with a generated list of drifts each."""
    control_plane = [row.name for row in table.control_plane]
    names = [table.workers[0].name, table.load_balancers[0].name, *control_plane[:2]]
    lowstates = shell.salt(",".join(names), "state.show_lowstate")

    def of(name: str) -> list[drifts.Drift]:
        def ask(function: str, *arguments: Any) -> Any:
            return shell.salt(name, function, *(json.dumps(argument) for argument in arguments))[name]

        role = table.nodes[name].role
        first = name in (control_plane[0], table.workers[0].name, table.load_balancers[0].name)
        return drifts.of_node(drifts.Node(name, role, first, ask), lowstates[name])

    found = Drifted(shell, {name: of(name) for name in names})
    assert found_any({node: drift_run.changes(states) for node, states in found.apply(names).items()}) == {}
    return found


def found_any(by_node: Mapping[str, Any]) -> dict[str, Any]:
    """What there is, of the nodes that have any of it."""
    return {node: found for node, found in by_node.items() if found}


@pytest.mark.parametrize("wave", drifts.WAVES)
def test_a_dry_run_foresees_what_the_run_mends(shell: Shell, table: Cluster, drifted: Drifted, wave: str) -> None:
    assert not drifted.unmended, f"wave {', '.join(drifted.unmended)} was not mended: see there"
    drifted.unmended.append(wave)
    own = drifted.wave(wave)
    service = shell.kubectl("-n", "saltern-verification", "get", "service", "web")
    web = Probe(shell, f"http://{service['status']['loadBalancer']['ingress'][0]['ip']}/")
    with web:
        seen = drifted.scripts(own, "seen", "act", "seen")
        blind = {
            node: [own[node][n] for n in drift_run.without_effect(own[node], told["seen0"], told["seen2"])]
            for node, told in seen.items()
        }
        effective = {node: [drift for drift in own[node] if drift not in blind[node]] for node in own}

        dry = drifted.apply(own, "test=True")
        foreseen = {node: drift_run.changes(states) for node, states in dry.items()}
        with ControlPlane(shell, {row.name: str(row.address) for row in table.control_plane}) as control_plane:
            begin = time.time()
            done = drifted.apply(own)
            lasted_s = time.time() - begin
        mended = drifted.scripts(own, "seen")
        again = {node: drift_run.changes(states) for node, states in drifted.apply(own).items()}
    drifted.scripts(own, "tidy")
    print(report(wave, effective, blind, foreseen, lasted_s, web, control_plane))

    assert [drift.what for found in blind.values() for drift in found if drift.shown_by_container] == []
    assert found_any({node: drift_run.failures(states) for node, states in dry.items()}) == {}
    assert found_any({node: drift_run.failures(states) for node, states in done.items()}) == {}
    happened = {node: drift_run.changes(states) for node, states in done.items()}
    unlike = found_any({node: drift_run.differences(foreseen[node], happened[node]) for node in own})
    assert unlike == {}, json.dumps(unlike, indent=1)
    assert found_any({node: drift_run.not_told(effective[node], foreseen[node]) for node in own}) == {}
    left = {node: drift_run.not_mended(own[node], seen[node]["seen0"], mended[node]["seen0"]) for node in own}
    assert found_any(left) == {}
    assert found_any(again) == {}, "a second run changes nothing"

    assert max(map(len, control_plane.down)) <= 1, Counter(control_plane.down)
    assert restarts_overlap(shell, table, begin) == []
    assert web.answered > 30, web
    assert web.failed == 0, f"web service: {web}"
    wait_until("all API servers are Ready", lambda: api_is_whole(shell, [r.name for r in table.control_plane]), 120)
    drifted.unmended.remove(wave)


def report(
    wave: str,
    effective: Mapping[str, Sequence[drifts.Drift]],
    blind: Mapping[str, Sequence[drifts.Drift]],
    foreseen: Mapping[str, Mapping[str, Any]],
    lasted_s: float,
    web: Probe,
    control_plane: ControlPlane,
) -> str:
    """What a wave was, for those who read the test's output."""
    lines = [f"{wave}: mended in {lasted_s:.0f} s; web service: {web}; {dict(Counter(control_plane.down))} not ready"]
    lines.append(f"  API servers: {dict(control_plane.answers)}")
    for node, found in effective.items():
        hidden = ", ".join(drift.what for drift in blind[node])
        lines.append(f"  {node}: {len(found)} drifts, {len(foreseen[node])} states; not shown here: {hidden or '-'}")
    return "\n".join(lines)


def restarts_overlap(shell: Shell, table: Cluster, since: float) -> list[str]:
    """Restarts of CRI-O or the kubelet on two control-plane nodes at the same time, from the nodes' journals.

    since: seconds of the epoch; the nodes' clock is this machine's.
    """
    names = [row.name for row in table.control_plane]
    ask = f"journalctl --unit crio --unit kubelet --since @{since:.0f} --output json _PID=1"
    spans: list[tuple[float, float, str]] = []
    for node, text in shell.salt(",".join(names), "cmd.run_stdout", ask).items():
        begun: dict[str, float] = {}
        for entry in map(json.loads, text.splitlines()):
            at, unit = int(entry["__REALTIME_TIMESTAMP"]) / 1e6, entry.get("UNIT", "")
            if entry.get("JOB_TYPE") == "restart":
                begun.setdefault(unit, at)
            elif unit in begun and str(entry["MESSAGE"]).startswith("Started"):
                spans.append((begun.pop(unit), at, f"{node} {unit}"))
    spans.sort()
    return [
        f"{one[2]} until {one[1]:.1f}, {other[2]} from {other[0]:.1f}"
        for one, other in pairwise(spans)
        if other[0] < one[1] and other[2].split()[0] != one[2].split()[0]
    ]
