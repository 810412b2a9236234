"""The HTTPS server in front of the application."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket

import uvicorn

from lab.proxmox.app import application
from lab.proxmox.certificates import KeyPair
from lab.proxmox.datacentre import Datacentre
from lab.proxmox.protocol import PhrasedProtocol

LOG = logging.getLogger(__name__)
# Connections that clients keep open must not keep the server from ending.
_CLOSE_WITHIN_S = 2


def configuration(datacentre: Datacentre, pair: KeyPair) -> uvicorn.Config:
    """Return the server's configuration: HTTP/1.1 only, for clients read the reason phrase."""
    return uvicorn.Config(
        application(datacentre),
        http=PhrasedProtocol,
        ws="none",
        lifespan="off",
        ssl_certfile=pair.certificate,
        ssl_keyfile=pair.key,
        log_config=None,
        access_log=False,
        server_header=False,
        headers=[("Server", "pve-api-daemon/3.0")],
        timeout_keep_alive=60,
        timeout_graceful_shutdown=_CLOSE_WITHIN_S,
    )


def listen(address: str, port: int) -> socket.socket:
    """Return a listening socket; raises OSError, which names address and port, when they cannot be had."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, port), family=family, backlog=128)
    except OSError as err:
        raise OSError(
            f"{address}:{port}: {err.strerror}; end the program that has it, or choose another --port"
        ) from err


def serve(datacentre: Datacentre, pair: KeyPair, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT, then let running tasks finish for a while."""
    server = uvicorn.Server(configuration(datacentre, pair))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    host, port = listener.getsockname()[:2]
    LOG.info("Proxmox API on https://%s:%s, state in %s", host, port, datacentre.directory)
    asyncio.run(server.serve(sockets=[listener]))
    left = datacentre.tasks.wait_all(datacentre.settings.limits.stop_grace_s)
    if left:
        LOG.warning("%s tasks still run: they end as failed when the API starts again", left)


def certificate_names(address: str, datacentre: Datacentre) -> list[str]:
    """Return what the certificate is good for: the address, the nodes' names, and this machine itself."""
    names = [address, *(node.name for node in datacentre.settings.nodes), "localhost", "127.0.0.1"]
    return list(dict.fromkeys(names))
