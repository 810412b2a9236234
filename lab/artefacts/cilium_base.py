"""The layer below Cilium's binaries: a shell, networking tools and the compiler of BPF programs, from Debian packages.

The packages are unpacked, not installed: no script of theirs runs, and nothing needs a chroot. Of clang only the
program and its libraries are taken (Cilium compiles with -nostdinc): a third of what an installation would hold.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from lab.artefacts import debs
from lab.artefacts.store import Recipe
from lab.artefacts.tarballs import Entry, tree

# With all that they depend on. bpftool is for the person who looks into an agent; Cilium itself does not call it.
PACKAGES: tuple[str, ...] = (
    "bash",
    "coreutils",
    "util-linux",
    "mount",
    "grep",
    "sed",
    "iproute2",
    "iptables",
    "ipset",
    "kmod",
    "bpftool",
    "libclang-cpp19",
)
# Without what it depends on: headers, linker and run-time libraries of C, which BPF programs do not use.
COMPILER_PACKAGE = "clang-19"

# Not needed to run anything here. Prefixes of paths in the packages.
LEFT_OUT: tuple[str, ...] = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/bash-completion",
    "usr/share/perl5",
    "usr/share/debconf",
    "usr/lib/x86_64-linux-gnu/perl-base",
    "var/lib/dpkg",
    "var/cache",
    "boot",
    "dev",
    "proc",
    "sys",
)
# Debian keeps /bin, /sbin and /lib as links into /usr; the packages still name files by the old paths.
MERGED = ("bin", "sbin", "lib", "lib64")

# What the packages' own scripts would have set up: names of alternatives, and the superuser.
LINKS: dict[str, str] = {
    "usr/bin/sh": "bash",
    "usr/bin/clang": "../lib/llvm-19/bin/clang",
    "usr/bin/awk": "mawk",
    "etc/localtime": "/usr/share/zoneinfo/UTC",
    **{
        f"usr/sbin/{family}tables{suffix}": "xtables-nft-multi"
        for family in ("ip", "ip6")
        for suffix in ("", "-save", "-restore")
    },
}
PASSWD = b"root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
GROUP = b"root:x:0:\nnogroup:x:65534:\n"
EMPTY_DIRECTORIES = (
    "dev",
    "proc",
    "sys",
    "run",
    "tmp",
    "home/cilium",
    "var/lib/cilium",
    "opt/cni/bin",
    "etc/ssl/certs",
)


def recipe(arch: str) -> Recipe:
    """Return what decides the layer, but for the packages' versions: it is made once and kept."""
    return {
        "kind": "cilium base",
        "packages": [*PACKAGES, COMPILER_PACKAGE],
        "left out": list(LEFT_OUT),
        "links": LINKS,
        "arch": arch,
    }


def make(directory: Path) -> None:
    """Unpack the layer's files into `directory`/root."""
    packages = directory / "debs"
    root = directory / "root"
    root.mkdir()
    for deb in [*debs.download_closure(PACKAGES, packages), debs.download_one(COMPILER_PACKAGE, packages)]:
        _unpack(deb, root)
    shutil.rmtree(packages)


def _unpack(deb: Path, root: Path) -> None:
    with debs.contents(deb) as archive:
        for member in archive:
            path = merged(member.name.removeprefix("./"))
            if wanted(path):
                member.name = path
                if member.islnk():
                    member.linkname = merged(member.linkname.removeprefix("./"))
                archive.extract(member, root, filter="tar")


def merged(path: str) -> str:
    """Return where a package's path lies once /bin, /sbin and /lib are part of /usr ("bin/sh" -> "usr/bin/sh")."""
    first = path.split("/", 1)[0]
    return f"usr/{path}" if first in MERGED else path


def wanted(path: str) -> bool:
    """Tell whether a path of a package goes into the layer."""
    return path != "." and not any(path == prefix or path.startswith(f"{prefix}/") for prefix in LEFT_OUT)


def entries(directory: Path) -> list[Entry]:
    """Return the layer's members, from what `make` left in `directory`."""
    made = {entry.path: entry for entry in tree(directory / "root")}
    for entry in _added():
        made[entry.path] = entry
    return [made[path] for path in sorted(made)]


def _added() -> Sequence[Entry]:
    return [
        *(Entry(name, 0o777, target=f"usr/{name}") for name in MERGED),
        *(Entry(path, 0o777, target=target) for path, target in LINKS.items()),
        *(Entry(path, 0o1777 if path == "tmp" else 0o755) for path in EMPTY_DIRECTORIES),
        Entry("etc/passwd", 0o644, content=PASSWD),
        Entry("etc/group", 0o644, content=GROUP),
    ]
