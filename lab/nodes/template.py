"""The template of the nodes: Debian 12 with cloud-init, ssh and a Salt minion.

What takes minutes (Debian's packages, Salt) is kept as one archive in the cache, its recipe's hash in the name.
The lab's own few files are added when the archive is unpacked.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from lab.errors import LabError
from lab.nodes.mirror_sources import debian_sources, transport_options
from lab.nodes.packages import TEMPLATE_PACKAGES
from lab.paths import Paths
from lab.shell import attempt, run

CODENAME = "bookworm"
RECIPE = "1"  # counts changes of the steps below; everything else that matters is hashed
SALT = "salt==3008.3"
SALT_HOME = "/opt/saltstack/salt"
DEBIAN_PYTHON = "/usr/bin/python3"  # the nodes have this very Python: wheels built with it fit there
FILES = Path(__file__).parent / "files"
PLACES = {
    "early.sh": "usr/local/lib/saltern-lab/early.sh",
    "saltern-lab-early.service": "etc/systemd/system/saltern-lab-early.service",
    "salt-minion.service": "etc/systemd/system/salt-minion.service",
    "cloud.cfg": "etc/cloud/cloud.cfg.d/90-saltern-lab.cfg",
    "no-router.conf": "etc/systemd/network/10-cloud-init-eth0.network.d/saltern-lab.conf",
    "journald.conf": "etc/systemd/journald.conf.d/saltern-lab.conf",
    "sources.list": "etc/apt/sources.list",
    "dpkg.cfg": "etc/dpkg/dpkg.cfg.d/saltern-lab",
}
# salt-minion is enabled by a machine's seed, once its keys are in place.
ENABLED = ("saltern-lab-early.service", "systemd-networkd.service", "systemd-resolved.service", "ssh.service")
# Package downloads in the background would hold dpkg's lock at a moment of their own choice.
MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "e2scrub_reap.service",
    "console-getty.service",
)
SALT_COMMANDS = ("salt-minion", "salt-call")

Progress = Callable[[str], None]


def recipe_hash(paths: Paths) -> str:
    """Twelve hex digits that stand for all that goes into the archive."""
    contents = [(FILES / "dpkg.cfg").read_text(), _constraints(paths).read_text()]
    return _hash([RECIPE, CODENAME, SALT, *TEMPLATE_PACKAGES, *contents])


def origin(paths: Paths) -> str:
    """What an unpacked template was made of: the archive and the lab's own files and services."""
    contents = [(FILES / name).read_text() for name in PLACES]
    return f"{archive(paths).name} {_hash([*PLACES.values(), *contents, *ENABLED, *MASKED])}"


def archive(paths: Paths) -> Path:
    """Where the template's archive is, or will be."""
    return paths.cache / f"template-{recipe_hash(paths)}.tar.zst"


def ensure(paths: Paths, progress: Progress) -> Path:
    """Make the template's archive unless the cache has it.

    Args:
        paths: roots of the lab.
        progress: takes one line a step.

    Returns:
        The archive.

    Raises:
        LabError: a step failed; nothing half done is left under the archive's name.
    """
    target = archive(paths)
    if target.exists():
        return target
    paths.cache.mkdir(parents=True, exist_ok=True)
    wheels = _ensure_wheels(paths, progress)
    with tempfile.TemporaryDirectory(prefix="template-", dir=paths.cache) as work:
        root = Path(work) / "root"
        partial = Path(work) / "template.tar.zst"
        progress(f"template of the nodes: Debian {CODENAME}, {len(TEMPLATE_PACKAGES)} packages and what they need")
        _bootstrap(root)
        progress(f"template of the nodes: {SALT}")
        _install_salt(root, wheels)
        run(["tar", "--numeric-owner", "--xattrs", "--acls", "--zstd", "-C", root, "-cf", partial, "."])
        partial.rename(target)
    for old in paths.cache.glob("template-*.tar.zst"):
        if old != target:
            old.unlink()
    return target


def _ensure_wheels(paths: Paths, progress: Progress) -> Path:
    """Build Salt and all that it needs as wheels, once for each set of pins."""
    key = _hash([SALT, _constraints(paths).read_text()])
    target = paths.wheels / key
    if target.is_dir():
        return target
    progress(f"wheels of {SALT} for the nodes")
    paths.wheels.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=paths.wheels) as work:
        environment, built = Path(work) / "venv", Path(work) / "wheels"
        run([DEBIAN_PYTHON, "-m", "venv", environment])
        pins = ["--constraint", str(_constraints(paths))]
        run([environment / "bin/pip", "wheel", "--quiet", *pins, "--wheel-dir", built, SALT], timeout_s=1800)
        built.rename(target)
    return target


def _constraints(paths: Paths) -> Path:
    return paths.checkout / "requirements/product.txt"


def _bootstrap(root: Path) -> None:
    """Debian into a directory, from the machine's own mirror."""
    options = [
        'APT::Install-Recommends "false";',
        # Debian's updates are signed, whichever day it is; what the machine's apt says on dates comes after.
        *transport_options(),
    ]
    sources = "\n".join(debian_sources(CODENAME)) + "\n"
    dpkg_options = [line for line in (FILES / "dpkg.cfg").read_text().splitlines() if not line.startswith("#")]
    argv: list[str | Path] = [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        "--format=directory",
        f"--include={','.join(TEMPLATE_PACKAGES)}",
        *(f"--aptopt={option.removesuffix(';')}" for option in options),
        *(f"--dpkgopt={option}" for option in dpkg_options),
        CODENAME,
        root,
        "-",
    ]
    run(argv, stdin=sources, timeout_s=1800)


def _install_salt(root: Path, wheels: Path) -> None:
    """Salt into a virtual environment of the root, where Salt's own packages put it, without any network."""
    inside = root / "wheels"
    shutil.copytree(wheels, inside)
    run(["chroot", root, "python3", "-m", "venv", SALT_HOME])
    run(["chroot", root, f"{SALT_HOME}/bin/pip", "install", "--quiet", "--no-index", "--find-links=/wheels", SALT])
    shutil.rmtree(inside)
    for command in SALT_COMMANDS:
        (root / "usr/bin" / command).symlink_to(f"{SALT_HOME}/bin/{command}")
    (root / "etc/salt/minion.d").mkdir(parents=True)
    (root / "etc/salt/pki/minion").mkdir(parents=True, mode=0o700)


def configure(root: Path) -> None:
    """Add the lab's files and services to an unpacked archive; take away what would make two nodes the same machine.

    Args:
        root: where it was unpacked.

    Raises:
        LabError: a service cannot be enabled.
    """
    for name, place in PLACES.items():
        target = root / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(FILES / name, target)
    run(["systemctl", f"--root={root}", "enable", *ENABLED])
    run(["systemctl", f"--root={root}", "mask", *MASKED])
    if attempt(["systemctl", f"--root={root}", "is-enabled", "saltern-lab-early.service"]).returncode:
        raise LabError(f"{root}: saltern-lab-early.service is not enabled: nodes of this template would not boot")
    (root / "etc/machine-id").write_text("uninitialized\n")
    (root / "etc/hostname").write_text("localhost\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")
    resolv_conf = root / "etc/resolv.conf"
    resolv_conf.unlink(missing_ok=True)
    resolv_conf.symlink_to("../run/systemd/resolve/stub-resolv.conf")
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    for extra in (*(root / "etc/apt/sources.list.d").glob("*"), *(root / "etc/apt/apt.conf.d").glob("99mmdebstrap")):
        extra.unlink()


def _hash(parts: list[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
