"""TOML files: read by the standard library, written by a small writer of our own (the library has none)."""

import datetime
import json
import re
import tomllib
from pathlib import Path

from salt.exceptions import CommandExecutionError

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def read(path):
    """The content of a TOML file.

    path: the file. Returns a dict. Raises CommandExecutionError naming file, line and column when it is missing or no
    TOML.

    CLI Example:

    .. code-block:: bash

        salt '*' toml_file.read /opt/sandbox/etc/crio/crio.conf.d/10-crio.conf
    """
    try:
        return tomllib.loads(Path(path).read_text())
    except (FileNotFoundError, tomllib.TOMLDecodeError) as err:
        raise CommandExecutionError(f"{path}: {err}") from err


def merged(data, keys):
    """A document with dotted keys set; what it holds besides stays.

    data: dict; keys: ``{"crio.runtime.default_runtime": "runc"}``, a part with a dot in it is quoted as in TOML.
    Returns a new dict; DATA is left alone. Raises CommandExecutionError for a key that runs through a value that is
    no table.

    CLI Example:

    .. code-block:: bash

        salt '*' toml_file.merged '{crio: {root: /a}}' '{crio.root: /b}'
    """
    document = json.loads(json.dumps(data)) if _is_plain(data) else tomllib.loads(dumps(data))
    for key, value in keys.items():
        *parents, last = parts(key)
        table = document
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise CommandExecutionError(f"TOML key {key}: {parent} is a value here, not a table")
        table[last] = value
    return document


def parts(key):
    """The parts of a dotted key: ``a."b.c".d`` -> ``["a", "b.c", "d"]``.

    CLI Example:

    .. code-block:: bash

        salt '*' toml_file.parts crio.runtime.default_runtime
    """
    try:
        table = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError as err:
        raise CommandExecutionError(f"TOML key {key!r}: {err}; write it as in a TOML file: table.table.name") from err
    names = []
    while isinstance(table, dict):
        ((name, table),) = table.items()
        names.append(name)
    return names


def flat(data, prefix=""):
    """A document as dotted keys: ``{"crio": {"root": "/a"}}`` -> ``{"crio.root": "/a"}``; empty tables stay.

    CLI Example:

    .. code-block:: bash

        salt '*' toml_file.flat '{crio: {root: /a}}'
    """
    pairs = {}
    for name, value in data.items():
        key = f"{prefix}{_key(name)}"
        pairs |= flat(value, f"{key}.") if isinstance(value, dict) and value else {key: value}
    return pairs


def dumps(data):
    """A document as TOML text: values before tables, tables and arrays of tables under their dotted headers.

    data: dict of strings, booleans, numbers, dates, lists and dicts. Returns text that :mod:`tomllib` reads back as
    DATA.
    Raises CommandExecutionError for what TOML cannot say (``None``).

    CLI Example:

    .. code-block:: bash

        salt '*' toml_file.dumps '{crio: {root: /a}}'
    """
    return "\n".join(_table_lines(data, [])).lstrip("\n") + "\n"


def _table_lines(table, path):
    """The lines of one table and of those below it."""
    values = {name: value for name, value in table.items() if not _is_table(value) and not _is_table_array(value)}
    tables = {name: value for name, value in table.items() if name not in values}
    lines = [f"{_key(name)} = {_value(value, [*path, name])}" for name, value in values.items()]
    for name, value in tables.items():
        header = ".".join(_key(part) for part in [*path, name])
        if _is_table(value):
            # A table that holds only tables needs no header of its own; an empty one does, or it would be lost.
            needed = not value or any(not _is_table(item) for item in value.values())
            lines += ([f"\n[{header}]"] if needed else []) + _table_lines(value, [*path, name])
        else:
            for item in value:
                lines += [f"\n[[{header}]]", *_table_lines(item, [*path, name])]
    return lines


def _is_table(value):
    return isinstance(value, dict)


def _is_table_array(value):
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _is_plain(value):
    """Whether JSON keeps a value as it is (TOML's dates it does not)."""
    if isinstance(value, dict):
        return all(_is_plain(item) for item in value.values())
    if isinstance(value, list):
        return all(_is_plain(item) for item in value)
    return isinstance(value, str | bool | int | float)


def _key(name):
    """A key, quoted when it has to be."""
    return name if BARE_KEY.fullmatch(name) else _string(name)


def _value(value, path):
    """One value as TOML text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, list):
        return "[" + ", ".join(_value(item, path) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(name)} = {_value(item, [*path, name])}" for name, item in value.items()) + "}"
    raise CommandExecutionError(
        f"TOML has no way to say {value!r} (key {'.'.join(path)}): leave the key out or give it a value"
    )


def _string(text):
    """A basic string. JSON's escapes are TOML's, but for DEL, which TOML wants escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def write(path, data):
    """Write a document in one step: a daemon that reads at that moment sees the old or the new file.

    CLI Example:

    .. code-block:: bash

        salt '*' toml_file.write /tmp/a.toml '{crio: {root: /a}}'
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.saltern")
    temporary.write_text(dumps(data))
    temporary.chmod(0o644)
    temporary.replace(target)
