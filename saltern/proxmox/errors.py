"""What Proxmox refuses, as one class per kind: the call, Proxmox's own text, and what to do about it.

Proxmox tells kinds of failure apart by text only (the HTTP reason phrase, or a task's exit status), so the
texts are listed here, once. Source: Proxmox VE 8 and 9, pve-api section 2.
"""

from __future__ import annotations

import re
from collections.abc import Sequence


class ProxmoxError(Exception):
    """A call that did not do what was asked.

    Args:
        call: what was asked, e.g. "POST nodes/pve/qemu/9000/clone".
        text: Proxmox's own words.
        remedy: what the operator can do, as a full sentence.

    ``codes`` names the runbook of each kind (:data:`saltern.runbooks.CODES`).
    """

    codes: tuple[str, ...] = ("proxmox-refused",)

    def __init__(self, call: str, text: str, remedy: str) -> None:
        super().__init__(call, text, remedy)
        self.call = call
        self.text = text.strip()
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.call}: {self.text}. {self.remedy}"


class SettingsError(ProxmoxError):
    """The provider file cannot be used: no call was made."""

    codes = ("proxmox-settings",)


class CredentialsError(ProxmoxError):
    """401: the user, password or token is not accepted."""

    codes = ("proxmox-credentials",)


class PermissionDeniedError(ProxmoxError):
    """403: the user or token lacks a privilege."""

    codes = ("proxmox-permission",)


class CertificateNotTrustedError(ProxmoxError):
    """TLS: the API's certificate is not signed by an authority that we trust, or is for another name."""

    codes = ("proxmox-certificate",)


class UnreachableError(ProxmoxError):
    """Nothing answers at the provider's url and port."""

    codes = ("proxmox-away",)


class NodeOfflineError(ProxmoxError):
    """595 or 596: the API answers, but the Proxmox node that the call is for does not."""

    codes = ("proxmox-node-offline",)


class NotFoundError(ProxmoxError):
    """The machine, node or storage is not there (any more)."""

    codes = ("proxmox-not-found",)


class UnknownTemplateError(NotFoundError):
    """No template of the wanted name on any Proxmox node."""

    codes = ("proxmox-template-unknown",)


class StorageFullError(ProxmoxError):
    """No room for the disk or image."""

    codes = ("proxmox-storage-full",)


class BusyError(ProxmoxError):
    """Proxmox timed out waiting for one of its own locks: the same call may succeed later."""

    codes = ("proxmox-busy",)


class MachineIdTakenError(ProxmoxError):
    """Somebody else got the same machine number: cluster/nextid reserves nothing."""

    codes = ("proxmox-id-taken",)


class TaskFailedError(ProxmoxError):
    """A task ended, and its exit status is an error.

    Args:
        log: the task's last log lines.
    """

    codes = ("proxmox-task-failed",)

    def __init__(self, call: str, text: str, remedy: str, log: Sequence[str] = ()) -> None:
        super().__init__(call, text, remedy)
        self.log = list(log)

    def __str__(self) -> str:
        told = "".join(f"\n    {line}" for line in self.log)
        return super().__str__() + (f"\n  Last lines of the task's log:{told}" if told else "")


class LeftDiskError(ProxmoxError):
    """A destroyed machine has left a disk, which could not be removed either."""

    codes = ("machine-leftover",)


class TimedOutError(ProxmoxError):
    """Something did not happen within its time limit."""

    codes = ("proxmox-timed-out",)


# Errors of a call that may have been carried out all the same: no answer to it has come.
UNANSWERED = (NodeOfflineError, TimedOutError, UnreachableError)


class MachineSilentError(TimedOutError):
    """A new machine was started and did not answer."""

    codes = ("machine-silent",)


class AgentNotRunningError(ProxmoxError):
    """The guest agent does not answer: the machine is not up yet, or its image has none."""

    codes = ("proxmox-agent-silent",)


class RefusedError(ProxmoxError):
    """Any other refusal."""


_KINDS: list[tuple[re.Pattern[str], type[ProxmoxError], str]] = [
    (
        re.compile(r"config file already exists|VM \d+ already exists"),
        MachineIdTakenError,
        "Another machine was made with this number at the same moment: run the same command again.",
    ),
    (
        re.compile(r"got timeout|got lock request timeout"),
        BusyError,
        "Proxmox waited for a lock that something else holds (a backup, a clone, a migration): "
        "run the same command again, or lower proxmox.parallel_clones in pillar/cluster.sls.",
    ),
    (
        re.compile(
            r"not enough free space|No space left on device|out of space|free space in thin pool \S+ reached threshold",
            re.IGNORECASE,
        ),
        StorageFullError,
        "Free space on the storage, add some, or name another one in proxmox.storage (disks) or "
        "proxmox.iso_storage (seed images) in pillar/cluster.sls.",
    ),
    (
        re.compile(r"hostname lookup '[^']*' failed|no such cluster node"),
        NotFoundError,
        "Proxmox has no node of that name: correct proxmox.node, or the row's proxmox_node, in pillar/cluster.sls "
        "(salt-cloud --list-locations PROVIDER names those that exist).",
    ),
    (
        re.compile(r"does not exist|unable to find configuration file|no such (task|VM|volume)", re.IGNORECASE),
        NotFoundError,
        "It may have been removed meanwhile: salt-cloud -Q shows what is there.",
    ),
    (
        re.compile(r"guest agent is not running|No QEMU guest agent configured"),
        AgentNotRunningError,
        "Install qemu-guest-agent in the template (docs/production.md) and set agent=1 on the machine.",
    ),
    (
        re.compile(r"does not support '(iso|images)' content"),
        RefusedError,
        "Name a storage with that content type in proxmox.iso_storage or proxmox.storage in pillar/cluster.sls, "
        "or allow it: pvesm set STORAGE --content iso,images.",
    ),
    (
        re.compile(r"cluster not ready - no quorum"),
        RefusedError,
        "The Proxmox cluster has lost its quorum and changes nothing until it is back: see `pvecm status` on a node.",
    ),
    (
        re.compile(r"VM is locked"),
        RefusedError,
        "Another operation holds the machine: wait until it has ended (the task log in Proxmox), then run again.",
    ),
]
_PRIVILEGE = re.compile(r"\((?P<path>/[^,]*), (?P<privileges>[A-Za-z.|, ]+)\)")
_NODE_DOES_NOT_ANSWER = (595, 596)


def kind_of(text: str) -> tuple[type[ProxmoxError], str]:
    """Tell the kind of failure from Proxmox's text: (class, remedy)."""
    for pattern, kind, remedy in _KINDS:
        if pattern.search(text):
            return kind, remedy
    return RefusedError, "Proxmox's text names the reason; the task list in its web interface has the details."


def from_response(call: str, status: int, text: str, who: str) -> ProxmoxError:
    """Explain an HTTP error.

    Args:
        call: what was asked.
        status: HTTP status code.
        text: reason phrase, with the errors by parameter if there are any.
        who: user or token that asked, e.g. "saltern@pve!cloud".

    Returns: the error to raise.
    """
    told = f"{status} {text}"
    if status == 401:
        return CredentialsError(call, told, _credentials_remedy(text, who))
    if status == 403:
        return PermissionDeniedError(call, told, _privilege_remedy(text, who))
    if status in _NODE_DOES_NOT_ANSWER:
        return NodeOfflineError(
            call, told, "The API answers, this Proxmox node does not: start it, or take it out of pillar/cluster.sls."
        )
    kind, remedy = kind_of(text)
    return kind(call, told, remedy)


def from_task(call: str, exit_status: str, log: Sequence[str]) -> ProxmoxError:
    """Explain a task's exit status: the classes that a caller acts on, else TaskFailedError with the task's log."""
    kind, remedy = kind_of(exit_status)
    if kind is RefusedError:
        return TaskFailedError(call, f"the task failed: {exit_status}", remedy, log)
    return kind(call, f"the task failed: {exit_status}", remedy)


def _credentials_remedy(text: str, who: str) -> str:
    if "csrf" in text.lower() or "ticket" in text.lower():
        return f"The session of {who} ended: run the command again."
    if "!" in who:
        return (
            f"The token {who} or its value is wrong, or it has expired: "
            "look at token_name and token_value in the provider file, and at Datacenter > Permissions > API Tokens."
        )
    return (
        f"The password of {who} is wrong, or the user is not in that realm: "
        "correct user (name@pam or name@pve) and password in the provider file."
    )


def _privilege_remedy(text: str, who: str) -> str:
    option = "--tokens" if "!" in who else "--users"
    found = _PRIVILEGE.search(text)
    if not found:
        return (
            f"{who} lacks VM.Allocate on /vms (or on the pool), which docs/production.md lists among the least "
            f"privileges: pveum acl modify /vms {option} '{who}' --roles ROLE, with a role that has it."
        )
    path, privileges = found["path"], found["privileges"].replace("|", " or ")
    return (
        f"{who} needs the privilege {privileges} on {path}: give it to a role of yours "
        f"(pveum role modify ROLE --append --privs {found['privileges'].split('|')[0]}) and the role to {who} "
        f"(pveum acl modify {path} {option} '{who}' --roles ROLE)."
    )
