"""Stand-in for the product's haproxy_drain module: whom HAProxy sends nothing new is written down."""

from pathlib import Path


def drain(socket_path, names):
    return _done("directed elsewhere", names)


def resume(socket_path, names):
    return _done("directed back", names)


def _done(what, names):
    with (Path(__opts__["root_dir"]) / "done").open("a") as file:
        file.write(f"{what} {' '.join(names)}\n")
    return names
