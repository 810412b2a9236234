"""Merging of plain data: mappings merge, all else replaces."""

from __future__ import annotations

import copy
from typing import Any


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """A new mapping: ``over`` over ``base``, neither of them changed.

    >>> merged({"hubble": {"ui": False, "relay": True}}, {"hubble": {"ui": True}})
    {'hubble': {'ui': True, 'relay': True}}
    """
    result = copy.deepcopy(base)
    for name, value in over.items():
        below = result.get(name)
        if isinstance(below, dict) and isinstance(value, dict):
            result[name] = merged(below, value)
        else:
            result[name] = copy.deepcopy(value)
    return result
