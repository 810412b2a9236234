"""
Restart this machine after the answer to the call has left it, and tell one boot of it from the next.
"""

import os
from pathlib import Path

from salt.exceptions import CommandExecutionError

UNIT = "saltern-restart"
# How long a job whose answer nobody takes holds the restart up; Salt itself gives up later. Seconds.
ANSWER_S = 60


def boot(proc="/proc"):
    """
    Give a text that is another one after each boot of this machine, and the same one until then.

    The kernel's boot ID is that of the host in a system container (unless, as systemd-nspawn does, one is mounted over
    it), where a restart begins a new PID 1; that process's start (proc(5): field 22 of stat, in ticks since the
    kernel's boot) is nearly always the same in a virtual machine. So both. A mark in /run was weighed: whoever reads it
    would have to have written it first.

    proc
        Where the kernel's process files are.

    CLI Example:

    .. code-block:: bash

        salt '*' os_restart.boot
    """
    kernel = Path(proc, "sys/kernel/random/boot_id").read_text().strip()
    # The second field, the command, is in brackets and may hold blanks and brackets itself.
    fields = Path(proc, "1/stat").read_text().rpartition(")")[2].split()
    return f"{kernel}/{fields[22 - 3]}"


def order():
    """
    Have this machine restart once this call's job has ended, which is when the master has its answer.

    A unit of its own waits for that: it lives on when the minion is stopped. Returns the boot that ends.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-w-04 os_restart.order
    """
    ends = __salt__["os_restart.boot"]()
    script = f"timeout {ANSWER_S} tail --pid={os.getpid()} -f /dev/null; exec systemctl reboot"
    argv = ["systemd-run", "--quiet", "--collect", f"--unit={UNIT}", "/bin/sh", "-c", script]
    done = __salt__["cmd.run_all"](argv, python_shell=False, ignore_retcode=True)
    if done["retcode"]:
        said = done["stderr"] or done["stdout"]
        raise CommandExecutionError(f"{__opts__['id']}: the restart could not be ordered: systemd-run: {said}")
    return ends
