"""What a dry run said, what a run did, and what was seen from outside: read from Salt's returns, and compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.cluster.drifts import Drift

States = Mapping[str, Mapping[str, Any]]
Seen = Mapping[int, tuple[int, str]]


def changes(states: Any) -> dict[str, Any]:
    """{state, and its name where several share it: its changes} of one node's return; its refusal fails the test."""
    assert isinstance(states, Mapping), f"no state run: {states}"
    return {f"{row['__id__']} ({row['name']})": row["changes"] for row in states.values() if row["changes"]}


def failures(states: States) -> dict[str, str]:
    """{state: comment} of those that failed."""
    return {row["__id__"]: row["comment"] for row in states.values() if row["result"] is False}


def differences(foreseen: Mapping[str, Any], done: Mapping[str, Any]) -> list[str]:
    """Where a dry run and the run after it disagree, as lines to read."""
    lines = []
    for state in sorted(set(foreseen) | set(done)):
        told, did = flat(foreseen.get(state, {})), flat(done.get(state, {}))
        lines += [
            f"{state}: {key}: the dry run said {told.get(key, 'nothing')!r}, the run did {did.get(key, 'nothing')!r}"
            for key in sorted(set(told) | set(did))
            if told.get(key, MISSING) != did.get(key, MISSING)
        ]
    return lines


MISSING = object()


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as paths: {"a": {"b": 1}} -> {"a > b": 1}."""
    if not isinstance(value, Mapping) or not value:
        return {prefix: value}
    pairs: dict[str, Any] = {}
    for key, item in value.items():
        pairs |= flat(item, f"{prefix} > {key}" if prefix else str(key))
    return pairs


def not_told(drifts: Sequence[Drift], foreseen: Mapping[str, Any]) -> list[str]:
    """Drifts whose state the dry run did not name."""
    named = {state.rpartition(" (")[0] for state in foreseen}
    return [f"{drift.what} ({drift.state_id})" for drift in drifts if drift.state_id not in named]


def without_effect(drifts: Sequence[Drift], before: Seen, after: Seen) -> list[int]:
    """Numbers of the drifts that show nothing: they did not happen, or `seen` is blind to them."""
    return [number for number, _drift in enumerate(drifts) if before[number] == after[number]]


def not_mended(drifts: Sequence[Drift], before: Seen, after: Seen) -> list[str]:
    """Drifts that are still to be seen, with what is seen."""
    return [
        f"{drift.what}: was {before[number]}, is {after[number]}"
        for number, drift in enumerate(drifts)
        if before[number] != after[number]
    ]
