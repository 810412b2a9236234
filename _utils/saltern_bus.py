"""The way from the master to its nodes, for orchestrations and runners: publish a call, take events off the bus.

Implements the transport that ``saltern.job.Job`` is driven through, by Salt's local client and event bus.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import salt.client
import salt.config
import salt.key
import salt.utils.event
import salt.utils.user
from salt.exceptions import AuthenticationError, AuthorizationError, SaltClientError, SaltReqTimeoutError

from saltern.run import Keys
from saltern.steps import Event, Progressed, Published, Returned, TransportError


def transport(conf_file: str) -> SaltTransport:
    """Connect to the master whose configuration file is given.

    Args:
        conf_file: the master's configuration (``__opts__["conf_file"]`` of a runner or an orchestrated state).

    Returns:
        a SaltTransport, connected. Raises TransportError when no master listens.

    CLI Example: none, it is for Python: ``__utils__["saltern_bus.transport"](__opts__["conf_file"])``.
    """
    return SaltTransport(salt.config.master_config(conf_file))


def user() -> str:
    """Who runs this: the account behind sudo, if there is one.

    CLI Example: none, it is for Python: ``__utils__["saltern_bus.user"]()``.
    """
    return salt.utils.user.get_specific_user().removeprefix("sudo_")


class SaltTransport:
    """Publishes by the local client and listens on the master's event bus.

    The bus is subscribed to before anything is published, so no return can be missed.
    """

    def __init__(self, opts: dict[str, Any]) -> None:
        self.opts = opts
        self._bus = salt.utils.event.get_master_event(opts, opts["sock_dir"], listen=True)
        if not self._bus.connect_pub(timeout=5):
            raise TransportError(_no_master(opts))
        self._client = salt.client.LocalClient(mopts=opts)

    def close(self) -> None:
        """Leave the bus."""
        self._bus.destroy()
        self._client.destroy()

    def publish(self, targets: Sequence[str], function: str, arg: Sequence[Any], kwarg: Mapping[str, Any]) -> Published:
        """Send one call to the targets; ``expected`` lacks those whose key the master has not accepted."""
        # Several functions in one call, separated by commas as on Salt's command line: arg is then a list for each.
        called = function.split(",") if "," in function else function
        known = self._client.gather_minions(list(targets), "list")
        if not known:
            return Published("", frozenset())
        try:
            sent = self._client.run_job(list(known), called, list(arg), tgt_type="list", kwarg=dict(kwarg))
        except (AuthenticationError, AuthorizationError, SaltClientError, SaltReqTimeoutError) as err:
            raise TransportError(f"{_no_master(self.opts)} ({err})") from err
        if not sent:
            raise TransportError(f"the master refused to publish {function}: see its log {self.opts['log_file']}")
        return Published(sent["jid"], frozenset(sent["minions"]))

    def keys(self) -> Keys:
        """The minion keys that this master holds."""
        with salt.key.get_key(self.opts) as store:
            listed = store.list_keys()
            accepted = store.key_str("*").get("minions", {}) if listed["minions"] else {}
        pending, rejected, denied = (frozenset(listed[f"minions_{kind}"]) for kind in ("pre", "rejected", "denied"))
        return Keys(accepted, pending, rejected, denied)

    def forget_key(self, minion_id: str) -> None:
        """Delete a minion's key, whether accepted or not; one that is not there is no error."""
        with salt.key.get_key(self.opts) as store:
            # Each deletion has all minions log in again (rotate_aes_key): not for a key that salt-cloud has removed.
            if store.glob_match(minion_id):
                store.delete_key(minion_id)

    def ask_running(self, jid: str, targets: Sequence[str]) -> Published:
        """Ask the targets whether they still run the job."""
        return self.publish(targets, "saltutil.find_job", [jid], {})

    def events(self, timeout_s: float) -> Iterator[Event]:
        """What nodes say, for at most ``timeout_s``; ends early once something has come and no more is waiting."""
        for tag, data in self.raw_events(timeout_s):
            if event := job_event(tag, data):
                yield event

    def raw_events(self, timeout_s: float) -> Iterator[tuple[str, dict[str, Any]]]:
        """The bus as (tag, data), for at most ``timeout_s``; ends early once something came and no more waits."""
        deadline = time.monotonic() + timeout_s
        found = None
        while found is None and (left := deadline - time.monotonic()) > 0:
            found = self._bus.get_event(wait=left, tag="salt/", full=True, auto_reconnect=True)
        while found:
            yield found["tag"], found["data"]
            found = self._bus.get_event(tag="salt/", full=True, no_block=True)


def job_event(tag: str, data: Mapping[str, Any]) -> Event | None:
    """A bus event as a job's event; None for what is not about a node's job.

    Tags: ``salt/job/JID/ret/MINION`` and ``salt/job/JID/prog/MINION/NUMBER`` (the latter with ``state_events=True``).
    """
    match tag.split("/"):
        case ["salt", "job", jid, "ret", node]:
            return Returned(jid, node, _value(data), _went_well(data))
        case ["salt", "job", jid, "prog", node, _]:
            told = data.get("data", data)
            state = told["ret"]
            return Progressed(jid, node, str(state.get("__id__", "")), int(state["__run_num__"]) + 1, int(told["len"]))
    return None


def _value(data: Mapping[str, Any]) -> Any:
    """What a node returned; of several functions in one call of which some failed, what those said."""
    value, failed = data.get("return"), _failed_functions(data)
    return "; ".join(f"{name}: {_cause(value.get(name))}" for name in failed) if failed and value else value


def _failed_functions(data: Mapping[str, Any]) -> list[str]:
    """Of several functions in one call, those that failed: one that raised has no code, but is no success."""
    codes, successes = data.get("retcode", 0), data.get("success", True)
    if not isinstance(codes, Mapping) or not isinstance(successes, Mapping):
        return []
    return [name for name, success in successes.items() if not success or codes.get(name)]


def _cause(text: Any) -> str:
    """What a function that failed returned: of a traceback the error alone, without its frames."""
    lines = str(text).strip().splitlines()
    if not lines or not lines[0].startswith("Traceback"):
        return str(text)
    last_frame = max(number for number, line in enumerate(lines) if line.startswith(("Traceback", "  ")))
    return "\n".join(lines[last_frame + 1 :]).removeprefix("salt.exceptions.CommandExecutionError: ")


def _went_well(data: Mapping[str, Any]) -> bool:
    """Whether the node calls its job a success; of several functions in one call, each has its own code."""
    codes = data.get("retcode", 0)
    failed = any(codes.values()) if isinstance(codes, Mapping) else bool(codes)
    return not failed and not _failed_functions(data) and data.get("success", True) is not False


def _no_master(opts: Mapping[str, Any]) -> str:
    return (
        f"no Salt master listens on {opts['sock_dir']}: nothing can be asked of the nodes. "
        f"Start it (systemctl start salt-master), or give its configuration with -c (now {opts['conf_file']})"
    )
