"""``python -m lab.proxmox --state DIR --address IP --port 8006 --machines MODULE:CLASS``."""

from __future__ import annotations

import argparse
import datetime
import importlib
import logging
import sys
from pathlib import Path

from lab.proxmox import initial, settings
from lab.proxmox.certificates import ensure_ca, ensure_server
from lab.proxmox.datacentre import Datacentre
from lab.proxmox.machines import Machines
from lab.proxmox.server import certificate_names, listen, serve


def arguments(argv: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m lab.proxmox", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="directory for all state; made when missing")
    parser.add_argument("--address", default="127.0.0.1", help="IP address to listen on")
    parser.add_argument("--port", type=int, default=8006, help="TCP port to listen on")
    parser.add_argument("--machines", required=True, help="what VMs are: MODULE:CLASS, called without arguments")
    parser.add_argument("--ca", type=Path, help="directory of the certificate authority (default: STATE/ca)")
    parser.add_argument("--settings", type=Path, help="JSON file; lab/proxmox/settings.py says which keys exist")
    return parser.parse_args(argv)


def machines(path: str) -> Machines:
    """Return an instance of the class at a dotted path such as ``lab.nodes.machines:NspawnMachines``.

    Raises:
        ValueError: the path has no colon, or names nothing.
    """
    module_name, _, class_name = path.partition(":")
    try:
        found: Machines = getattr(importlib.import_module(module_name), class_name)()
    except (ImportError, AttributeError) as err:
        raise ValueError(f"--machines {path}: {err}; give it as MODULE:CLASS") from err
    return found


def main(argv: list[str]) -> int:
    """Run the server until it is told to stop; return the exit code."""
    options = arguments(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        datacentre = Datacentre(options.state, settings.load(options.settings), machines(options.machines))
        datacentre.recover()
        initial.populate(datacentre)
        now = datetime.datetime.now(datetime.UTC)
        ca = ensure_ca(options.ca or options.state / "ca", now)
        pair = ensure_server(options.state / "tls", ca, certificate_names(options.address, datacentre), now)
        listener = listen(options.address, options.port)
    except (OSError, ValueError, settings.SettingsError) as err:
        print(f"lab.proxmox: {err}", file=sys.stderr)
        return 1
    serve(datacentre, pair, listener)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
