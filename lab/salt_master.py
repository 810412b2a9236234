"""The lab's Salt master: its configuration, in the form that docs/production.md gives for a real one."""

import hashlib
import os
from pathlib import Path
from typing import Any

import yaml

from lab.network import ADDRESS
from lab.paths import Paths

PROVIDER = "my-proxmox-config"
PORTS = (4505, 4506)
PROXMOX_USER = "saltern@pve"  # has the least privileges that the driver needs

# The loggers of what salt-run itself leaves open (Salt 3008.3: SaltRun.run never destroys its Runner), salt-cloud's
# reading of a map too (salt.minion). Their finalizers warn when the log handlers are gone, so the lines reach the
# console raw, whatever its level (logging.lastResort).
UNCLOSED = ("salt.runner", "salt.minion", "salt.utils.asynchronous")


def master_config(paths: Paths) -> dict[str, Any]:
    """The master's configuration file, as data.

    Args:
        paths: roots of the lab.
    """
    salt = paths.salt
    return {
        "interface": ADDRESS,
        "user": "root",
        "root_dir": str(salt),
        "pki_dir": str(salt / "pki/master"),
        "cachedir": str(salt / "cache/master"),
        "sock_dir": str(salt / "run"),
        "pidfile": str(salt / "run/salt-master.pid"),
        "token_dir": str(salt / "cache/tokens"),
        "log_file": str(salt / "log/master"),
        "key_logfile": str(salt / "log/key"),
        "log_level_logfile": "info",
        "log_granular_levels": dict.fromkeys(UNCLOSED, "error"),
        "file_roots": {"base": [str(paths.checkout / "salt")]},
        "module_dirs": [str(paths.checkout / "salt")],
        "ext_pillar": [{"saltern": {}}],
        "reactor": [{"salt/cloud/*/created": [str(paths.checkout / "reactor/machine_created.sls")]}],
        "saltern": {
            "pillar_dirs": [str(paths.checkout / "pillar"), str(paths.pillar)],
            "state_dir": str(paths.state),
        },
        # Keys are made by the master before a machine exists.
        "auto_accept": False,
        # Eight nodes share a few cores: an answer that comes late is not a failed step.
        "timeout": 30,
        "gather_job_timeout": 30,
        "worker_threads": 4,
        # Nothing reads grains or pillar from the master's cache: roles come from the definition.
        "minion_data_cache": False,
        "keep_jobs_seconds": 86400,
    }


def cloud_config(paths: Paths) -> dict[str, Any]:
    """salt-cloud's configuration file, as data.

    Args:
        paths: roots of the lab.
    """
    return {
        "log_file": str(paths.salt / "log/cloud"),
        "log_level_logfile": "info",
        "log_granular_levels": {"salt.minion": "error"},
    }


def provider_config(password: str, ca_certificate: Path) -> dict[str, Any]:
    """The provider file, in the form of a real installation.

    Args:
        password: of the Proxmox user made for it.
        ca_certificate: the lab's CA.
    """
    return {
        PROVIDER: {
            "driver": "proxmox",
            "url": ADDRESS,
            "port": 8006,
            "user": PROXMOX_USER,
            "password": password,
            "verify_ssl": str(ca_certificate),
        }
    }


def write(paths: Paths, password: str, ca_certificate: Path) -> bool:
    """Write the configuration directory of the master and of salt-cloud.

    Args:
        paths: roots of the lab.
        password: for the provider file (which only root reads).
        ca_certificate: the lab's CA.

    Returns:
        Whether the master's own configuration changed (it has to be started again then).
    """
    etc = paths.salt / "etc"
    for directory in (etc / "cloud.providers.d", paths.salt / "run", paths.salt / "log"):
        directory.mkdir(parents=True, exist_ok=True)
    paths.salt.chmod(0o700)
    _write_file(etc / "cloud.providers.d/lab.conf", provider_config(password, ca_certificate))
    _write_file(etc / "cloud", cloud_config(paths))
    for name in ("cloud.profiles.d", "cloud.maps.d"):
        link = etc / name
        if not link.is_symlink():
            link.symlink_to(paths.checkout / name)
    return _write_file(etc / "master", master_config(paths))


def code_changed(paths: Paths) -> bool:
    """Whether the product's code that a running master holds in memory is another than when this was last asked.

    The master has loaded the package saltern and its pillar and runners once: new files beside old modules fail.

    Args:
        paths: roots of the lab.
    """
    digest = hashlib.sha256()
    for folder in ("saltern", "_pillar", "_runners", "_utils"):
        for path in sorted((paths.checkout / folder).rglob("*.py")):
            digest.update(f"{path}\0".encode() + path.read_bytes())
    return _write_file(paths.salt / "run/code.yml", {"sha256": digest.hexdigest()})


def _write_file(path: Path, data: dict[str, Any]) -> bool:
    """Write a YAML file that only root reads; returns whether it had to be written."""
    text = yaml.safe_dump(data, sort_keys=False)
    if path.exists() and path.read_text() == text:
        return False
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    return True
