"""Swap of a node: what is in use, what would come back after a reboot, how to end both."""

import os
import re
from pathlib import Path

from salt.exceptions import CommandExecutionError

PROC_SWAPS = "/proc/swaps"
FSTAB = "/etc/fstab"
# Ours to find again: only lines with this mark are given back by enable_fstab.
MARK = "# swap off for Kubernetes: "
UNIT_DIRECTORIES = (
    "/etc/systemd/system",
    "/run/systemd/generator",
    "/run/systemd/generator.late",
    "/usr/lib/systemd/system",
)
MASK_DIRECTORY = "/etc/systemd/system"


def active(proc_swaps=PROC_SWAPS):
    """The swap areas in use.

    proc_swaps: the kernel's table. Returns a list of paths, e.g. ``["/dev/dm-1", "/swap.img"]``; a kernel without
    swap has no table: ``[]``.

    CLI Example:

    .. code-block:: bash

        salt '*' swap.active
    """
    try:
        return parse_swaps(Path(proc_swaps).read_text())
    except FileNotFoundError:
        return []


def parse_swaps(text):
    r"""The paths of /proc/swaps, its octal escapes (``\040``) undone.

    CLI Example:

    .. code-block:: bash

        salt '*' swap.parse_swaps "Filename Type Size Used Priority"
    """
    rows = [line.split() for line in text.splitlines()[1:] if line.strip()]
    return [re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), row[0]) for row in rows]


def fstab_lines(fstab=FSTAB):
    """The lines of fstab that would bring swap back at boot.

    CLI Example:

    .. code-block:: bash

        salt '*' swap.fstab_lines
    """
    return [line for line in _lines(fstab) if is_swap_line(line)]


def is_swap_line(line):
    """Whether a line of fstab mounts swap: six fields or fewer, the third one ``swap``, no comment (fstab(5)).

    CLI Example:

    .. code-block:: bash

        salt '*' swap.is_swap_line "/swap.img none swap sw 0 0"
    """
    fields = line.split()
    return len(fields) >= 3 and not fields[0].startswith("#") and fields[2] == "swap"


def comment_fstab(fstab=FSTAB):
    """Comment the swap lines of fstab by editing it; every other byte stays. Returns the lines commented.

    CLI Example:

    .. code-block:: bash

        salt '*' swap.comment_fstab
    """
    found = fstab_lines(fstab)
    if found:
        _rewrite(fstab, [MARK + line if is_swap_line(line) else line for line in _lines(fstab)])
    return found


def commented_fstab(fstab=FSTAB):
    """The lines that :func:`comment_fstab` has commented, without its mark.

    CLI Example:

    .. code-block:: bash

        salt '*' swap.commented_fstab
    """
    return [line.removeprefix(MARK) for line in _lines(fstab) if line.startswith(MARK)]


def uncomment_fstab(fstab=FSTAB):
    """Take the mark off again: exactly the lines that :func:`comment_fstab` commented. Returns them.

    CLI Example:

    .. code-block:: bash

        salt '*' swap.uncomment_fstab
    """
    found = commented_fstab(fstab)
    if found:
        _rewrite(fstab, [line.removeprefix(MARK) for line in _lines(fstab)])
    return found


def units(directories=UNIT_DIRECTORIES, mask_directory=MASK_DIRECTORY):
    """The systemd swap units that are not masked, whoever made them (fstab, zram-generator, an administrator).

    Returns a sorted list of unit names.

    CLI Example:

    .. code-block:: bash

        salt '*' swap.units
    """
    names = {path.name for directory in directories for path in Path(directory).glob("*.swap")}
    return sorted(names - set(masked(mask_directory)))


def masked(mask_directory=MASK_DIRECTORY):
    """The swap units that are masked (a link to /dev/null in /etc/systemd/system).

    CLI Example:

    .. code-block:: bash

        salt '*' swap.masked
    """
    return sorted(
        path.name
        for path in Path(mask_directory).glob("*.swap")
        if path.is_symlink() and path.readlink() == Path(os.devnull)
    )


def mask(unit, mask_directory=MASK_DIRECTORY):
    """Mask a swap unit, as ``systemctl mask`` does, but also while systemd does not know the unit.

    Raises CommandExecutionError when an administrator's own unit file is in the way.

    CLI Example:

    .. code-block:: bash

        salt '*' swap.mask dev-zram0.swap
    """
    path = Path(mask_directory) / unit
    try:
        path.symlink_to(os.devnull)
    except FileExistsError as err:
        raise CommandExecutionError(
            f"{path} is a unit of this machine's administrator and would bring swap back at boot: "
            "move it away and apply again"
        ) from err


def unmask(unit, mask_directory=MASK_DIRECTORY):
    """Take the mask of a swap unit away.

    CLI Example:

    .. code-block:: bash

        salt '*' swap.unmask dev-zram0.swap
    """
    path = Path(mask_directory) / unit
    if path.is_symlink():
        path.unlink()


def off(area):
    """Take one swap area out of use. Raises CommandExecutionError with swapoff's own words.

    CLI Example:

    .. code-block:: bash

        salt '*' swap.off /dev/dm-1
    """
    _swap_command("swapoff", area)


def on(area):
    """Take one swap area into use again.

    CLI Example:

    .. code-block:: bash

        salt '*' swap.on /dev/dm-1
    """
    _swap_command("swapon", area)


def _swap_command(command, area):
    """Run swapon or swapoff for one area."""
    done = __salt__["cmd.run_all"]([command, area], python_shell=False, ignore_retcode=True)
    if done["retcode"]:
        raise CommandExecutionError(f"{command} {area}: {done['stderr'] or done['stdout']}")


def _lines(fstab):
    """The lines of fstab; a node without one has none."""
    path = Path(fstab)
    return path.read_text().splitlines() if path.exists() else []


def _rewrite(fstab, lines):
    """Replace fstab in one step with the same owner and mode: a node with half an fstab does not boot."""
    path = Path(fstab)
    temporary = path.with_name(path.name + ".saltern")
    temporary.write_text("".join(line + "\n" for line in lines))
    facts = path.stat()
    temporary.chmod(facts.st_mode & 0o7777)
    os.chown(temporary, facts.st_uid, facts.st_gid)
    temporary.replace(path)
