"""Why no control-plane node is healthy, as far as the nodes can tell: each cause has its own cure. Facts in, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

UNHEALTHY, NO_QUORUM, EXPIRED = "control-plane-unhealthy", "etcd-quorum-lost", "certificate-expired"


class Diagnosis(NamedTuple):
    """A cause ("" when nothing is known of it), and the code of its runbook."""

    cause: str
    code: str

    @property
    def note(self) -> str:
        """The cause as it follows a sentence, in brackets; "" without one."""
        return f" ({self.cause})" if self.cause else ""


def of_status(status: Mapping[str, Mapping[str, Any]], control_plane: Sequence[str]) -> Diagnosis:
    """What ails a control plane none of whose nodes is healthy.

    Args:
        status: node -> what ``kubeadm.status`` reports there.
        control_plane: the table's control-plane nodes; what others report is not looked at.
    """
    known = {name: status[name] for name in control_plane if name in status}
    expired = {name: told.get("expired", []) for name, told in known.items()}
    leaders = {name: told["etcd_leader"] for name, told in known.items() if told.get("etcd_leader") is not None}
    return _of(expired, leaders)


def of_facts(facts: Mapping[str, Mapping[str, Any]], control_plane: Sequence[str]) -> Diagnosis:
    """The same by what ``node_status.facts`` tells of nodes."""
    known = {name: facts[name] for name in control_plane if name in facts}
    ended = {name: [c["name"] for c in told.get("certificates", []) if c["days"] < 0] for name, told in known.items()}
    leaders = {name: bool(told["etcd"]["leader"]) for name, told in known.items() if "etcd" in told}
    return _of(ended, leaders)


def _of(expired: Mapping[str, Sequence[str]], leaders: Mapping[str, bool]) -> Diagnosis:
    """By the expired certificates of each node, and whether its member of etcd, if that answers, sees a leader.

    Expired certificates come first: members that do not believe each other have no leader either. A member that sees a
    leader speaks for a majority; those that do not see it are cut off, and the quorum is not lost.
    """
    if each := [f"on {name} {', '.join(names)}" for name, names in expired.items() if names]:
        return Diagnosis(f"certificates have expired: {'; '.join(each)}", EXPIRED)
    if leaders and not any(leaders.values()):
        return Diagnosis(f"etcd has no quorum: no leader is seen by the member on {', '.join(leaders)}", NO_QUORUM)
    return Diagnosis("", UNHEALTHY)
