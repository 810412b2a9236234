"""The calls of the API, one module per part; importing this package registers them all."""

from lab.proxmox.api import (  # noqa: F401  (imported for their routes)
    access,
    agent,
    cloudinit,
    cluster,
    config,
    disks,
    firewall,
    guests,
    ha,
    nodes,
    pools,
    power,
    snapshots,
    storage,
    tasks,
)
