"""`python -m lab.artefacts`: makes everything and prints a table of it."""

from __future__ import annotations

import argparse
import sys

from lab.artefacts import build
from lab.artefacts.errors import ArtefactError
from lab.artefacts.inventory import Made
from lab.paths import Paths

MIB = 1 << 20


def table(made: list[Made]) -> str:
    """Return the table: name, version, size, sha256, where it came from and whether this run made it."""
    rows = [("name", "version", "MiB", "sha256", "")]
    for line in made:
        state = line.origin if line.fresh else "cached"
        digest = line.sha256.removeprefix("sha256:")
        rows.append((line.name, line.version, f"{line.size_bytes / MIB:.1f}", digest, state))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def main() -> int:
    """Build or download what is missing; exit code 1 and one message when that cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m lab.artefacts", description=__doc__)
    parser.add_argument("--runc-shim", action="store_true", help="this machine lacks CAP_SYS_RESOURCE")
    parser.add_argument("--keep-go-cache", action="store_true", default=None, help="leave Go's caches there")
    parser.add_argument("--prune", action="store_true", help="remove what older recipes left in the cache")
    options = parser.parse_args()
    try:
        cache_dir = Paths.from_environment().cache
        made = build.ensure(cache_dir, **vars(options))
    except ArtefactError as err:
        print(f"lab.artefacts: {err}", file=sys.stderr)
        return 1
    print(table(made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
