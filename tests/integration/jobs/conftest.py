"""A real salt-master and three real minions on loopback, with the checkout's states and runners on the master.

The minions are named as the rows of a small table: one load balancer, one control-plane node, one worker. Their SLS and
modules are trivial: what is tested is the job, not the cluster.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from lab.salt_master import UNCLOSED

CHECKOUT = Path(__file__).parents[3]
NODES = ("job-ha", "job-m", "job-w")
# Where the stand-in of the cluster's test service listens; the URL ends in its port.
SERVICE_PORT = 18099

CLUSTER_SLS = """
cluster:
  name: jobs
  network: {cidr: 192.168.100.0/24, gateway: 192.168.100.1, dns: [192.168.100.1]}
nodes:
  job-ha: {role: load_balancer, address: 192.168.100.150, cpus: 2, memory_gib: 4, disk_gib: 20}
  job-m: {role: control_plane, address: 192.168.100.151, cpus: 2, memory_gib: 8, disk_gib: 20}
  job-w: {role: worker, address: 192.168.100.154, cpus: 2, memory_gib: 8, disk_gib: 20}
master: {address: 192.168.100.1}
metallb: {pools: {default: [192.168.100.200-192.168.100.220]}}
artefacts: {disabled: [k9s, cilium-cli, etcdctl]}
"""
BRING_UP = "include:\n  - orchestrate.cluster\n"
# Sums of files that nothing here downloads: the shipped definition may leave them to the operator.
NO_SUM = "0" * 64
VERSIONS_SLS = f"""
artefacts:
  cilium-chart: {{sha256: {{any: "{NO_SUM}"}}}}
  metallb-chart: {{sha256: {{any: "{NO_SUM}"}}}}
"""

TRIVIAL = {
    "kubeadm/static_pods.sls": "Static pods are as wanted:\n  test.succeed_without_changes\n",
    "good.sls": "A thing is so:\n  test.succeed_without_changes\n"
    "Another thing has changed:\n  test.succeed_with_changes\n",
    "bad.sls": "A thing is so:\n  test.succeed_without_changes\nThis goes wrong:\n  test.fail_without_changes:\n"
    "    - comment: the disk is full\nThis waits for it:\n  test.nop:\n    - require: [{test: This goes wrong}]\n",
    "slow.sls": "A first thing:\n  test.succeed_without_changes\nA slow thing:\n  slow.waited:\n    - seconds: 7\n",
    "broken.sls": "{{ not jinja\n",
    # A state that lasts: what the operator sees meanwhile is the point.
    "_states/slow.py": "import time\n\ndef waited(name, seconds):\n    time.sleep(seconds)\n"
    "    return {'name': name, 'result': True, 'changes': {}, 'comment': 'waited'}\n",
    "_modules/fact.py": "def colour():\n    return 'blue'\n\ndef refuse():\n    raise RuntimeError('no such fact')\n\n"
    # pillar.get itself shows no values: Salt masks them.
    "def role():\n    return __pillar__['saltern']['node']['role']\n",
}
COMPONENTS = (
    "os",
    "binaries",
    "crio",
    "kubelet",
    "haproxy",
    "haproxy/trusted",
    "cilium",
    "cilium/node",
    "metallb",
    "verification",
    "verification/deployed",
    "kubeconfig",
    "kubeconfig/endpoints",
    "kubeadm/initialised",
    "kubeadm/joined",
    "cluster/marked",
)
# As in salt/: a member's kubeconfigs come with its init or join.
INCLUDED = {
    "kubeconfig": "include: [kubeconfig.endpoints]\n",
    **dict.fromkeys(("kubeadm/initialised", "kubeadm/joined"), "include: [kubeconfig]\n"),
}
HERE = Path(__file__).parent


def environment() -> dict[str, str]:
    """This process's environment, with the checkout where Python looks for packages."""
    return os.environ | {"PYTHONPATH": str(CHECKOUT)}


@pytest.fixture(scope="session")
def salt_factories_config(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The daemons live below pytest's own directory and import the package saltern from the checkout."""
    return {"environ": environment(), "root_dir": tmp_path_factory.mktemp("salt")}


@pytest.fixture(scope="session")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file root with the trivial SLS, and the product's pillar with a small table laid over it."""
    root = tmp_path_factory.mktemp("roots")
    for name, text in TRIVIAL.items():
        path = root / "salt" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name in COMPONENTS:
        path = root / "salt" / f"{name}.sls" if "/" in name else root / "salt" / name / "init.sls"
        path.parent.mkdir(parents=True, exist_ok=True)
        include = INCLUDED.get(name, "")
        path.write_text(f"{include}{name} is as wanted:\n  member.made:\n    - part: {name}\n")
    for kind in ("modules", "states"):
        shutil.copytree(HERE / "stand_ins" / kind, root / "salt" / f"_{kind}", dirs_exist_ok=True)
    # The product's own: what it does needs nothing of a cluster.
    shutil.copy(CHECKOUT / "_modules" / "last_apply.py", root / "salt" / "_modules")
    shutil.copytree(CHECKOUT / "orchestrate", root / "salt" / "orchestrate")
    (root / "pillar").mkdir()
    shutil.copy(CHECKOUT / "pillar" / "versions.sls", root / "pillar")
    (root / "pillar" / "cluster.sls").write_text(CLUSTER_SLS)
    (root / "overlay").mkdir()
    (root / "overlay" / "versions.sls").write_text(VERSIONS_SLS)
    return root


@pytest.fixture(scope="session")
def master(salt_factories, roots: Path) -> Iterator[object]:
    """The master, with the module directories of docs/architecture.md."""
    settings = {
        "module_dirs": [str(CHECKOUT / "salt")],
        "file_roots": {"base": [str(roots / "salt")]},
        "ext_pillar": [{"saltern": {}}],
        # Short, so that a dead minion is told soon; long enough for a live one on a busy machine.
        "gather_job_timeout": 7,
        "worker_threads": 3,
        "log_granular_levels": dict.fromkeys(UNCLOSED, "error"),
        "saltern": {
            "pillar_dirs": [str(roots / "pillar"), str(roots / "overlay")],
            "state_dir": str(roots / "state"),
            "silent_s": 2,
        },
    }
    daemon = salt_factories.salt_master_daemon("jobs-master", defaults={"open_mode": False}, overrides=settings)
    with daemon.started():
        yield daemon


@pytest.fixture(scope="session")
def minions(master) -> Iterator[dict[str, object]]:
    """One minion per row of the table, keys accepted."""
    settings = {"test_service": f"127.0.0.1:{SERVICE_PORT}"}
    daemons = {name: master.salt_minion_daemon(name, overrides=settings) for name in NODES}
    # Side by side: a start is mostly waiting.
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda daemon: daemon.start(), daemons.values()))
    # The modules that a stage brings to the nodes when it asks whether they answer.
    assert master.salt_cli(timeout=60, environ=environment()).run("saltutil.sync_all", minion_tgt="*").returncode == 0
    yield daemons
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda daemon: daemon.terminate(), daemons.values()))


@pytest.fixture
def run_cli(master):
    """salt-run."""
    return master.salt_run_cli(timeout=60, environ=environment())


@pytest.fixture
def orchestrate(run_cli, minions, roots: Path):
    """Write an orchestration and run it: (SLS text, arguments) -> the command's result (returncode, stdout, stderr)."""

    def orchestrated(text: str, *args: str):
        (roots / "salt" / "orchestrate" / "story.sls").write_text(text)
        return run_cli.run("state.orchestrate", "orchestrate.story", *args)

    return orchestrated


@pytest.fixture
def start(run_cli, minions, roots: Path):
    """Write an orchestration and start it: SLS text -> the process, its outputs as text pipes."""

    def started(text: str) -> subprocess.Popen[str]:
        (roots / "salt" / "orchestrate" / "story.sls").write_text(text)
        argv = [*run_cli.cmdline("state.orchestrate", "orchestrate.story")]
        pipe = subprocess.PIPE
        # A shell starts what is to run in the background with SIGINT ignored, and so would be what tests start there.
        heeding = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
        return subprocess.Popen(argv, stdout=pipe, stderr=pipe, text=True, env=environment(), preexec_fn=heeding)

    return started


def parts(minions, node: str) -> Path:
    """Where the stand-ins of a node's states keep what was made."""
    return Path(minions[node].config["root_dir"], "parts")


@pytest.fixture
def fresh(minions) -> Iterator[None]:
    """No minion belongs to a cluster, nothing stands in the way."""

    def forget():
        for name, daemon in minions.items():
            shutil.rmtree(parts(minions, name), ignore_errors=True)
            Path(daemon.config["root_dir"], "findings.json").unlink(missing_ok=True)

    forget()
    yield
    forget()


@pytest.fixture
def web() -> Iterator[None]:
    """The test service of the cluster that is not there."""

    class Hello(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", SERVICE_PORT), Hello)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield
    server.shutdown()
    server.server_close()


@pytest.fixture
def standing(orchestrate, fresh, web, minions, roots: Path) -> None:
    """A whole cluster, and its test service. A bring-up takes long and is not what these tests are about: the first
    of them has one made, for the others the nodes get back what it made.
    """
    kept = roots / "standing"
    if not kept.exists():
        assert orchestrate(BRING_UP).returncode == 0
        for name in minions:
            shutil.copytree(parts(minions, name), kept / name)
    for name in minions:
        shutil.copytree(kept / name, parts(minions, name), dirs_exist_ok=True)
