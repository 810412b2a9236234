"""All rules between the fields of a definition, in the order in which their findings are listed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from saltern import network_rules, node_rules, option_rules, version_rules
from saltern.problems import Draft, Problem, Rule

# By the code of their runbook.
RULES: Mapping[str, tuple[Rule, ...]] = {
    "definition-network": network_rules.RULES,
    "definition-nodes": node_rules.RULES,
    "definition-versions": version_rules.RULES,
    "definition-options": option_rules.RULES,
}


def problems(draft: Draft) -> list[Problem]:
    """Everything that the rules find."""
    return [
        replace(problem, code=code)
        for code, rules in RULES.items()
        for rule in rules
        for problem in rule(draft)
        if draft.concerns(problem)
    ]
