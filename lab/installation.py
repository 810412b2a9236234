"""Which services the lab has, with the files that configure them."""

import sys
from collections.abc import Mapping
from pathlib import Path

from lab import overlay, salt_master
from lab.network import ADDRESS
from lab.paths import Paths
from lab.services import Service

PROXMOX_PORT = 8006
DNS_PORT = 53
# In the order in which they are started; each needs those before it at most.
NAMES = ("dns", "mirror", "registry", "proxmox", "salt-master")


def dns(paths: Paths, names: Mapping[str, str]) -> Service:
    """Name server of the nodes: it knows the table's machines and the lab's own host, and asks nobody else.

    Args:
        paths: roots of the lab.
        names: address by name.
    """
    lines = [
        "no-resolv",
        "no-hosts",
        "bind-interfaces",
        f"listen-address={ADDRESS}",
        "user=root",
        # Every other name is answered at once with "no such name": nothing here can resolve it.
        "address=/#/",
        *(f"host-record={name},{address}" for name, address in names.items()),
    ]
    file = _write(paths.lab / "etc/dnsmasq.conf", lines)
    return Service("dns", ["dnsmasq", "--keep-in-foreground", f"--conf-file={file}", "--pid-file"], (DNS_PORT,))


def mirror(paths: Paths) -> Service:
    """HTTP server of the artefacts and of the nodes' Debian packages; nginx, because it hands files to the kernel."""
    temporary = paths.lab / "nginx"
    temporary.mkdir(parents=True, exist_ok=True)
    lines = [
        "daemon off;",
        "master_process off;",
        "user root;",
        f"pid '{temporary}/pid';",
        "error_log stderr warn;",
        "events { worker_connections 512; }",
        "http {",
        "  access_log off;",
        "  sendfile on;",
        "  tcp_nopush on;",
        "  default_type application/octet-stream;",
        *(f"  {kind}_temp_path '{temporary}/{kind}';" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")),
        f"  server {{ listen {ADDRESS}:{overlay.MIRROR_PORT}; root '{paths.mirror}'; autoindex on; }}",
        "}",
    ]
    file = _write(paths.lab / "etc/nginx.conf", lines)
    return Service("mirror", ["nginx", "-c", str(file), "-p", str(temporary), "-e", "stderr"], (overlay.MIRROR_PORT,))


def registry(paths: Paths) -> Service:
    """Image registry of the nodes; it only reads."""
    lines = [
        "version: 0.1",
        "log: {level: warn, accesslog: {disabled: true}}",
        "storage:",
        f"  filesystem: {{rootdirectory: '{paths.registry}'}}",
        "  maintenance: {readonly: {enabled: true}, uploadpurging: {enabled: false}}",
        f"http: {{addr: '{ADDRESS}:{overlay.REGISTRY_PORT}'}}",
    ]
    file = _write(paths.lab / "etc/registry.yml", lines)
    return Service("registry", ["docker-registry", "serve", str(file)], (overlay.REGISTRY_PORT,))


def proxmox(paths: Paths) -> Service:
    """The Proxmox API, whose machines are the lab's nodes."""
    argv = [sys.executable, "-m", "lab.proxmox", "--state", str(paths.proxmox), "--address", ADDRESS]
    argv += ["--port", str(PROXMOX_PORT), "--ca", str(paths.ca), "--machines", "lab.nodes.machines:NspawnMachines"]
    return Service("proxmox", argv, (PROXMOX_PORT,), environment(paths))


def master(paths: Paths) -> Service:
    """The Salt master, which also runs the product's part of salt-cloud and the orchestration."""
    program = Path(sys.executable).with_name("salt-master")
    argv = [str(program), f"--config-dir={paths.salt}/etc"]
    return Service("salt-master", argv, salt_master.PORTS, environment(paths))


def onboot(paths: Paths) -> list[str]:
    """The command that switches on the machines that start with their host; it prints their names."""
    argv = [sys.executable, "-m", "lab.onboot", "--address", ADDRESS, "--port", str(PROXMOX_PORT)]
    argv += ["--user", salt_master.PROXMOX_USER, "--password-file", str(proxmox_password(paths))]
    return [*argv, "--ca", str(ca_certificate(paths))]


def environment(paths: Paths) -> dict[str, str]:
    """What programs of the checkout need to find it and the lab's state."""
    return {
        "PYTHONPATH": str(paths.checkout),
        "PYTHONDONTWRITEBYTECODE": "1",
        "SALTERN_STATE": str(paths.state),
        "SALTERN_CACHE": str(paths.cache),
    }


def proxmox_password(paths: Paths) -> Path:
    """The file with the password of the provider's Proxmox user; the API makes it at its first start."""
    return paths.proxmox / "credentials" / f"{salt_master.PROXMOX_USER}.password"


def ca_certificate(paths: Paths) -> Path:
    """The certificate that the API's is signed with."""
    return paths.ca / "ca.pem"


def _write(path: Path, lines: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path
