"""Kernel modules: loaded now, and listed for the next boot."""

from pathlib import Path

from salt.exceptions import CommandExecutionError

LISTS = "/etc/modules-load.d"
# What a module gives besides its entry under /sys/module, which one that is built in without parameters does not have.
EVIDENCE = {"br_netfilter": "proc/sys/net/bridge/bridge-nf-call-iptables"}


def available(module, root="/"):
    """How the running kernel has a module: ``"loaded"``, ``"built in"`` or ``None``.

    A kernel without loadable modules has no /proc/modules, and a built-in module shows under /sys/module only when it
    has parameters:
    then its file system (/proc/filesystems) or its settings under /proc/sys tell.
    root: directory taken for / (tests).

    CLI Example:

    .. code-block:: bash

        salt '*' kernel_module.available br_netfilter
    """
    base = Path(root)
    if module in _loaded(base / "proc/modules"):
        return "loaded"
    if (base / "sys/module" / module).is_dir() or module in _filesystems(base / "proc/filesystems"):
        return "built in"
    if module in EVIDENCE and (base / EVIDENCE[module]).exists():
        return "built in"
    return None


def load(module):
    """Load a module with modprobe. Raises CommandExecutionError with what to do.

    CLI Example:

    .. code-block:: bash

        salt '*' kernel_module.load br_netfilter
    """
    done = __salt__["cmd.run_all"](["modprobe", module], python_shell=False, ignore_retcode=True)
    if done["retcode"]:
        raise CommandExecutionError(
            f"kernel module {module}: {done['stderr'] or 'modprobe failed'}; the kernel has it neither "
            "built in nor loadable: install the distribution's full kernel (not a "
            "minimal cloud one); in a system container load it on the host"
        )


def unload(module):
    """Unload a module that nothing uses. Returns whether it is gone now.

    CLI Example:

    .. code-block:: bash

        salt '*' kernel_module.unload br_netfilter
    """
    done = __salt__["cmd.run_all"](["modprobe", "-r", module], python_shell=False, ignore_retcode=True)
    return done["retcode"] == 0


def list_path(module, lists=LISTS):
    """The file that has a module loaded at boot: one of its own, as modules-load.d(5) reads it.

    CLI Example:

    .. code-block:: bash

        salt '*' kernel_module.list_path overlay
    """
    return str(Path(lists) / f"{module}.conf")


def _loaded(proc_modules):
    """Names in /proc/modules."""
    return {line.split()[0] for line in proc_modules.read_text().splitlines()} if proc_modules.exists() else set()


def _filesystems(proc_filesystems):
    """Names in /proc/filesystems; the last field of each line."""
    return (
        {line.split()[-1] for line in proc_filesystems.read_text().splitlines()} if proc_filesystems.exists() else set()
    )
