"""Artefacts of a node: fetched from a mirror, verified against their pinned sum, put in place, recorded.

A record per artefact (``<records>/<name>.json``) says which archive was installed and what each of its files was at
that moment, so that
a check without drift costs one ``stat`` a file and still finds a binary that was swapped for another of the same
size: nobody can set a ctime.
"""

import contextlib
import gzip
import hashlib
import http.client
import json
import logging
import os
import shutil
import stat
import tarfile
import tempfile
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from salt.exceptions import CommandExecutionError

log = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20
# No byte for that long: the mirror is taken for dead. The whole transfer is not bounded, a slow mirror is still a
# mirror.
SILENCE_S = 60
# A node has about eight artefacts and two cores that it shares with others: more at once only adds contention.
PARALLEL_FETCHES = 4


class ArtefactError(CommandExecutionError):
    """An artefact that cannot be had or put in place: what, where, why, what to do."""


class _Space:
    """Free bytes of each file system, less what the running installs have claimed of it."""

    def __init__(self):
        self._lock = threading.Lock()
        self._left = {}

    def claim(self, directory, needed_bytes, what):
        """Set NEEDED_BYTES aside on the file system of DIRECTORY, or raise ArtefactError."""
        device = Path(directory).stat().st_dev
        with self._lock:
            left = self._left.setdefault(device, shutil.disk_usage(directory).free)
            if needed_bytes > left:
                raise ArtefactError(
                    f"{what}: needs {_mib(needed_bytes)} in {directory}, {_mib(left)} are free there: "
                    f"make room (df -h {directory}) and apply again; nothing of it was installed"
                )
            self._left[device] = left - needed_bytes


def record(name, records):
    """What was installed under an artefact's name.

    name: the artefact; records: directory of the records.
    Returns ``{"version", "sha256", "files": {path: {"sha256", "member", "size", "mtime_ns", "ctime_ns", "mode",
    "uid", "gid"}}}``, ``None`` if there is none.
    Raises CommandExecutionError when the record cannot be read: then remove it, the artefact is installed anew.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 artefact.record kubeadm /opt/sandbox/etc/provisioner/artefacts
    """
    path = _record_path(name, records)
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError as err:
        raise CommandExecutionError(
            f"{path}: not JSON ({err}): remove it and apply again, {name} is then installed anew"
        ) from err


def difference(artefact, records):
    """Why an artefact is not as wanted.

    artefact: ``{"name", "version", "url", "sha256", "format", "files": [{"member", "path", "mode"}]}`` as the pillar
    has it.
    records: directory of the records.
    Returns a sentence, or ``None`` when every file is what was installed from the wanted archive. Changes nothing.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 artefact.difference "{name: kubeadm, version: 1.36.4, ...}"
        /opt/sandbox/etc/provisioner/artefacts
    """
    installed = record(artefact["name"], records)
    if installed is None:
        return "not installed"
    if installed["sha256"] != artefact["sha256"]:
        return f"{installed['version']} installed (sha256 {installed['sha256']})"
    for wanted in artefact["files"]:
        known = installed["files"].get(wanted["path"])
        if known is None or known["member"] != wanted["member"]:
            return f"{wanted['path']} is not of this archive"
        reason = _file_difference(wanted, known)
        if reason:
            return f"{wanted['path']} {reason}"
    return None


def install(artefacts, downloads, records):
    """Fetch, verify and put in place several artefacts, their transfers at the same time.

    artefacts: list as in :func:`difference`; downloads: directory for the transfers; records: directory of the records.
    Returns ``{name: None | error text}``. An artefact with an error has left nothing behind of its own.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 artefact.install "[{name: kubeadm, ...}]" /tmp/provisioner/downloads
        /opt/sandbox/etc/provisioner/artefacts
    """
    Path(downloads).mkdir(parents=True, exist_ok=True)
    Path(records).mkdir(parents=True, exist_ok=True)
    space = _Space()

    def attempt(artefact):
        try:
            _install_one(artefact, Path(downloads), records, space)
        except (CommandExecutionError, OSError) as err:
            return str(err)
        return None

    with ThreadPoolExecutor(PARALLEL_FETCHES) as pool:
        return dict(zip((item["name"] for item in artefacts), pool.map(attempt, artefacts), strict=True))


def renew_record(artefact, records):
    """Take over times, owner and mode of files whose content was just found to be right.

    A copied root file system or a ``touch`` changes times only; the next check then needs no hashing again.
    Returns True when the record was rewritten.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 artefact.renew_record "{name: kubeadm, ...}" /opt/sandbox/etc/provisioner/artefacts
    """
    installed = record(artefact["name"], records)
    renewed = {path: known | _stat_facts(path) for path, known in installed["files"].items()}
    if renewed == installed["files"]:
        return False
    _write_record(artefact["name"], records, installed | {"files": renewed})
    return True


def remove(name, records):
    """Remove the files of an artefact and its record.

    Returns the list of removed paths (empty when it was not installed).

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 artefact.remove kubeadm /opt/sandbox/etc/provisioner/artefacts
    """
    installed = record(name, records)
    if installed is None:
        return []
    removed = [path for path in installed["files"] if _unlink(path)]
    _record_path(name, records).unlink()
    with contextlib.suppress(OSError):  # the others' records
        Path(records).rmdir()
    return removed


def _install_one(artefact, downloads, records, space):
    """Fetch, unpack into temporary files beside their destinations, rename all of them, record."""
    archive = _fetch(artefact, downloads, space)
    staged = {}
    try:
        _stage(artefact, archive, staged, space)
        before = record(artefact["name"], records) or {"files": {}}
        for path, (temporary, _facts) in staged.items():
            temporary.replace(path)
    finally:
        for temporary, _facts in staged.values():
            temporary.unlink(missing_ok=True)
        archive.unlink(missing_ok=True)
    for path in set(before["files"]) - set(staged):
        _unlink(path)
    files = {path: facts | _stat_facts(path) for path, (_temporary, facts) in staged.items()}
    _write_record(
        artefact["name"], records, {"version": artefact["version"], "sha256": artefact["sha256"], "files": files}
    )


def _fetch(artefact, downloads, space):
    """The verified archive in DOWNLOADS, under its own name; one that is there already and right is taken."""
    target = downloads / f"{artefact['name']}-{artefact['sha256'][:12]}"
    if target.exists() and _sha256(target) == artefact["sha256"]:
        return target
    part = target.with_suffix(".part")
    try:
        _verify(artefact, part, *_transfer(artefact, part, space))
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target


def _transfer(artefact, part, space):
    """Stream the URL into PART. Returns (bytes expected or None, bytes got, sha256 of what came)."""
    name, url = artefact["name"], artefact["url"]
    digest = hashlib.sha256()
    got = 0
    try:
        with _opener().open(url, timeout=SILENCE_S) as response, part.open("wb") as sink:
            expected = int(response.headers["Content-Length"]) if response.headers["Content-Length"] else None
            space.claim(part.parent, expected or 0, f"{name} {artefact['version']}")
            buffer = memoryview(bytearray(CHUNK_BYTES))
            while count := response.readinto(buffer):
                digest.update(buffer[:count])
                sink.write(buffer[:count])
                got += count
    except http.client.IncompleteRead as err:
        got += len(err.partial)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as err:
        raise ArtefactError(_unreachable(name, url, err)) from err
    return expected, got, digest.hexdigest()


def _verify(artefact, part, expected, got, came):
    """Raise ArtefactError unless PART is whole and has the pinned sum."""
    name, url = artefact["name"], artefact["url"]
    if expected is not None and got != expected:
        raise ArtefactError(
            f"{name}: {url} is cut short: {got} of {expected} bytes came; "
            "the file on the mirror or the way to it is damaged; nothing was installed"
        )
    if came != artefact["sha256"]:
        raise ArtefactError(
            f"{name}: {url} has sha256 {came}, versions.sls pins {artefact['sha256']} for {artefact['version']}; "
            "either the mirror serves another file or the pin is of another version; nothing was installed"
        )


def _unreachable(name, url, err):
    """Say why a URL did not answer and where to look."""
    reason = (
        f"HTTP {err.code} {err.reason}" if isinstance(err, urllib.error.HTTPError) else str(getattr(err, "reason", err))
    )
    return (
        f"{name}: {url}: {reason}. Nothing was installed. Check from this node: curl -fI {url} "
        "(artefacts.mirror in cluster.sls names the mirror, artefacts in versions.sls the file)"
    )


def _opener():
    """An opener for http and https alone: no pillar may have the node's own files read as an artefact (file://)."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def _stage(artefact, archive, staged, space):
    """Fill STAGED with {path: (temporary file beside it, {"member", "sha256"})} for every wanted file."""
    for wanted in artefact["files"]:
        Path(wanted["path"]).parent.mkdir(parents=True, exist_ok=True)
    if artefact["format"] == "binary":
        _stage_binary(artefact, archive, staged, space)
    elif artefact["format"] == "tar.gz":
        _stage_members(artefact, archive, staged, space)
    else:
        raise ArtefactError(
            f"{artefact['name']}: format {artefact['format']!r} in versions.sls: write binary or tar.gz"
        )


def _stage_binary(artefact, archive, staged, space):
    """The download is the file; moved when it lies on the same file system, else copied."""
    for wanted in artefact["files"]:
        directory = Path(wanted["path"]).parent
        temporary = _temporary(wanted)
        staged[wanted["path"]] = (temporary, {"member": None, "sha256": artefact["sha256"]})
        if len(artefact["files"]) == 1 and archive.stat().st_dev == directory.stat().st_dev:
            archive.replace(temporary)
        else:
            space.claim(directory, archive.stat().st_size, f"{artefact['name']} {artefact['version']}")
            shutil.copyfile(archive, temporary)
        _own(temporary, wanted["mode"])


def _stage_members(artefact, archive, staged, space):
    """Read the archive once; a member's name only selects, so no name in it can lead outside of the wanted paths."""
    wanted = {_plain(item["member"]): item for item in artefact["files"]}
    space.claim(
        Path(artefact["files"][0]["path"]).parent,
        _unpacked_bytes(archive),
        f"{artefact['name']} {artefact['version']} unpacked",
    )
    try:
        with tarfile.open(archive, "r|gz", bufsize=CHUNK_BYTES) as tar:
            for member in tar:
                item = wanted.get(_plain(member.name))
                if item and item["path"] not in staged:
                    _stage_member(artefact, tar, member, item, staged)
    except (tarfile.TarError, gzip.BadGzipFile, EOFError) as err:
        raise ArtefactError(
            f"{artefact['name']}: {artefact['url']} is no readable tar.gz archive ({err}); nothing was installed"
        ) from err
    missing = sorted(item["member"] for item in artefact["files"] if item["path"] not in staged)
    if missing:
        raise ArtefactError(
            f"{artefact['name']}: {artefact['url']} has no member {', '.join(missing)}; if this build leaves them out, "
            f"list them under artefacts.{artefact['name']}.omit in versions.sls; nothing was installed"
        )


def _stage_member(artefact, tar, member, item, staged):
    """Write one member into a temporary file, hashing as it goes."""
    if not member.isreg():
        raise ArtefactError(
            f"{artefact['name']}: member {member.name} is a link or a directory, not a file; nothing was installed"
        )
    temporary = _temporary(item)
    digest = hashlib.sha256()
    source = tar.extractfile(member)
    with temporary.open("wb") as sink:
        staged[item["path"]] = (temporary, {"member": item["member"]})
        while chunk := source.read(CHUNK_BYTES):
            digest.update(chunk)
            sink.write(chunk)
    staged[item["path"]][1]["sha256"] = digest.hexdigest()
    _own(temporary, item["mode"])


def _unpacked_bytes(archive):
    """Bytes that a gzip file holds (the last four say so, modulo 4 GiB: RFC 1952, ISIZE)."""
    with archive.open("rb") as source:
        source.seek(max(archive.stat().st_size - 4, 0))
        return int.from_bytes(source.read(4), "little")


def _plain(member):
    """A member's name without a leading ./ ."""
    return str(PurePosixPath(member))


def _temporary(wanted):
    """A new file beside the wanted path, so that the rename is one step."""
    path = Path(wanted["path"])
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    return Path(name)


def _own(path, mode):
    """Root owns what the nodes run."""
    os.chown(path, os.geteuid(), os.getegid())
    path.chmod(int(str(mode), 8))


def _file_difference(wanted, known):
    """Why the file at wanted["path"] is not the recorded one, as the end of a sentence; None if it is."""
    try:
        facts = _stat_facts(wanted["path"])
    except FileNotFoundError:
        return "is missing"
    except IsADirectoryError:
        return "is not a file"
    if facts["mode"] != int(str(wanted["mode"]), 8):
        return f"has mode {facts['mode']:04o} instead of {int(str(wanted['mode']), 8):04o}"
    if (facts["uid"], facts["gid"]) != (os.geteuid(), os.getegid()):
        return f"belongs to {facts['uid']}:{facts['gid']}"
    if facts["size"] != known["size"]:
        return f"has {facts['size']} bytes instead of {known['size']}"
    unmoved = all(facts[key] == known[key] for key in ("mtime_ns", "ctime_ns"))
    if not unmoved and _sha256(Path(wanted["path"])) != known["sha256"]:
        return "is another file than the one installed (sha256 differs)"
    return None


def _stat_facts(path):
    """What a stat says of a regular file."""
    facts = os.lstat(path)
    if not stat.S_ISREG(facts.st_mode):
        raise IsADirectoryError(path)
    return {
        "size": facts.st_size,
        "mtime_ns": facts.st_mtime_ns,
        "ctime_ns": facts.st_ctime_ns,
        "mode": stat.S_IMODE(facts.st_mode),
        "uid": facts.st_uid,
        "gid": facts.st_gid,
    }


def _sha256(path):
    """Hex sha256 of a file."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def _record_path(name, records):
    """Where the record of an artefact is."""
    return Path(records) / f"{name}.json"


def _write_record(name, records, facts):
    """Replace the record in one step: half a record would make the next run fail."""
    path = _record_path(name, records)
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(facts, indent=1, sort_keys=True))
    temporary.replace(path)


def _unlink(path):
    """Remove a file; False when it was gone already."""
    with contextlib.suppress(FileNotFoundError):
        Path(path).unlink()
        return True
    return False


def _mib(size_bytes):
    """Bytes as people read them."""
    return f"{size_bytes / (1 << 20):.1f} MiB"
