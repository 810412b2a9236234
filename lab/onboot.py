"""What a Proxmox host does when it starts: it switches on the machines whose `onboot` is set.

The lab's host starts when its API does: after a restart of this machine, or `make down` that kept the state.
Runs in the lab's network: `python -m lab.onboot --address IP --port N --user NAME --password-file FILE --ca FILE`.
"""

import argparse
import sys
import time
from pathlib import Path

from proxmoxer import ProxmoxAPI  # type: ignore[import-untyped]

TASK_DEADLINE_S = 60


def switch_on(api: ProxmoxAPI) -> list[str]:
    """Start every stopped machine that is marked for it, one after another.

    Args:
        api: a client that may read and start machines.

    Returns:
        The names of those that were started.

    Raises:
        RuntimeError: one did not start; its text is Proxmox's own.
    """
    started = []
    for node in api.nodes.get():
        machines = api.nodes(node["node"]).qemu
        for row in sorted(machines.get(), key=lambda row: int(row["vmid"])):
            machine = machines(row["vmid"])
            if row["status"] == "running" or row.get("template") or machine.config.get().get("onboot") != 1:
                continue
            _wait(api.nodes(node["node"]), machine.status.start.post(), row["name"])
            started.append(str(row["name"]))
    return started


def _wait(node: ProxmoxAPI, upid: str, name: str) -> None:
    deadline = time.monotonic() + TASK_DEADLINE_S
    status: dict[str, str] = {}
    while time.monotonic() < deadline:
        status = node.tasks(upid).status.get()
        if status["status"] == "stopped":
            break
        time.sleep(0.1)  # Proxmox has no call that waits for a task
    if status.get("exitstatus") != "OK":
        raise RuntimeError(f"{name} did not start: {status.get('exitstatus', 'still at it')}")


def main(argv: list[str]) -> int:
    """Switch the machines on and print their names; exit code 1 and one message when one does not start."""
    parser = argparse.ArgumentParser(prog="python -m lab.onboot", description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--user", required=True)
    parser.add_argument("--password-file", type=Path, required=True)
    parser.add_argument("--ca", type=Path, required=True)
    options = parser.parse_args(argv)
    password = options.password_file.read_text().strip()
    api = ProxmoxAPI(
        options.address, port=options.port, user=options.user, password=password, verify_ssl=str(options.ca), timeout=30
    )
    try:
        print(" ".join(switch_on(api)))
    except RuntimeError as err:
        print(err, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
