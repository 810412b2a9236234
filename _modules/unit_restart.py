"""Units that have to be restarted (or reloaded) because something that they read only at their start has changed.

The state that changes such a file notes it, the state of the unit acts on it: a run that was killed in between is ended
by the next one. The notes lie in /run, for a boot starts every unit anew. In test mode they live as long as the run.
"""

import json
from pathlib import Path

NOTES = "/run/saltern/restarts"
CONTEXT_KEY = "saltern.restarts"


def note(units, reason, test=False, directory=NOTES):
    """Note why units are to be restarted.

    units: list of names with their suffix; reason: the end of a sentence; test: only for the rest of this run;
    directory: of the notes.

    CLI Example:

    .. code-block:: bash

        salt '*' unit_restart.note '[crio.service]' '/etc/default/crio changed'
    """
    for unit in units:
        if test:
            known = __context__.setdefault(CONTEXT_KEY, {}).setdefault(unit, [])
            known += [reason] if reason not in known else []
        elif reason not in (known := _read(unit, directory)):
            _write(unit, [*known, reason], directory)


def reasons(unit, test=False, directory=NOTES):
    """Why a unit is to be restarted: a list, empty when it is not.

    unit: its name; test: with what this run in test mode has noted, which is forgotten by that.

    CLI Example:

    .. code-block:: bash

        salt '*' unit_restart.reasons crio.service
    """
    foreseen = __context__.get(CONTEXT_KEY, {}).pop(unit, []) if test else []
    return [*_read(unit, directory), *foreseen]


def forget(unit, directory=NOTES):
    """Drop the notes of a unit: it was started anew.

    CLI Example:

    .. code-block:: bash

        salt '*' unit_restart.forget crio.service
    """
    _path(unit, directory).unlink(missing_ok=True)


def _read(unit, directory):
    """The notes of a unit. Half a note is one too: what it said is lost, not that there was something."""
    try:
        return json.loads(_path(unit, directory).read_text())
    except FileNotFoundError:
        return []
    except ValueError:
        return ["a note of an interrupted run"]


def _write(unit, why, directory):
    """Replace the notes of a unit."""
    path = _path(unit, directory)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(why))
    temporary.replace(path)


def _path(unit, directory):
    """Where the notes of a unit are."""
    return Path(directory) / f"{unit}.json"
