"""The lab's services inside its network: started detached, recognised by PID and start time, ended."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab import network, processes
from lab.errors import LabError
from lab.paths import Paths
from lab.shell import run

START_DEADLINE_S = 60


@dataclass(frozen=True)
class Service:
    """A service of the lab.

    Attributes:
        name: names its record and its log.
        argv: its command, which stays in the foreground.
        ports: TCP ports that it listens on once it is ready.
        environment: variables beside PATH.
    """

    name: str
    argv: Sequence[str]
    ports: tuple[int, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


class Services:
    """Starts, finds and ends services.

    Args:
        paths: roots of the lab.
        listening: tells the TCP ports that are open in the lab's network.
    """

    def __init__(self, paths: Paths, listening: "Callable[[], set[int]] | None" = None) -> None:
        self.paths = paths
        self._listening = listening or listening_ports

    def start(self, service: Service) -> bool:
        """Start a service and wait until it listens.

        Returns:
            Whether it had to be started.

        Raises:
            LabError: it ended, or does not listen in time; the text names its log.
        """
        if self.running(service.name):
            return False
        taken = self._listening() & set(service.ports)
        if taken:
            raise LabError(
                f"{service.name}: port {', '.join(map(str, sorted(taken)))} in the lab's network is taken by another "
                "process. Type `make down`, then `make up`"
            )
        log = self.log(service.name)
        environment = {
            "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            "HOME": "/root",
            "LANG": "C.UTF-8",
        }
        child = processes.spawn(network.inside(service.argv), log, {**environment, **service.environment})
        process = processes.Process.of(child.pid)
        if process:
            processes.record(self._record(service.name), process)
        deadline = time.monotonic() + START_DEADLINE_S
        while time.monotonic() < deadline and child.poll() is None:
            if set(service.ports) <= self._listening():
                return True
            # None of the services can tell a starter that is not systemd when it is ready.
            time.sleep(0.1)
        reason = "does not listen" if child.poll() is None else f"ended with exit code {child.returncode}"
        self.stop(service.name)
        raise LabError(f"{service.name} {reason} ({log} says why): {_tail(log)}")

    def stop(self, name: str) -> bool:
        """End a service.

        Returns:
            Whether it ran.
        """
        process = processes.recorded(self._record(name))
        if process:
            processes.end(process)
        self._record(name).unlink(missing_ok=True)
        return process is not None

    def running(self, name: str) -> bool:
        """Whether a service runs."""
        return processes.recorded(self._record(name)) is not None

    def names(self) -> list[str]:
        """Services that were started and not stopped since."""
        return sorted(path.stem.removeprefix("service-") for path in self.paths.run.glob("service-*.json"))

    def log(self, name: str) -> Path:
        """A service's log file."""
        return self.paths.log / f"{name}.log"

    def _record(self, name: str) -> Path:
        return self.paths.run / f"service-{name}.json"


def listening_ports(text: str | None = None) -> set[int]:
    """TCP ports that are open in the lab's network.

    Args:
        text: output of `ss -Hltn`: `LISTEN 0 511 192.168.100.1:8080 0.0.0.0:*`; without it, the lab's own.
    """
    listing = run(network.inside(["ss", "-Hltn"])) if text is None else text
    return {int(line.split()[3].rpartition(":")[2]) for line in listing.splitlines() if len(line.split()) > 3}


def _tail(log: Path, lines: int = 5) -> str:
    text = log.read_text(errors="replace") if log.exists() else ""
    return " / ".join(text.strip().splitlines()[-lines:]) or "it has written nothing"
