"""Whether a process runs the program that its artefact installed, or one that lay in its place when it was started."""

import hashlib
import os
from pathlib import Path

PROC = "/proc"


def outdated(pid, path, proc=PROC):
    """Why a process has to be started anew to run the program at a path, the end of a sentence; None if it need not.

    pid: of the process, 0 for none; path: the program, a file of an artefact of this node's pillar; proc: where
    processes are. Costs two stats unless the file was swapped; then the program that runs is hashed.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-w-01 running_binary.outdated 4711 /opt/sandbox/bin/kubelet
    """
    program = Path(proc, str(pid), "exe")
    if not pid or not os.path.lexists(program):
        return None
    artefact = _artefact_of(path)
    known = _recorded(artefact, path) if artefact else None
    if artefact and known is None:
        return f"{path} of {artefact['name']} {artefact['version']} is new"
    if known is None or _untouched(program, path, known) or _sha256(program) == known["sha256"]:
        return None
    return f"it runs another program than {path} of {artefact['name']} {artefact['version']}"


def pending(path):
    """Why a program is not the one that the pillar wants: the artefact's state of this run puts it in place first.

    path: a file of an artefact of this node's pillar. Returns a sentence, None when it is as wanted or no artefact.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 running_binary.pending /opt/sandbox/bin/kubeadm
    """
    artefact = _artefact_of(path)
    return __salt__["artefact.difference"](artefact, _records()) if artefact else None


def _artefact_of(path):
    """The artefact of the pillar that a file belongs to."""
    artefacts = __pillar__.get("saltern", {}).get("artefacts", [])
    return next((item for item in artefacts if any(file["path"] == path for file in item["files"])), None)


def _recorded(artefact, path):
    """What a file of this very archive was when it was installed; None when another archive is, or none."""
    installed = __salt__["artefact.record"](artefact["name"], _records())
    return installed["files"].get(path) if installed and installed["sha256"] == artefact["sha256"] else None


def _records():
    """The directory of the artefacts' records."""
    return __salt__["sandbox.path"]("etc", "provisioner", "artefacts")


def _untouched(program, path, known):
    """Whether the process runs the file at the path, and that is the one that was installed (its ctime tells)."""
    try:
        running, there = program.stat(), Path(path).stat()
    except FileNotFoundError:
        return False
    same = (running.st_dev, running.st_ino) == (there.st_dev, there.st_ino)
    return same and (there.st_mtime_ns, there.st_ctime_ns) == (known["mtime_ns"], known["ctime_ns"])


def _sha256(program):
    """Hex sha256 of the program of a process, which may have no name any more."""
    with program.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
