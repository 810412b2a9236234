"""Stand-in for the product's kube_restart module: every node serves again at once."""

from pathlib import Path


def before(name):
    return {"containers": [f"of {name}"], "unready": []}


def take_back(name, containers, unready, deadline_s):
    with (Path(__opts__["root_dir"]) / "done").open("a") as file:
        file.write(f"take back {name} without {' '.join(containers)}\n")
    return f"{name}: serves again"
