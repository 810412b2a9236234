"""Stand-in for the product's os_restart module: the test restarts the minion itself when it is ordered."""

from pathlib import Path


def _file(name):
    return Path(__opts__["root_dir"]) / name


def boot():
    return _file("boot").read_text() if _file("boot").exists() else "boot 0"


def order():
    _file("ordered").touch()
    return boot()
