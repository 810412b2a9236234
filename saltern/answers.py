"""Read what nodes return: which states failed, which changed something, whether an answer is a failure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from saltern import runbooks
from saltern.steps import Call

# Salt's functions whose return is a mapping of state results; everything else returns a plain value.
STATE_FUNCTIONS = frozenset({"state.apply", "state.sls", "state.highstate", "state.single", "state.sls_id"})


class Fault(NamedTuple):
    """What is wrong with an answer: the failed state's ID (or ""), the cause, the code of its runbook."""

    state_id: str
    cause: str
    code: str


def failed_states(value: Mapping[str, Any]) -> list[Fault]:
    """The states that failed; those that did not run because another failed are left out."""
    failed = [(key, ret) for key, ret in value.items() if isinstance(ret, Mapping) and ret.get("result") is False]
    causes = [(key, ret) for key, ret in failed if ret.get("__state_ran__", True)]
    return [
        Fault(state_id(key, ret), one_line(ret.get("comment", "")), runbooks.of_state(key.split("_|-")[0]))
        for key, ret in (causes or failed)
    ]


def changed_states(value: Any) -> list[str]:
    """IDs of the states that changed something (in test mode: would change), in the order in which they ran."""
    if not isinstance(value, Mapping):
        return []
    rets = [(key, ret) for key, ret in value.items() if isinstance(ret, Mapping)]
    rets.sort(key=lambda pair: pair[1].get("__run_num__", 0))
    return [state_id(key, ret) for key, ret in rets if ret.get("changes") or ret.get("result") is None]


def state_id(key: str, ret: Mapping[str, Any]) -> str:
    """The ID that the SLS gives to a state, from Salt's key ``module_|-ID_|-name_|-function``."""
    parts = key.split("_|-")
    return str(ret.get("__id__") or (parts[1] if len(parts) > 1 else key))


def one_line(text: Any, limit: int = 600) -> str:
    """A comment as one line of at most ``limit`` characters: the end is what counts in an error, so the middle goes."""
    line = " ".join(str(text).split())
    return line if len(line) <= limit else f"{line[: limit // 3]} ... {line[-limit * 2 // 3 :]}"


def faults(function: str, value: Any, ok: bool) -> list[Fault]:
    """What is wrong with a node's answer, empty when nothing is.

    A state function that returns no mapping did not run its states (the SLS does not render, another state run is under
    way): Salt then returns a list of messages or a text.
    """
    if function in STATE_FUNCTIONS:
        if not isinstance(value, Mapping):
            text = "; ".join(map(str, value)) if isinstance(value, list) else value
            return [Fault("", one_line(text), "states-not-run")]
        unnamed = Fault("", "the node reports a failure without naming a state", "state-failed")
        return failed_states(value) or ([] if ok else [unnamed])
    return [] if ok else [Fault("", one_line(value), runbooks.of_function(function))]


def changed(call: Call, value: Any) -> list[str]:
    """IDs of the states that a call changed; none for a function that is no state run."""
    return changed_states(value) if call.function in STATE_FUNCTIONS else []
