"""Stand-in for the product's os_package module: an upgrade is a line in a file of the minion."""

from pathlib import Path


def upgrade():
    with (Path(__opts__["root_dir"]) / "upgrades").open("a") as file:
        file.write("upgraded\n")
    return {}
