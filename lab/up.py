"""Bringing the lab up, and the product with it: every step finds what is done already and leaves it alone."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lab import installation, kernel_settings, network, overlay, salt_master, tools
from lab.errors import LabError
from lab.host import Host, detect, requirements
from lab.nodes import template
from lab.nodes.machines import TEMPLATE_ID, NspawnMachines
from lab.paths import Paths
from lab.services import Services
from lab.shell import run
from saltern import definition
from saltern.model import Cluster

Progress = Callable[[str], None]


class Lab:
    """The lab on this machine.

    Args:
        paths: its roots.
        progress: takes one line a step.
    """

    def __init__(self, paths: Paths, progress: Progress) -> None:
        self.paths = paths
        self.progress = progress
        self.host: Host = detect(paths)
        self.changes = 0

    def start(self) -> Cluster:
        """Everything but the main job: artefacts, template, network, definition, services, the user's commands.

        Returns:
            The definition that the product works on.

        Raises:
            LabError: a step failed; what is done stays, the next call goes on from there.
        """
        findings = requirements(self.host, self.paths)
        if findings:
            raise LabError("this machine cannot run the lab:\n" + "\n".join(f"  - {finding}" for finding in findings))
        self._examine()
        self.paths.state.mkdir(parents=True, exist_ok=True)
        self.paths.state.chmod(0o700)  # one that was there may be open
        with self._stage("artefacts"):
            self._artefacts()
        with self._stage("template of the nodes"):
            archive = template.ensure(self.paths, self.progress)
        with self._stage("network, kernel settings, nodes' disk"):
            self._count(network.up())
            self._count(bool(kernel_settings.apply(self.paths.lab / "kernel-settings.json")))
            store = NspawnMachines(self.paths).store
            self._count(store.mount())
            origin = template.origin(self.paths)
            self._count(store.unpack(TEMPLATE_ID, archive, origin, template.configure))
        with self._stage("definition, services, commands"):
            cluster = self._definition()
            self._services(cluster)
            tools.install(self.paths, cluster, run(["dpkg", "--print-architecture"]).strip())
        return cluster

    def main_job(self) -> int:
        """Create the machines and make them a cluster, by the commands that an operator types.

        Returns:
            The exit code of the first command that failed, else 0.
        """
        machines_map = self.paths.checkout / "cloud.maps.d/cluster.map"
        for words in (
            ["salt-cloud", "-P", "-m", str(machines_map), "-y"],
            ["salt-run", "state.orchestrate", "orchestrate.cluster"],
        ):
            self.progress(f"$ {' '.join(words)}")
            code = self._type(words)
            if code:
                self.progress(
                    f"`{words[0]}` ended with exit code {code}; what is done stays. See above for what to type next; "
                    'a shell in the lab: eval "$(make -s lab-env)"'
                )
                return code
        self._kubeconfig()
        return self._type(["salt-run", "cluster.summary"])

    def _artefacts(self) -> None:
        # Imported here: the artefacts' builder has requirements of its own, which `make down` must not have.
        from lab.artefacts import build
        from lab.artefacts.errors import ArtefactError

        try:
            build.ensure(self.paths.cache, runc_shim=self.host.needs_runc_shim)
        except ArtefactError as err:
            raise LabError(str(err)) from err

    def _examine(self) -> None:
        """Refuse a wrong definition before minutes are spent; missing sums are the overlay's to bring.

        Raises:
            LabError: everything that is wrong with the checkout's pillar.
        """
        errors = definition.check([self.paths.checkout / "pillar"]).errors
        wrong = [finding for finding in errors if not finding.path.endswith(".sha256")]
        if wrong:
            raise LabError(str(definition.DefinitionError(wrong)))

    def _definition(self) -> Cluster:
        """Write the overlay of this machine and read the whole definition as the product will."""
        from lab.artefacts import overlay as artefacts

        off = artefacts.disabled(self.paths.cache)
        key = tools.ensure_ssh_key(self.paths)
        self._count(overlay.write(self.paths.pillar, "cluster.sls", overlay.cluster(self.host, off, [key])))
        self._count(overlay.write(self.paths.pillar, "versions.sls", artefacts.versions(self.paths.cache)))
        try:
            return definition.load([self.paths.checkout / "pillar", self.paths.pillar])
        except definition.DefinitionError as err:
            raise LabError(str(err)) from err

    def _services(self, cluster: Cluster) -> None:
        names = {name: str(node.address) for name, node in cluster.nodes.items()}
        services = Services(self.paths)
        for service in (
            installation.dns(self.paths, names),
            installation.mirror(self.paths),
            installation.registry(self.paths),
        ):
            self._count(services.start(service))
        host_starts = services.start(installation.proxmox(self.paths))
        self._count(host_starts)
        password = installation.proxmox_password(self.paths).read_text().strip()
        configured = salt_master.write(self.paths, password, installation.ca_certificate(self.paths))
        # Both are looked at: each notes what it has seen.
        if salt_master.code_changed(self.paths) or configured:
            services.stop("salt-master")
        self._count(services.start(installation.master(self.paths)))
        if host_starts:
            started = run(network.inside(installation.onboot(self.paths)), env=self._environment()).split()
            if started:
                self.progress(f"lab: switched on {', '.join(started)}")

    def _kubeconfig(self) -> None:
        """Get the user's kubeconfig, as any operator would."""
        target = tools.kubeconfig(self.paths)
        if self._type(["salt-run", "cluster.kubeconfig", f"path={target}"]) == 0:
            target.chmod(0o600)

    def _type(self, words: list[str]) -> int:
        """Run one of the user's commands with its output going straight through; returns its exit code."""
        argv = [str(self.paths.bin / words[0]), *words[1:]]
        return subprocess.run(argv, env=self._environment()).returncode  # noqa: S603  (a list of words)

    def _environment(self) -> dict[str, str]:
        """The environment of a shell of the lab."""
        own = {**tools.environment(self.paths), **installation.environment(self.paths)}
        return {**os.environ, **own, "PATH": f"{self.paths.bin}:{os.environ.get('PATH', '')}"}

    def _count(self, changed: bool) -> None:
        self.changes += changed

    @contextmanager
    def _stage(self, title: str) -> Iterator[None]:
        """Announce a step, and say how long it took when it took any time."""
        began = time.monotonic()
        yield
        took_s = time.monotonic() - began
        self.progress(f"lab: {title}: ready" + (f" ({took_s:.0f} s)" if took_s >= 1 else ""))
