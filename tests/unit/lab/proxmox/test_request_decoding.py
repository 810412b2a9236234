"""Forms, JSON and schema checks without a server."""

from __future__ import annotations

from typing import Any

import pytest

from lab.proxmox import schema, wire
from lab.proxmox.errors import ApiError
from lab.proxmox.schema import Boolean, Integer, Kind, Many, Number, Text


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        ("", {}),
        ("a=1&b=x+y%2Bz", {"a": "1", "b": "x y+z"}),
        ("a=b=c", {"a": "b"}),
        ("a=1;b=2", {"a": "1", "b": "2"}),
        ("flag", {"flag": ""}),
        ("command=tee&command=/x&command=y", {"command": ["tee", "/x", "y"]}),
    ],
)
def test_forms(text: str, decoded: dict[str, Any]) -> None:
    assert wire.decode_form(text) == decoded


def test_json_keeps_types_and_drops_nulls() -> None:
    assert wire.decode_json('{"a": 1, "b": true, "c": null, "d": ["x"]}') == {"a": 1, "b": True, "d": ["x"]}


@pytest.mark.parametrize("text", ["[1]", "{", "3"])
def test_json_that_is_no_object(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        wire.decode_json(text)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        (Integer(), "5", 5),
        (Integer(), 5, 5),
        (Boolean(), "1", True),
        (Boolean(), 0, False),
        (Boolean(), True, True),
        (Number(), "1.5", 1.5),
        (Text(), 5, "5"),
        (Text(), True, "1"),
        (Many(), "x", ["x"]),
        (Many(), ["x", 1], ["x", "1"]),
    ],
)
def test_values_become_python(kind: Kind, given: Any, value: Any) -> None:
    assert schema.check({"a": kind}, {"a": given}) == {"a": value}


@pytest.mark.parametrize(
    ("kind", "given", "text"),
    [
        (Integer(), "x", "type check ('integer') failed - got 'x'"),
        (Integer(), True, "type check ('integer') failed - got 'True'"),
        (Integer(least=100), "99", "value must have a minimum value of 100"),
        (Integer(most=3), "4", "value must have a maximum value of 3"),
        (Boolean(), "True", "type check ('boolean') failed - got 'True'"),
        (Number(), "1.x", "type check ('number') failed - got '1.x'"),
        (Text(), ["a", "b"], "type check ('string') failed - got ARRAY"),
        (Text(choices=("a", "b")), "c", "value 'c' does not have a value in the enumeration 'a, b'"),
        (Text(rule=schema.dns_name), "-a", "invalid format - value does not look like a valid DNS name"),
    ],
)
def test_wrong_values(kind: Kind, given: Any, text: str) -> None:
    with pytest.raises(ApiError) as caught:
        schema.check({"a": kind}, {"a": given})
    assert caught.value.errors == {"a": text}


def test_all_errors_at_once_and_defaults() -> None:
    declared = {"a": Text(required=True), "b": Integer(), "c": Text(default="x"), "d": Text()}
    with pytest.raises(ApiError) as caught:
        schema.check(declared, {"b": "y", "e": "z"})
    assert set(caught.value.errors or {}) == {"a", "b", "e"}
    assert schema.check(declared, {"a": "1"}) == {"a": "1", "c": "x"}
