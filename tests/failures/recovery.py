"""What a failure costs: requests meanwhile, and the time from the cure to a whole cluster."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from saltern.model import Cluster
from tests.cluster.lab_shell import Shell
from tests.cluster.probe import Probe, wait_until


@contextmanager
def requests(shell: Shell, table: Cluster) -> Iterator[tuple[Probe, Probe]]:
    """(API, web service), both asked from outside as long as the block lasts; what they saw is printed at its end."""
    service = shell.kubectl("-n", "saltern-verification", "get", "service", "web")
    address = service["status"]["loadBalancer"]["ingress"][0]["ip"]
    api = Probe(shell, f"https://{table.endpoint.address}:{table.endpoint.port}/readyz", "--insecure")
    web = Probe(shell, f"http://{address}/")
    with api, web:
        yield api, web
    print(f"API: {api}; web service: {web}", flush=True)


def recovers(what: str, condition: Callable[[], object], deadline_s: float) -> float:
    """Wait until the condition is true, print and return the seconds it took. Raises AssertionError."""
    began = time.monotonic()
    wait_until(what, condition, deadline_s)
    seconds = time.monotonic() - began
    print(f"{what}: after {seconds:.1f} s", flush=True)
    return seconds


def is_healthy(shell: Shell) -> bool:
    """Whether `salt-run cluster.status` finds nothing wrong: nodes, etcd, load balancer, pods, charts."""
    return shell.run("salt-run", "cluster.status", check=False).returncode == 0


def api_answers(shell: Shell) -> bool:
    """Whether the endpoint answers an operator."""
    return shell.run("kubectl", "get", "--raw=/readyz", "--request-timeout=2s", check=False).returncode == 0


def orchestrate(shell: Shell, job: str, **pillar: Any) -> subprocess.CompletedProcess[str]:
    """Run an orchestration as an operator types it, whatever its end."""
    argv = ["salt-run", "state.orchestrate", f"orchestrate.{job}", f"pillar={json.dumps(pillar)}"]
    return shell.run(*argv, timeout_s=1500, check=False)
