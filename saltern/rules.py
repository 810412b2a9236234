"""All rules between the fields of a definition, in the order in which their findings are listed."""

from __future__ import annotations

from saltern import network_rules, node_rules, option_rules, version_rules
from saltern.problems import Draft, Problem, Rule

RULES: tuple[Rule, ...] = (*network_rules.RULES, *node_rules.RULES, *version_rules.RULES, *option_rules.RULES)


def problems(draft: Draft) -> list[Problem]:
    """Everything that the rules find."""
    return [problem for rule in RULES for problem in rule(draft) if draft.concerns(problem)]
