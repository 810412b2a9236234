"""Where a secret stands that should not: the search of many files for many secrets at once.

grep does it: at any number of patterns about as fast as the files can be read. The patterns reach it in a memory file,
so that the search itself puts no secret into an argument or onto a disk.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .secrets import PATTERNS, CertificateKeys, Pattern, Secret

GREP = ["grep", "--no-messages", "--text", "--with-filename", "--null", "--byte-offset", "--only-matching"]
HEXADECIMAL = "[0-9a-f]{64,}"
# What grep prints: the file's name, a NUL, the offset, a colon, the match, which has no line break.
HIT = re.compile(rb"([^\0\n]+)\0(\d+):(.*)")
PATTERN_BYTES = 8192

Name = Callable[[Path, int], str]


@dataclass(frozen=True, order=True)
class Finding:
    """A secret in a place where it should not be: ``secret`` is its kind and origin."""

    place: str
    file: str
    secret: str

    def __str__(self) -> str:
        return f"{self.place}: {self.file} holds: {self.secret}"


class Scanner:
    """Looks for secrets in files and texts.

    Args:
        secrets: those whose value is known.
        certificates: those that are known by what they open.
        patterns: those that are known by their form.
    """

    def __init__(
        self, secrets: Iterable[Secret], certificates: CertificateKeys, patterns: Sequence[Pattern] = PATTERNS
    ) -> None:
        self._known = {needle: str(secret) for secret in secrets for needle in secret.needles}
        self._patterns = {pattern.start: pattern for pattern in patterns}
        self._certificates = certificates

    def files(self, place: str, paths: Iterable[Path], name: Name = lambda file, offset: str(file)) -> list[Finding]:
        """What is found in files; one that is gone by now holds nothing. ``name`` says where an offset in a file is."""
        names = b"\0".join(os.fsencode(path) for path in paths)
        hits = self._hits(["xargs", "--null", *GREP], names, None) if names else []
        return sorted({Finding(place, name(Path(os.fsdecode(file)), offset), secret) for file, offset, secret in hits})

    def text(self, place: str, name: str, text: bytes) -> list[Finding]:
        """What is found in a text, which the findings call ``name``."""
        return sorted({Finding(place, name, secret) for _, _, secret in self._hits(GREP, text, text)})

    def _hits(self, grep: list[str], fed: bytes, text: bytes | None) -> Iterator[tuple[bytes, int, str]]:
        """(file, offset, secret), by the value, by the form, by what it opens."""
        __tracebackhide__ = True
        with _memory_file(b"\n".join([*self._known, *self._patterns])) as (path, descriptor):
            matches = list(_grep([*grep, "--fixed-strings", f"--file={path}"], fed, descriptor))
        for file, offset, match in matches:
            if match in self._known:
                yield file, offset, self._known[match]
            elif self._patterns[match].form.match(_piece(file, offset) if text is None else text[offset:]):
                yield file, offset, self._patterns[match].kind
        if self._certificates:
            tried: dict[bytes, bool] = {}
            for file, offset, digits in _grep([*grep, "--extended-regexp", f"--regexp={HEXADECIMAL}"], fed):
                tried[digits] = tried[digits] if digits in tried else self._certificates.opened_by(digits)
                if tried[digits]:
                    yield file, offset, self._certificates.kind


def files_below(
    top: Path, but: Collection[str] = (), others_only: bool = False, changed_since: float = 0
) -> Iterator[Path]:
    """Every regular file below a directory, links not followed.

    Args:
        top: the directory, itself taken as open to all; one that is missing has no files.
        but: paths below it that are left out, with all below them.
        others_only: only files that a user can open who is neither the owner nor of the group; of those, not what pip
            has installed, whose examples hold keys.
        changed_since: seconds since the epoch. A file whose inode has not changed since before the first secret was
            made cannot hold one. (The time of its content can be set back, that of its inode cannot.)
    """
    left_out = {str(top / path) for path in but}
    installed = {"site-packages"} if others_only else set()
    may_pass, may_read = (stat.S_IXOTH, stat.S_IROTH) if others_only else (0, 0)
    directories = [str(top)]
    while directories:
        with suppress(OSError), os.scandir(directories.pop()) as entries:  # it may be gone by now
            for entry in entries:
                with suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(found.st_mode) and found.st_mode & may_pass == may_pass:
                        directories += [] if entry.path in left_out or entry.name in installed else [entry.path]
                    elif (
                        stat.S_ISREG(found.st_mode)
                        and found.st_mode & may_read == may_read
                        and found.st_ctime >= changed_since
                        and entry.path not in left_out
                    ):
                        yield Path(entry.path)


def _grep(argv: list[str], fed: bytes, descriptor: int | None = None) -> Iterator[tuple[bytes, int, bytes]]:
    """(file, offset, match) of everything that grep finds."""
    __tracebackhide__ = True
    done = subprocess.run(
        argv, input=fed, capture_output=True, check=False, env=os.environ | {"LC_ALL": "C"},
        pass_fds=() if descriptor is None else (descriptor,),
    )  # fmt: skip
    # 1 and 123 (xargs): nothing found, or not everywhere; 2: a file that is gone.
    if done.returncode not in (0, 1, 2, 123):
        raise RuntimeError(f"{argv[0]} ended with exit code {done.returncode}: {done.stderr.decode()[-300:]}")
    for hit in HIT.finditer(done.stdout):
        yield hit[1], int(hit[2]), hit[3]


def _piece(file: bytes, offset: int) -> bytes:
    """What stands in a file from there on; nothing when it is gone by now."""
    with suppress(OSError), Path(os.fsdecode(file)).open("rb") as stream:
        stream.seek(offset)
        return stream.read(PATTERN_BYTES)
    return b""


@contextmanager
def _memory_file(content: bytes) -> Iterator[tuple[str, int]]:
    """A file in memory: its path for a child that inherits the descriptor, and that descriptor."""
    descriptor = os.memfd_create("patterns")
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}", descriptor
    finally:
        os.close(descriptor)
