"""Packages of the distribution, and the one time that a node's index is refreshed and its packages are upgraded."""

import json
from pathlib import Path

from salt.exceptions import CommandExecutionError

FORESEEN = "saltern.packages"
# The names of document 0 are Debian's; what other families call the package that brings the same commands.
NAMES = {
    "RedHat": {"gpg": "gnupg2", "conntrack": "conntrack-tools", "iptables": "iptables-nft", "ebtables": "iptables-nft"},
}
# Configuration files that somebody has edited stay as they are.
UPGRADE = [
    "apt-get",
    "--quiet",
    "--yes",
    "--option=DPkg::Options::=--force-confdef",
    "--option=DPkg::Options::=--force-confold",
    "--option=DPkg::Lock::Timeout=60",
    "--with-new-pkgs",
    "upgrade",
]
UPGRADE_ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1", "LC_ALL": "C"}


def local_names(packages, family=None):
    """What this node's distribution calls packages.

    packages: Debian's names; family: the grain ``os_family``, this node's by default. Returns a list without doubles,
    in order.

    CLI Example:

    .. code-block:: bash

        salt '*' os_package.local_names '[conntrack, nftables]'
    """
    names = NAMES.get(family or __grains__["os_family"], {})
    return list(dict.fromkeys(names.get(package, package) for package in packages))


def versions(packages):
    """The installed versions of packages: ``{package: version}``, ``None`` for one that is not installed.

    CLI Example:

    .. code-block:: bash

        salt '*' os_package.versions '[conntrack, nftables]'
    """
    installed = __salt__["pkg.list_pkgs"]()
    return {package: installed.get(package) for package in packages}


def candidates(packages):
    """The versions that an installation would bring: ``{package: version}``, ``None`` for one that no source has.

    packages: names of packages that are not installed. The index is taken as it is.

    CLI Example:

    .. code-block:: bash

        salt '*' os_package.candidates '[conntrack, nftables]'
    """
    if not packages:
        return {}
    found = __salt__["pkg.latest_version"](*packages, refresh=False)
    # For one package Salt gives the version itself.
    versions_found = found if isinstance(found, dict) else {packages[0]: found}
    return {package: versions_found.get(package) or None for package in packages}


def foresee(packages):
    """For the rest of this run in test mode: these packages are installed.

    CLI Example:

    .. code-block:: bash

        salt '*' os_package.foresee '[haproxy]'
    """
    __context__.setdefault(FORESEEN, set()).update(packages)


def foreseen(packages):
    """Whether this run in test mode would install one of these packages.

    CLI Example:

    .. code-block:: bash

        salt '*' os_package.foreseen '[haproxy]'
    """
    return bool(__context__.get(FORESEEN, set()) & set(packages))


def starts_services():
    """Whether this distribution's packages enable and start the services that they bring: Debian's do.

    CLI Example:

    .. code-block:: bash

        salt '*' os_package.starts_services
    """
    return __grains__["os_family"] == "Debian"


def brought_up(marker):
    """What was done to the packages at the first bring-up.

    marker: the file that says so. Returns ``{"refreshed": bool, "upgraded": bool}``, ``{}`` before the first bring-up.

    CLI Example:

    .. code-block:: bash

        salt '*' os_package.brought_up /opt/sandbox/etc/provisioner/packages.json
    """
    path = Path(marker)
    return json.loads(path.read_text()) if path.exists() else {}


def bring_up(marker, refresh, upgrade):
    """Refresh the index and upgrade all packages, each if asked for, and note that it was done.

    Returns what the upgrade changed (``{package: {"old", "new"}}``). Raises CommandExecutionError with the package
    manager's words.

    CLI Example:

    .. code-block:: bash

        salt '*' os_package.bring_up /opt/sandbox/etc/provisioner/packages.json refresh=True upgrade=False
    """
    if refresh:
        # apt-get update ends well with half of its sources unreachable; failhard makes that an error. dnf has no such
        # mode.
        __salt__["pkg.refresh_db"](**({"failhard": True} if __grains__["os_family"] == "Debian" else {}))
    changes = __salt__["pkg.upgrade"](refresh=False) if upgrade else {}
    path = Path(marker)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"refreshed": bool(refresh), "upgraded": bool(upgrade)}))
    return changes


def upgrade():
    """Refresh the index and bring every installed package to its newest version, e.g. before this machine restarts.

    On Debian new packages come along where an upgrade needs them, as each new kernel does, and none is removed (Salt's
    own upgrade can do one or the other). Services are left as they run: the restart is to come, and needrestart's own
    would end what is not drained. Waits for another package manager to end. A run of it is never cut off: half
    configured packages are worse than a late answer.

    Returns ``{package: {"old", "new"}}``. Raises CommandExecutionError with the package manager's words.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-w-04 os_package.upgrade
    """
    if __grains__["os_family"] != "Debian":
        return __salt__["pkg.upgrade"](refresh=True)
    if held := __salt__["preflight_packages.released"]():
        raise CommandExecutionError(
            f"{__opts__['id']}: packages cannot be upgraded: {held['command']} (PID {held['pid']}) is at work "
            f"({held['lock']}). Wait for it, then run again"
        )
    __salt__["pkg.refresh_db"](failhard=True)
    before = __salt__["pkg.list_pkgs"]()
    done = __salt__["cmd.run_all"](UPGRADE, python_shell=False, ignore_retcode=True, env=UPGRADE_ENVIRONMENT)
    __context__.pop("pkg.list_pkgs", None)  # Salt's cache of what it has listed
    if done["retcode"]:
        said = " ".join((done["stderr"] or done["stdout"]).split())
        raise CommandExecutionError(f"{__opts__['id']}: packages were not upgraded: {' '.join(UPGRADE)}: {said}")
    after = __salt__["pkg.list_pkgs"]()
    names = sorted({*before, *after})
    changed = {name: {"old": before.get(name, ""), "new": after.get(name, "")} for name in names}
    return {name: change for name, change in changed.items() if change["old"] != change["new"]}


def install(packages):
    """Install packages from the index as it is. Raises CommandExecutionError with the package manager's words.

    CLI Example:

    .. code-block:: bash

        salt '*' os_package.install '[conntrack, nftables]'
    """
    options = {"install_recommends": False} if __grains__["os_family"] == "Debian" else {}
    __salt__["pkg.install"](pkgs=packages, refresh=False, **options)


def remove(packages):
    """Remove packages; their configuration stays.

    CLI Example:

    .. code-block:: bash

        salt '*' os_package.remove '[containerd]'
    """
    __salt__["pkg.remove"](pkgs=packages)
