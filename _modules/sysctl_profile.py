"""sysctl profiles: whole files under /etc/sysctl.d and the live values of their keys."""

import os
from pathlib import Path

DIRECTORY = "/etc/sysctl.d"
PROC_SYS = "/proc/sys"


def text(settings):
    """The content of a profile's file.

    settings: ``{key: value}`` in the order of the file. Returns text as sysctl.d(5) reads it.

    CLI Example:

    .. code-block:: bash

        salt '*' sysctl_profile.text '{vm.swappiness: "10"}'
    """
    return "".join(f"{key} = {value}\n" for key, value in settings.items())


def plain(value):
    """A value with its blanks made single: the kernel separates with tabs, people with spaces.

    CLI Example:

    .. code-block:: bash

        salt '*' sysctl_profile.plain "4096  131072"
    """
    return " ".join(str(value).split())


def live(keys, proc_sys=PROC_SYS):
    """The values in force.

    keys: list. Returns ``{key: value}``; a key that this kernel (or container) lacks is ``None``.

    CLI Example:

    .. code-block:: bash

        salt '*' sysctl_profile.live '[vm.swappiness, net.ipv4.ip_forward]'
    """
    return {key: _read(_path(key, proc_sys)) for key in keys}


def read_only(keys, proc_sys=PROC_SYS):
    """Those of the keys that exist and cannot be written here: constants, or a container's read-only /proc/sys.

    /proc/sys heeds file modes for root too, so access(2) tells without a write. Returns a list.

    CLI Example:

    .. code-block:: bash

        salt '*' sysctl_profile.read_only '[vm.swappiness]'
    """
    paths = {key: _path(key, proc_sys) for key in keys}
    return [key for key, path in paths.items() if path.exists() and not os.access(path, os.W_OK)]


def settle(settings, proc_sys=PROC_SYS):
    """Write values into the kernel, key by key, so that each failure has its name.

    settings: ``{key: value}``. Returns ``{key: the kernel's own words}`` of those that it refused (``Invalid
    argument``).

    CLI Example:

    .. code-block:: bash

        salt '*' sysctl_profile.settle '{vm.swappiness: "10"}'
    """
    refused = {}
    for key, value in settings.items():
        try:
            _path(key, proc_sys).write_text(plain(value))
        except OSError as err:
            refused[key] = err.strerror
    return refused


def _path(key, proc_sys):
    """The kernel's file for a key. In sysctl.d a key with slashes may have dots in a part (an interface's name)."""
    return Path(proc_sys) / (key if "/" in key else key.replace(".", "/"))


def _read(path):
    """A value in force; None when there is no such key."""
    try:
        return plain(path.read_text())
    except FileNotFoundError:
        return None
