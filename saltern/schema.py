"""What pydantic finds wrong with single fields, in the operator's words, and the cluster of the parts that are right.

The second lets the rules between fields run although some fields are wrong, so that one check reports everything.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from saltern.model import Cluster
from saltern.problems import STAND_IN, Key, Problem

# Stand-ins for required values that are missing or wrong: nothing is reported about them (addresses: RFC 5737).
NETWORK = {"cidr": "192.0.2.0/24", "gateway": "192.0.2.1", "dns": ["192.0.2.1"]}
ROW = {"role": "worker", "address": "192.0.2.2", "cpus": 2, "memory_gib": 2, "disk_gib": 1}
ARTEFACT = {"version": "0.0.0", "url": f"http://{STAND_IN}", "format": "binary"}
POOLS = {STAND_IN: ["192.0.2.4-192.0.2.5"]}
VERSIONS = {"kubernetes": "0.0.0", "crio": "0.0.0", "pause_image": STAND_IN, "artefacts": {}}
STAND_INS: dict[Key, Any] = {
    ("cluster",): {"name": STAND_IN, "network": NETWORK},
    ("cluster", "name"): STAND_IN,
    ("cluster", "network"): NETWORK,
    **{("cluster", "network", name): value for name, value in NETWORK.items()},
    ("nodes",): {STAND_IN: ROW},
    ("master",): {"address": "192.0.2.3"},
    ("master", "address"): "192.0.2.3",
    ("metallb",): {"pools": POOLS},
    ("metallb", "pools"): POOLS,
    ("versions",): VERSIONS,
    **{("versions", name): value for name, value in VERSIONS.items()},
}
# The same for parts of an entry, below whatever name it has.
ENTRY_STAND_INS: dict[Key, dict[str, Any]] = {("nodes",): ROW, ("versions", "artefacts"): ARTEFACT}
# Below these keys an entry goes as a whole when a part of it is wrong: nothing can stand in for half a range.
UNQUOTED = ("int_type", "bool_type")  # pydantic's errors for text where YAML has a type of its own
ENTRIES: tuple[Key, ...] = (("metallb", "pools"), ("haproxy",))


def parse(data: dict[str, Any]) -> tuple[Cluster | None, list[Problem]]:
    """Read the merged data as a cluster.

    Returns:
        The cluster and no problems; or the cluster of the parts that are right, and the problems of the others; or
        None and the problems, when too little is right.
    """
    try:
        return Cluster.model_validate(data), []
    except ValidationError as err:
        errors = err.errors(include_url=False)
    try:
        remainder: Cluster | None = Cluster.model_validate(without_broken_parts(data, errors))
    except ValidationError:
        remainder = None
    return remainder, [problem(error) for error in errors]


def key_of(error: ErrorDetails) -> Key:
    """The key that an error is about, without pydantic's own marker for a mapping's name."""
    return tuple(str(part) for part in error["loc"] if part != "[key]")


def problem(error: ErrorDetails) -> Problem:
    """One of pydantic's errors as a problem with a remedy."""
    key = key_of(error)
    if error["type"] == "extra_forbidden":
        return unknown_key(key)
    field = field_at(key)
    wanted = (field.description if field else None) or "its value as docs/architecture.md shows it"
    if error["type"] == "missing":
        return Problem(key, "the key is missing", f"add {key[-1]}: {wanted}", value="")
    rule = error["msg"].replace("Input should", "the value should")
    found, quoted = error["input"], error["type"] in UNQUOTED and isinstance(error["input"], str)
    remedy = f"write {wanted}" + (", without quotes" if quoted else "")
    return Problem(key, rule, remedy, value=f'"{found}"' if quoted else found)


def unknown_key(key: Key) -> Problem:
    """The problem of a key that the model does not have, with the key that was probably meant."""
    owner = type_at(key[:-1])
    known = [info.alias or name for name, info in owner.model_fields.items()] if is_model(owner) else []
    close = difflib.get_close_matches(key[-1], known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return Problem(key, "unknown key", f"{hint}Known here: {', '.join(known)}", value="")


def is_model(kind: Any) -> bool:
    """Whether a type is one of the model's classes."""
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def plain(annotation: Any) -> Any:
    """A field's type without "or null"."""
    choices = [choice for choice in get_args(annotation) if choice is not type(None)]
    optional = len(choices) == 1 and type(None) in get_args(annotation)
    return choices[0] if optional else annotation


def field_named(model: Any, name: str) -> FieldInfo | None:
    """A model's field by the name that it has in the file."""
    fields: dict[str, FieldInfo] = model.model_fields
    return next((info for field, info in fields.items() if name == (info.alias or field)), None)


def walk(key: Key) -> tuple[FieldInfo | None, Any]:
    """The field that a key leads to (or lies in), and the type found there."""
    field: FieldInfo | None = None
    kind: Any = Cluster
    for name in key:
        if is_model(kind):
            found = field_named(kind, name)
            if found is None:
                return None, None
            field, kind = found, plain(found.annotation)
        elif get_origin(kind) in (dict, list):
            kind = plain(get_args(kind)[-1])
        else:
            break
    return field, kind


def field_at(key: Key) -> FieldInfo | None:
    """The field that a key leads to, or that it is an entry of."""
    return walk(key)[0]


def type_at(key: Key) -> Any:
    """The type that a key leads to."""
    return walk(key)[1]


def without_broken_parts(data: dict[str, Any], errors: Iterable[ErrorDetails]) -> dict[str, Any]:
    """A copy of the data in which each part with an error is left out, or replaced by its stand-in."""
    remainder = copy.deepcopy(data)
    for error in errors:
        key = key_of(error)
        remove(remainder, key if error["type"] == "extra_forbidden" else whole(remainder, key))
    for key in (("nodes",), ("metallb", "pools")):
        owner = reach(remainder, key[:-1])
        if isinstance(owner, dict) and owner.get(key[-1]) == {}:
            owner[key[-1]] = copy.deepcopy(STAND_INS[key])
    return remainder


def whole(data: dict[str, Any], key: Key) -> Key:
    """The part that has to go when this key is wrong: its entry, its list, or the key itself."""
    for above in ENTRIES:
        if key[: len(above)] == above and len(key) > len(above):
            return key[: len(above) + 1]
    lists = (length for length in range(len(key)) if isinstance(reach(data, key[:length]), list))
    return key[: next(lists, len(key))]


def reach(data: Any, key: Key) -> Any:
    """The value at a key, or None where the data does not go that deep."""
    for name in key:
        if not isinstance(data, dict):
            return None
        data = data.get(name)
    return data


def remove(data: dict[str, Any], key: Key) -> None:
    """Leave a key out, or put its stand-in there if the model cannot do without."""
    owner = reach(data, key[:-1])
    if not isinstance(owner, dict):
        return  # a part above it is gone already
    substitute = stand_in(key)
    if substitute is None:
        owner.pop(key[-1], None)
    else:
        owner[key[-1]] = copy.deepcopy(substitute)


def stand_in(key: Key) -> Any:
    """What stands in for a broken or missing value, or None where the model can do without it."""
    if key in STAND_INS:
        return STAND_INS[key]
    return ENTRY_STAND_INS.get(key[:-2], {}).get(key[-1])
