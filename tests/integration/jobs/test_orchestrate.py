"""Orchestrations through salt-run, on real minions: what is printed, what is returned, the exit code."""

from __future__ import annotations


def stage(title: str, function: str, **arguments: object) -> str:
    """One stage as SLS text."""
    lines = "".join(f"    - {key}: {value}\n" for key, value in arguments.items())
    return f"{title}:\n  stage.{function}:\n{lines}    - failhard: True\n"


def test_applied_on_every_node(orchestrate):
    result = orchestrate(stage("Everything is good", "applied", sls="[good]", roles="[control_plane, worker]"))
    print(result.stdout, result.stderr)
    assert result.returncode == 0
