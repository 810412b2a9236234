"""Where the lab keeps things; the layout is described in docs/architecture.md."""

import os
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Paths:
    """The two roots of the lab and what lies under them.

    Attributes:
        state: what `make down` removes (`SALTERN_STATE`).
        cache: what stays for the next `make up` (`SALTERN_CACHE`).
        checkout: the source tree.
    """

    state: Path
    cache: Path
    checkout: Path = CHECKOUT

    @classmethod
    def from_environment(cls) -> "Paths":
        """The roots as the environment names them, or the defaults of docs/architecture.md."""
        return cls(
            state=Path(os.environ.get("SALTERN_STATE", "/var/lib/saltern")),
            cache=Path(os.environ.get("SALTERN_CACHE", "/var/cache/saltern")),
        )

    @property
    def lab(self) -> Path:
        """The lab's own part of the state."""
        return self.state / "lab"

    @property
    def nodes_image(self) -> Path:
        """The sparse file that holds the nodes' file system."""
        return self.lab / "nodes.img"

    @property
    def nodes(self) -> Path:
        """Where the nodes' file system is mounted: one subvolume a machine, named by its VM ID."""
        return self.lab / "nodes"

    @property
    def run(self) -> Path:
        """Records of the processes that the lab started."""
        return self.lab / "run"

    @property
    def log(self) -> Path:
        """One log file a service, one console log a node."""
        return self.lab / "log"

    @property
    def proxmox(self) -> Path:
        """State of the Proxmox API: machines, tasks, users, uploaded images."""
        return self.lab / "proxmox"

    @property
    def ca(self) -> Path:
        """The lab's certificate authority."""
        return self.lab / "ca"

    @property
    def salt(self) -> Path:
        """The Salt master's configuration, keys, cache and log."""
        return self.state / "salt"

    @property
    def pillar(self) -> Path:
        """The lab's overlay of the definition."""
        return self.state / "pillar"

    @property
    def bin(self) -> Path:
        """Wrappers that run a command inside the lab's network namespace."""
        return self.state / "bin"

    @property
    def mirror(self) -> Path:
        """What the artefact mirror serves: `<upstream host>/<path>` and `debian/`."""
        return self.cache / "mirror"

    @property
    def registry(self) -> Path:
        """Storage of the image registry."""
        return self.cache / "registry"

    @property
    def wheels(self) -> Path:
        """Python wheels of the nodes' Salt."""
        return self.cache / "wheels"
