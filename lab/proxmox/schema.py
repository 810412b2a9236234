"""Checks of parameters, with Proxmox's own texts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.proxmox.errors import invalid_parameters

UNKNOWN = "property is not defined in schema and the schema does not allow additional properties"
MISSING = "property is missing and it is not optional"

_DNS_NAME = re.compile(
    r"(?=.{1,253}$)([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)


@dataclass(frozen=True)
class Kind:
    """What a parameter may be. Subclasses convert in :meth:`check`; ``required`` as in the API viewer."""

    required: bool = False
    default: Any = None

    def check(self, value: Any) -> Any:
        """Return the value as its Python type; raises ValueError with Proxmox's text."""
        raise NotImplementedError


@dataclass(frozen=True)
class Text(Kind):
    """A string: of an enumeration, or accepted by ``rule`` (which raises ValueError and may rewrite the value)."""

    choices: tuple[str, ...] = ()
    rule: Callable[[str], str] | None = None

    def check(self, value: Any) -> str:
        """See Kind.check."""
        if isinstance(value, (list, dict)):
            raise ValueError(f"type check ('string') failed - got {'ARRAY' if isinstance(value, list) else 'HASH'}")
        text = str(int(value)) if isinstance(value, bool) else str(value)
        if self.choices and text not in self.choices:
            raise ValueError(f"value '{text}' does not have a value in the enumeration '{', '.join(self.choices)}'")
        return self.rule(text) if self.rule else text


@dataclass(frozen=True)
class Integer(Kind):
    """A whole number within bounds (inclusive)."""

    least: int | None = None
    most: int | None = None

    def check(self, value: Any) -> int:
        """See Kind.check."""
        if isinstance(value, bool) or re.fullmatch(r"[+-]?\d+", str(value)) is None:
            raise ValueError(f"type check ('integer') failed - got '{value}'")
        number = int(value)
        if self.least is not None and number < self.least:
            raise ValueError(f"value must have a minimum value of {self.least}")
        if self.most is not None and number > self.most:
            raise ValueError(f"value must have a maximum value of {self.most}")
        return number


@dataclass(frozen=True)
class Number(Kind):
    """A number, whole or not."""

    def check(self, value: Any) -> float:
        """See Kind.check."""
        if isinstance(value, bool) or re.fullmatch(r"[+-]?\d+(\.\d+)?", str(value)) is None:
            raise ValueError(f"type check ('number') failed - got '{value}'")
        return float(value)


@dataclass(frozen=True)
class Boolean(Kind):
    """1, 0 or a boolean of JSON: nothing else, and no ``True`` in a form."""

    def check(self, value: Any) -> bool:
        """See Kind.check."""
        if isinstance(value, bool):
            return value
        if str(value) not in ("0", "1"):
            raise ValueError(f"type check ('boolean') failed - got '{value}'")
        return str(value) == "1"


@dataclass(frozen=True)
class Many(Kind):
    """An array of strings: a JSON array, or a repeated key of a form."""

    def check(self, value: Any) -> list[str]:
        """See Kind.check."""
        return [Text().check(item) for item in (value if isinstance(value, list) else [value])]


@dataclass(frozen=True)
class Received(Kind):
    """A file that came with the request: the Path where it was put; no client can name a path."""

    def check(self, value: Any) -> Path:
        """See Kind.check."""
        if not isinstance(value, Path):
            raise ValueError(UNKNOWN)
        return value


def check(declared: Mapping[str, Kind], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given parameters as Python values, with defaults; absent ones without default are left out.

    Raises:
        ApiError: 400 with a text for each parameter that is unknown, missing or wrong.
    """
    errors = {name: UNKNOWN for name in given if name not in declared}
    checked: dict[str, Any] = {}
    for name, kind in declared.items():
        if name not in given:
            if kind.required:
                errors[name] = MISSING
            elif kind.default is not None:
                checked[name] = kind.default
            continue
        try:
            checked[name] = kind.check(given[name])
        except ValueError as err:
            errors[name] = str(err)
    if errors:
        raise invalid_parameters(errors)
    return checked


def dns_name(text: str) -> str:
    """Accept a DNS name (rule of a Text)."""
    if _DNS_NAME.fullmatch(text) is None:
        raise ValueError("invalid format - value does not look like a valid DNS name")
    return text


def matching(pattern: str, complaint: str = "value does not match the regex pattern") -> Callable[[str], str]:
    """Return a rule that accepts what a regular expression matches entirely."""

    def rule(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise ValueError(complaint)
        return text

    return rule


VMID = Integer(required=True, least=100, most=999999999)
NODE = Text(
    required=True,
    rule=matching(
        r"[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?", "invalid format - value does not look like a valid node name"
    ),
)
STORAGE = Text(
    required=True,
    rule=matching(r"[a-zA-Z][a-zA-Z0-9._-]*[a-zA-Z0-9]", "invalid format - storage ID contains illegal characters"),
)
POOL = Text(
    rule=matching(
        r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+){0,2}", "invalid format - value does not look like a valid pool name"
    )
)
