"""HAProxy's configuration from data, checked by HAProxy itself before it is put in place."""

import csv
import socket
import time
from pathlib import Path

from salt.exceptions import CommandExecutionError

CONFIG = "/etc/haproxy/haproxy.cfg"
# Watch, exec and logs are silent for hours; shorter limits cut them.
STREAM_LIMIT = "4h"
# A reload leaves the old process to its connections, and a kubelet's never end by themselves. Longer than any log that
# somebody follows; without an end each reload would leave a process for good.
OLD_PROCESS_LIMIT = "24h"
# No maxconn: HAProxy takes what the service's limit of open files allows, and with a number above it would not start.
GLOBAL = """\
global
  log /dev/log local0
  user haproxy
  group haproxy
  hard-stop-after {old_process}
{socket}
defaults
  mode tcp
  log global
  option tcplog
  option dontlognull
  timeout connect 2s
  timeout check 5s
  timeout client {limit}
  timeout server {limit}
  timeout tunnel {limit}
"""
# Every API server's certificate has this name (kubeadm adds it), whatever address the server is reached by.
API_CERTIFICATE_NAME = "kubernetes"


# What "show stat" tells of a server: its columns' numbers differ between versions, their names do not.
TYPE_SERVER = "2"
ASK_S = 2


def text(frontends, backends, ca_path=None, stats=None, socket_path=None, alive=None):
    """The configuration.

    frontends: ``[{"name", "bind", "backend"}]``; backends: ``[{"name", "check": "api" | "tcp", "servers": [{"name",
    "address"}]}]``, check ``api``
    asks each server for /readyz over TLS, ``tcp`` only connects; ca_path: the cluster's CA, ``None`` before it
    exists: then servers are not
    verified; stats: ``{"bind": "127.0.0.1:8404", "allow": [networks]}`` or ``None``, without networks everyone who
    reaches it may read; socket_path: where :func:`servers` asks and :mod:`haproxy_drain` orders, for root alone; alive:
    ``"ADDRESS:PORT"`` that answers 200 as long as HAProxy does, or ``None``. Returns text.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-ha-01 haproxy.text '[{name: api, bind: "192.168.100.150:6443", backend: api}]' '[...]'
    """
    # Bound before it gives up root, and anew at each reload: the directory need not be the user haproxy's. No level
    # below admin can drain a server.
    socket_line = f"  stats socket {socket_path} mode 600 level admin\n" if socket_path else ""
    parts = [GLOBAL.format(limit=STREAM_LIMIT, old_process=OLD_PROCESS_LIMIT, socket=socket_line)]
    parts += [_frontend(frontend) for frontend in frontends]
    parts += [_backend(backend, ca_path) for backend in backends]
    parts += [_stats(stats)] if stats else []
    parts += [_alive(alive)] if alive else []
    return "\n".join(parts)


def trusted(ca_path, copy=None):
    """The CA to verify servers with: its path once there is a certificate, ``None`` before.

    ca_path: where HAProxy reads it; copy: where it was handed over, from which ``config_file.kept`` mends the first.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-ha-01 haproxy.trusted /etc/haproxy/cluster-ca.crt
    """
    there = [Path(path) for path in (ca_path, copy) if path and Path(path).is_file()]
    return ca_path if any("BEGIN CERTIFICATE" in path.read_text() for path in there) else None


def servers(socket_path):
    """The servers of every backend as the running HAProxy sees them.

    socket_path: its statistics socket.
    Returns ``[{"backend", "server", "address", "status", "check"}]``; status: ``UP``, ``DOWN``, ``UP 1/3`` (on its way
    down), ``no check``, ...; check: the words of the last check.
    Raises CommandExecutionError when no HAProxy answers there.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-ha-01 haproxy.servers /run/haproxy-stats.sock
    """
    return parse_stat(ask(socket_path, "show stat"))


def parse_stat(text):
    """The servers in the CSV of ``show stat`` (HAProxy's management guide, 9.1), as :func:`servers` returns them.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-ha-01 haproxy.parse_stat "# pxname,svname,status"
    """
    rows = csv.DictReader(text.removeprefix("# ").splitlines())
    return [
        {
            "backend": row["pxname"],
            "server": row["svname"],
            "address": row["addr"],
            "status": row["status"],
            "check": row["last_chk"] or row["check_desc"],
        }
        for row in rows
        if row["type"] == TYPE_SERVER
    ]


def wait_up(socket_path, names=(), deadline_s=60):
    """Wait until the running HAProxy sends requests to servers.

    socket_path: its statistics socket; names: the servers, of whatever backends; without any, one that is up is enough.
    deadline_s: seconds until it gives up. Returns the names of those that are up.
    Raises CommandExecutionError with each server that is not, and the words of its last check.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-ha-01 haproxy.wait_up /run/haproxy-stats.sock '[saw-k8s-m-01]'
    """
    deadline = time.monotonic() + deadline_s
    while True:
        try:
            up, missing = _up(servers(socket_path), names)
        except CommandExecutionError as err:  # while it is reloaded nobody answers for a moment
            up, missing = [], [str(err)]
        if not missing:
            return up
        if time.monotonic() > deadline:
            told = "; ".join(missing)
            raise CommandExecutionError(f"{__opts__['id']}: HAProxy sends it nothing after {deadline_s} s: {told}")
        time.sleep(0.5)  # as often as HAProxy itself looks once a check changes its mind (fastinter)


def _up(found, names):
    """The names of the servers that are up, and what is wrong with those that are not."""
    wanted = [row for row in found if not names or row["server"] in names]
    up = list(dict.fromkeys(row["server"] for row in wanted if row["status"].startswith(("UP", "no check"))))
    unknown = [f"{name} is no server of it" for name in names if name not in {row["server"] for row in found}]
    down = [f"{row['server']} is {row['status']} ({row['check']})" for row in wanted if row["server"] not in up]
    return up, (unknown + down if names or not up else [])


def version(socket_path):
    """The version of the HAProxy that runs, e.g. ``"2.6.12-1+deb12u4"``.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-ha-01 haproxy.version /run/haproxy-stats.sock
    """
    facts = dict(line.partition(": ")[::2] for line in ask(socket_path, "show info").splitlines())
    return facts["Version"]


def ask(socket_path, command):
    """What HAProxy answers to commands (its management guide, 9.3), as text.

    socket_path: its statistics socket; command: one, or several with semicolons between them.
    Raises CommandExecutionError when no HAProxy answers there.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-ha-01 haproxy.ask /run/haproxy-stats.sock "show info"
    """
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(ASK_S)
            line.connect(str(socket_path))
            line.sendall(f"{command}\n".encode())
            # "prompt" aside, HAProxy closes after one answer.
            return b"".join(iter(lambda: line.recv(1 << 16), b"")).decode()
    except OSError as err:
        raise CommandExecutionError(
            f"no HAProxy answers on {socket_path} ({err}): systemctl status haproxy; "
            f"a configuration of before that socket is renewed by: salt {__opts__['id']} state.apply haproxy"
        ) from err


def install(content, config=CONFIG):
    """Put a configuration in place if HAProxy accepts it; else nothing changes.

    Raises CommandExecutionError with HAProxy's words when it does not.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-ha-01 haproxy.install "global ..."
    """
    __salt__["config_file.replace_checked"](config, content, _check)


def _check(candidate):
    """Have HAProxy judge a file."""
    done = __salt__["cmd.run_all"](["haproxy", "-c", "-f", candidate], python_shell=False, ignore_retcode=True)
    if done["retcode"]:
        raise CommandExecutionError(
            f"haproxy -c refuses the configuration, the old one stays: {done['stderr'] or done['stdout']}"
        )


def _frontend(frontend):
    """One frontend section."""
    return f"frontend {frontend['name']}\n  bind {frontend['bind']}\n  default_backend {frontend['backend']}\n"


def _backend(backend, ca_path):
    """One backend section. A server that went down has its connections cut, so that clients try another at once."""
    api = backend["check"] == "api"
    probe = [
        "option httpchk",
        "http-check connect ssl",
        "http-check send meth GET uri /readyz",
        "http-check expect status 200",
    ]
    verify = f"verify required ca-file {ca_path} verifyhost {API_CERTIFICATE_NAME}" if ca_path else "verify none"
    # timeout check: an API server on a busy node answers late, and must not be taken for dead; one that is dead refuses
    # the connection, or lets it time out (timeout connect). fastinter: once a check changes its mind, the next ones
    # follow at once, so a server is down after 3 s and up after 0.5 s more; at rest it is asked every 2 s.
    options = "check inter 2s fastinter 500ms fall 3 rise 2 on-marked-down shutdown-sessions"
    options += f" {verify}" if api else ""
    lines = ["balance roundrobin", *(probe if api else []), f"default-server {options}"]
    lines += [f"server {server['name']} {server['address']}" for server in backend["servers"]]
    return "\n  ".join([f"backend {backend['name']}", *lines]) + "\n"


def _stats(stats):
    """The statistics page: for reading alone, and for the networks that are named."""
    networks = " ".join(stats.get("allow", []))
    lines = ["mode http", f"bind {stats['bind']}", "timeout client 10s"]
    lines += [f"http-request deny unless {{ src {networks} }}"] if networks else []
    lines += ["http-request use-service prometheus-exporter if { path /metrics }", "stats enable", "stats uri /"]
    return "\n  ".join(["frontend stats", *lines]) + "\n"


def _alive(bind):
    """An answer that needs nothing but HAProxy itself: no server is asked, nothing is logged."""
    return f"frontend alive\n  mode http\n  bind {bind}\n  timeout client 10s\n  monitor-uri /\n"
