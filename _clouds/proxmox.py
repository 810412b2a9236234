"""Proxmox VE for salt-cloud: machines of the cluster's definition, each ready for its highstate.

What is made comes from the definition (``pillar/cluster.sls``), how to reach Proxmox from the provider file::

    my-proxmox-config:
      driver: proxmox
      url: hypervisor.domain.tld
      port: 8006
      user: saltern@pve
      password: secret              # or token_name and token_value
      verify_ssl: True              # False, or the path of a CA's certificate (ca_file does the same)
      # wait_for: minion            # or agent: what proves that a new machine is ready
      # answer_timeout_s: 300       # how long a new machine may take to answer
      # task_timeout_s: 120         # how long one Proxmox task may take (full clones: clone_timeout_s, 3600)

CLI Example:

.. code-block:: bash

    salt-cloud --list-locations my-proxmox-config
    salt-cloud -P -m /srv/saltern/cloud.maps.d/cluster.map -y
    salt-cloud -p worker saw-k8s-w-05
    salt-cloud -d saw-k8s-w-05

The work is done by ``saltern.proxmox``; this file turns salt-cloud's calls into its calls. The privileges that each
call needs are listed in docs/production.md.
"""

import logging
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import salt.client
import salt.config
import salt.utils.cloud
import salt.utils.event
from salt.exceptions import SaltCloudNotFound, SaltCloudSystemExit, SaltException

# The package saltern lies beside this folder (module_dirs names the checkout), whether or not it is installed.
CHECKOUT = str(Path(__file__).resolve().parent.parent)
if CHECKOUT not in sys.path:
    sys.path.insert(0, CHECKOUT)

try:
    from saltern import definition, runbooks
    from saltern.arrivals import JOB_VARIABLE
    from saltern.findings import DefinitionError
    from saltern.proxmox import inventory, machine, placement, remove
    from saltern.proxmox import settings as provider_settings
    from saltern.proxmox.api import Proxmox
    from saltern.proxmox.create import CreateFailedError, Creation, Limits, Order
    from saltern.proxmox.errors import AgentNotRunningError, ProxmoxError, RefusedError
    from saltern.proxmox.journal import Journal
    from saltern.proxmox.seed import Operator
    from saltern.rows import KEPT_VARIABLE, Rows

    MISSING = None
except ImportError as err:
    MISSING = err

log = logging.getLogger(__name__)

__virtualname__ = "proxmox"

# Minion keys of 2048 bits: what a minion makes for itself. salt-cloud's own default of 4096 takes a second or more
# of CPU for each machine. `keysize` in the profile or provider changes it.
_KEY_BITS = 2048
_MASTER_ANSWERS_S = 5
# Between two questions for the end of a task, and before something is tried again.
_pause = time.sleep
# What `salt-cloud -S` shows when `query.selection` is not configured.
_SELECTION = ("id", "node", "state", "private_ips")


def __virtual__():
    """Load when everything that the driver is made of can be imported."""
    if MISSING is None:
        return __virtualname__
    why = (
        f"The Proxmox driver cannot be loaded by {sys.executable}: {MISSING}. Install what it needs into that Python: "
        f"{sys.executable} -m pip install -r {CHECKOUT}/requirements/product.txt"
    )
    if any(__virtualname__ in drivers for drivers in __opts__.get("providers", {}).values()):
        log.error(why)
    return False, why


def get_configured_provider():
    """The active provider's keys, or False (and a message that names the key) when they cannot be used.

    No call to Proxmox is made. salt-cloud calls this at its start, which is why ``--list-sizes`` is answered here: its
    loader drops an ``avail_sizes`` of any driver called proxmox (LIBCLOUD_FUNCS_NOT_SUPPORTED in salt/loader).
    """
    if __opts__.get("list_sizes") in (_alias(), __virtualname__, "all"):
        log.warning(
            "Proxmox has no sizes to choose from: CPUs, memory and disk of a machine are in its row of "
            "pillar/cluster.sls (for a worker that has no row: in its profile in cloud.profiles.d)"
        )
    found = salt.config.is_provider_configured(__opts__, __active_provider_name__ or __virtualname__, ("url",))
    if not found:
        return False
    try:
        provider_settings.read(_alias(), found)
    except ProxmoxError as err:
        log.error("%s", runbooks.told(err))
        return False
    return found


# Queries: `salt-cloud -Q`, `-F`, `-S`, --list-..., and what salt-cloud asks before it creates, destroys or acts.


def list_nodes(call=None):
    """All machines with address, size and state (``-Q``).

    Returns: {name: {id, image, size, state, private_ips, public_ips}}.

    CLI Example:

    .. code-block:: bash

        salt-cloud -Q
    """
    _refuse_action(call, "list_nodes")
    with _queried() as api:
        return {
            name: _summary(found, _addresses(api, found, settings))
            for name, (found, settings) in _configured(api, _named(inventory.read(api).guests)).items()
        }


def list_nodes_full(call=None):
    """All machines with their whole configuration (``-F``).

    CLI Example:

    .. code-block:: bash

        salt-cloud -F
    """
    _refuse_action(call, "list_nodes_full")
    with _queried() as api:
        return {
            name: _described(api, found, settings)
            for name, (found, settings) in _configured(api, _named(inventory.read(api).guests)).items()
        }


def list_nodes_select(call=None):
    """All machines, with the fields of ``query.selection`` in salt-cloud's configuration (``-S``).

    CLI Example:

    .. code-block:: bash

        salt-cloud -S
    """
    _refuse_action(call, "list_nodes_select")
    selection = __opts__.get("query.selection") or _SELECTION
    return salt.utils.cloud.list_nodes_select(list_nodes_full("function"), selection, call)


def list_nodes_min(call=None):
    """What salt-cloud asks before it creates, destroys or acts: which machines exist.

    Before a create, a machine whose own create died half way counts as missing, so that it is made again; so does one
    that another process is making, so that its create waits for the other. A machine that is to be made but exists is
    compared with the definition, each difference named as a warning. Before a destroy, a machine of which only the
    record of a create or an accepted key is left counts as there, so that these are removed.

    Returns: {name: {id, state}}; id is None for one that is not on Proxmox.

    CLI Example:

    .. code-block:: bash

        salt-cloud -f list_nodes_min my-proxmox-config
    """
    _refuse_action(call, "list_nodes_min")
    with _queried() as api:
        machines = _named(inventory.read(api).guests)
        if call is None and __opts__.get("saltern") and not (__opts__.get("destroy") or __opts__.get("action")):
            cluster = _definition()
            journal = _journal(cluster)
            # Busy ones first: a create that ends between the two questions is in neither answer, and is made.
            busy = journal.in_the_making() & set(machines)
            for name in journal.unfinished() & set(machines) - busy:
                log.warning("%s was left half made by a create that died: it will be made anew", name)
                del machines[name]
            for name in busy:
                log.warning("%s is being made by another process: waiting for it", name)
                del machines[name]
            _warn_of_differences(_differing(api, cluster, {name: machines[name] for name in _asked(machines, cluster)}))
        left = _left_behind() - set(machines) if call is None and __opts__.get("destroy") else set()
        return {name: {"id": found.vmid, "state": found.status} for name, found in machines.items()} | {
            name: {"id": None, "state": "missing"} for name in sorted(left)
        }


def show_instance(name, call=None):
    """One machine with its whole configuration, and the addresses that its guest agent reports.

    CLI Example:

    .. code-block:: bash

        salt-cloud -a show_instance saw-k8s-w-01
    """
    _require_action(call, "show_instance")
    with _connected() as api:
        return _details(api, _existing(api, name))


def avail_locations(call=None):
    """The Proxmox nodes (``--list-locations``): {node: {status, cpus, memory_gib}}.

    CLI Example:

    .. code-block:: bash

        salt-cloud --list-locations my-proxmox-config
    """
    _refuse_action(call, "avail_locations")
    with _connected() as api:
        return {str(row["node"]): _location(row) for row in inventory.nodes(api)}


def avail_images(call=None):
    """Templates and ISO images (``--list-images``).

    Returns: {name of a template or volume of an image: {type, node, ..}}.

    CLI Example:

    .. code-block:: bash

        salt-cloud --list-images my-proxmox-config
    """
    _refuse_action(call, "avail_images")
    with _connected() as api:
        templates = {
            name: {"type": "template", "id": found.vmid, "node": found.node, "disk_gib": round(found.disk_gib, 1)}
            for name, found in _named(inventory.read(api).templates).items()
        }
        discs = {
            row["volid"]: {"type": "iso", "node": row["node"], "size_mib": round(row.get("size", 0) / inventory.MIB, 1)}
            for row in inventory.images(api)
        }
        return templates | discs


def differences(call=None):
    """How the machines of the definition differ from what is on Proxmox; nothing is changed.

    Returns: {name: {setting: {actual, defined}}}; a missing machine is {"exists": {..}}, one as defined is left out.

    CLI Example:

    .. code-block:: bash

        salt-cloud -f differences my-proxmox-config
    """
    _refuse_action(call, "differences")
    with _connected() as api:
        cluster = _definition()
        machines = _named(inventory.read(api).guests)
        found = _differing(api, cluster, {name: machines[name] for name in cluster.nodes if name in machines})
        missing = {name: {"exists": ("no", "yes")} for name in cluster.nodes if name not in machines}
        return {name: _pairs(pairs) for name, pairs in (missing | found).items()}


# Create and destroy.


def create(vm_):
    """Make one machine and wait until it answers; one that exists is compared and left alone.

    A machine without a row gets one (``row`` in the result names its file). The event ``salt/cloud/NAME/created`` is
    what a reactor starts ``orchestrate.node_add`` on: a machine fires it once, however often it restarts.

    Args:
        vm_: salt-cloud's settings of the machine: name, profile, and the keys of profile and provider.

    Returns: {id, node, address, state, ..}; of a machine that existed also how it differs from the definition.
    Raises: SaltCloudSystemExit with what failed, Proxmox's own text, the remedy, and what was removed again.

    CLI Example:

    .. code-block:: bash

        salt-cloud -p worker saw-k8s-w-05
    """
    name = vm_["name"]
    _fire(name, "creating", "starting create", {key: vm_.get(key) for key in ("name", "profile", "provider", "driver")})
    cluster = _definition()
    with _connected() as api:
        creation = Creation(
            api, _order(cluster, vm_), _minions(vm_), _journal(cluster), _slots(), announce=_announce, pause=_pause
        )
        created = creation.create(name, _placement(api, cluster, vm_))
    result = {
        "id": created.machine.vmid,
        "node": created.machine.node,
        "state": "running" if created.new else created.machine.status,
        "private_ips": [created.address],
        "public_ips": [],
    }
    if created.row:
        result["row"] = str(created.row)
    if not created.new:
        result["Message"] = "Exists; nothing was changed."
        _warn_of_differences({name: created.differences} if created.differences else {})
        return result | ({"differences": _pairs(created.differences)} if created.differences else {})
    done = {"name": name, "provider": vm_.get("provider"), "instance_id": result["id"]}
    done["job"] = os.environ.get(JOB_VARIABLE, "")
    _fire(name, "created", "created instance", done)
    return result


def destroy(name, call=None):
    """Stop a machine, wait, destroy it with its disks and job entries, remove its seed image and its minion key.

    Of a machine that is gone already, key and row go, and what a create that died has left. The row goes only if
    ``create`` wrote it, and stays if a job makes the machine again. Kubernetes is not told: that is
    ``orchestrate.node_remove``.

    CLI Example:

    .. code-block:: bash

        salt-cloud -d saw-k8s-w-05
    """
    if call == "function":
        raise SaltCloudSystemExit("destroy works on machines: salt-cloud -d NAME")
    _fire(name, "destroying", "destroying instance", {"name": name})
    minions = _Minions({})
    removed = []
    cluster = _definition()
    # All under the claim: a create of the same name that waits for it begins with a clean slate.
    with _connected() as api, _journal(cluster).claim(name) as record:
        if record.begun:
            outcome = remove.made(api, record, minions, _pause)
            if outcome.left:
                raise SaltCloudSystemExit(f"{name}: {outcome}")
            removed += outcome.removed or ["the record of a create that died"]
        found = inventory.read(api).find(name)
        if found:
            removed += remove.machine_and_seed(api, found, record, _pause)
        if (found or name in cluster.nodes) and minions.accepted(name):
            minions.forget(name)
            removed.append("minion key")
        if os.environ.get(KEPT_VARIABLE) != name and _rows(cluster).remove(name):
            removed.append("its row of the table, which salt-cloud had written")
    if not removed:
        raise SaltCloudNotFound(f"Proxmox has no machine {name}: salt-cloud -Q lists those that it has.")
    if __opts__.get("update_cachedir", False):
        salt.utils.cloud.delete_minion_cachedir(name, _alias(), __opts__)
    _fire(name, "destroyed", "destroyed instance", {"name": name})
    return {"removed": removed}


# Actions: `salt-cloud -a ACTION NAME`.


def start(name, call=None):
    """Start a machine; one that runs is left alone.

    CLI Example:

    .. code-block:: bash

        salt-cloud -a start saw-k8s-w-01
    """
    return _power(name, call, "start", unless="running")


def stop(name, call=None):
    """Switch a machine off at once, as Proxmox's Stop does; one that is off is left alone.

    CLI Example:

    .. code-block:: bash

        salt-cloud -a stop saw-k8s-w-01
    """
    return _power(name, call, "stop", unless="stopped")


def shutdown(name, call=None):
    """Ask a machine to shut down, and wait for it; one that is off is left alone.

    CLI Example:

    .. code-block:: bash

        salt-cloud -a shutdown saw-k8s-w-01
    """
    return _power(name, call, "shutdown", unless="stopped")


def reboot(name, call=None):
    """Reboot a machine; pending changes of its configuration take effect.

    CLI Example:

    .. code-block:: bash

        salt-cloud -a reboot saw-k8s-w-01
    """
    return _power(name, call, "reboot")


def _power(name, call, verb, unless=None):
    _require_action(call, verb)
    with _connected() as api:
        found = _existing(api, name)
        before = api.call("GET", f"{found.path}/status/current")["status"]
        if before == unless:
            return {"state": before, "changed": False}
        limits = _limits(get_configured_provider())
        remove.persistently(lambda: api.task("POST", f"{found.path}/status/{verb}", timeout_s=limits.task_s), _pause)
        return {"state": api.call("GET", f"{found.path}/status/current")["status"], "changed": True}


class _Minions:
    """The master's side of new minions: keys in its key directory, starts on its event bus."""

    def __init__(self, vm_):
        self._key_bits = max(int(vm_.get("keysize") or _KEY_BITS), _KEY_BITS)
        self._keys = Path(__opts__["pki_dir"])

    def new_keys(self):
        """A new key pair: (private PEM, public PEM)."""
        return salt.utils.cloud.gen_keys(self._key_bits)

    def ready(self, name):
        """Refuse before anything is made when the new minion could not become one."""
        if (self._keys / "minions_rejected" / name).exists():
            raise RefusedError(
                f"Accepting the minion key of {name}",
                "the master has a rejected key of that name, and would refuse the new machine",
                f"If that was a mistake: salt-key -d {name}",
            )
        if not (self._keys / "master.pub").exists():
            raise RefusedError(
                "Reading the master's public key",
                f"there is no {self._keys}/master.pub, so the new machine could not tell its master from another",
                "Start salt-master once: it makes its keys.",
            )
        self._hear_master(name)

    def accepted(self, name):
        """The public key accepted for a minion, or None."""
        path = self._keys / "minions" / name
        return path.read_text() if path.exists() else None

    def accept(self, name, public_key):
        """Accept a public key."""
        salt.utils.cloud.accept_key(str(self._keys), public_key, name)

    def forget(self, name):
        """Remove the accepted key."""
        salt.utils.cloud.remove_key(str(self._keys), name)

    def master_public_key(self):
        """The master's public key."""
        return (self._keys / "master.pub").read_text()

    @contextmanager
    def listening(self, name) -> Iterator[Callable[[float], bool]]:
        """Listen for the minion's start; yields answered(timeout_s) -> bool."""
        opts = _master_opts()
        with salt.utils.event.get_master_event(opts, opts["sock_dir"], listen=True) as bus:
            bus.connect_pub(timeout=_MASTER_ANSWERS_S)
            yield lambda timeout_s: self._answered(bus, opts, name, timeout_s)

    def _hear_master(self, name):
        """Salt's own client reports success when nobody listens on the event bus: so its socket is tried here."""
        opts = _master_opts()
        path = f"{opts['sock_dir']}/master_event_pub.ipc"
        by_tcp = opts.get("ipc_mode") == "tcp"
        try:
            with socket.socket(socket.AF_INET if by_tcp else socket.AF_UNIX) as bus:
                bus.connect(("127.0.0.1", int(opts["tcp_master_pub_port"])) if by_tcp else path)
        except OSError as err:
            raise RefusedError(
                f"Listening for the minion {name}",
                f"the Salt master's event bus ({path}) does not answer: {err.strerror or err}",
                "Start salt-master on this machine, or write `wait_for: agent` in the provider file.",
            ) from err

    def _answered(self, bus, opts, name, timeout_s):
        """Whether the minion starts, or answers a ping, within that time.

        Its start is told once, and a master that was restarted at that moment has lost it: so it is pinged as well. A
        ping is lost on a minion that is not connected yet, and is not waited for: its answer is an event, too.
        """
        try:
            with salt.client.get_local_client(mopts=opts) as client:
                client.run_job(name, "test.ping")
        except SaltException as err:
            log.debug("Asking the minion %s failed: %s", name, err)
        heard = rf"^salt/(minion/{re.escape(name)}/start|job/\d+/ret/{re.escape(name)})$"
        return bus.get_event(wait=timeout_s, tag=heard, match_type="regex") is not None


class _Silent(_Minions):
    """As _Minions, for `wait_for: agent`: no master need run."""

    def _hear_master(self, name):
        """Nobody is listened to."""

    @contextmanager
    def listening(self, name) -> Iterator[Callable[[float], bool]]:
        """Nothing is listened for."""
        yield lambda timeout_s: False


# What the functions above share.


def _alias():
    return (__active_provider_name__ or __virtualname__).split(":")[0]


@contextmanager
def _connected():
    """A connection for the active provider; what Proxmox refuses becomes salt-cloud's kind of error."""
    try:
        api = Proxmox(provider_settings.read(_alias(), get_configured_provider() or {}), _pause)
        try:
            yield api
        finally:
            api.close()
    except (ProxmoxError, CreateFailedError, DefinitionError) as err:
        raise SaltCloudSystemExit(runbooks.told(err)) from err


@contextmanager
def _queried():
    """As _connected, and logged: salt-cloud goes on as if there were no machines when a query fails."""
    try:
        with _connected() as api:
            yield api
    except SaltCloudSystemExit as err:
        log.error("%s", err)
        raise


def _left_behind():
    """Machines of which something is left here: the record of a create that died, or the key of one of the table."""
    if not __opts__.get("saltern"):
        return set()
    cluster = _definition()
    return _journal(cluster).unfinished() | {name for name in cluster.nodes if _Minions({}).accepted(name)}


def _setting(key, default=None):
    """A key of `saltern` in the master's configuration."""
    settings = __opts__.get("saltern") or {}
    if key not in settings and default is None:
        raise SaltCloudSystemExit(
            f"The master's configuration has no `saltern: {{{key}: ..}}`, so there is no definition to make machines "
            "from: add it as docs/production.md shows."
        )
    return settings.get(key, default)


def _definition():
    try:
        return definition.load(_setting("pillar_dirs"), _state_dir())
    except DefinitionError as err:
        raise SaltCloudSystemExit(runbooks.told(err)) from err


def _state_dir():
    return Path(_setting("state_dir", definition.STATE_DIR))


def _journal(cluster):
    return Journal(_state_dir() / cluster.name / "machines")


def _rows(cluster):
    return Rows(_state_dir(), cluster.name)


def _slots():
    """Where all clusters of this master share the right to clone from this provider's templates."""
    return _state_dir() / "proxmox" / _alias() / "slots"


def _limits(provider):
    """Time limits: Saltern's own, unless the provider file has others."""
    standard = Limits()
    return Limits(
        task_s=float(provider.get("task_timeout_s", standard.task_s)),
        full_clone_s=float(provider.get("clone_timeout_s", standard.full_clone_s)),
        answer_s=float(provider.get("answer_timeout_s", standard.answer_s)),
    )


def _order(cluster, vm_):
    operator = cluster.operator
    answer = vm_.get("wait_for", "minion")
    if answer not in ("minion", "agent"):
        raise SaltCloudSystemExit(f"wait_for is {answer!r} in provider or profile: write minion or agent.")
    return Order(
        operator=Operator(operator.user, operator.group, tuple(operator.ssh_keys)),
        master=str(cluster.master.address),
        parallel_clones=cluster.proxmox.parallel_clones,
        answer=answer,
        limits=_limits(vm_),
    )


def _minions(vm_):
    return _Silent(vm_) if vm_.get("wait_for") == "agent" else _Minions(vm_)


def _placement(api, cluster, vm_):
    profile = placement.Profile(
        name=str(vm_.get("profile")),
        role=vm_.get("role"),
        cpus=vm_.get("cpus"),
        memory_gib=vm_.get("memory_gib"),
        disk_gib=vm_.get("disk_gib"),
    )
    return placement.Placement(
        api,
        cluster,
        _journal(cluster),
        _rows(cluster),
        lambda: definition.check(_setting("pillar_dirs"), _state_dir()),
        profile,
    )


def _announce(name, step, what):
    """Tell the operator at once what happens: a create takes a minute, and several run side by side."""
    log.info("%s: %s", name, what)
    sys.stderr.write(f"{name}: {what}\n")
    sys.stderr.flush()
    if step == "requesting":
        _fire(name, "requesting", "requesting instance", {"name": name, "what": what})


def _fire(name, step, message, args):
    __utils__["cloud.fire_event"](
        "event",
        message,
        f"salt/cloud/{name}/{step}",
        args=__utils__["cloud.filter_event"](step, args, list(args)),
        sock_dir=__opts__["sock_dir"],
        transport=__opts__["transport"],
    )


def _master_opts():
    """The master's own configuration: salt-cloud's copy of it has another cache directory, and so no key to publish."""
    path = __opts__.get("master_config") or Path(__opts__["conf_file"]).with_name("master")
    return salt.config.master_config(str(path))


def _named(machines):
    """Machines by name. Proxmox lets several have one name: the others get their number added, none is hidden."""
    named = {}
    for found in machines:
        name = found.name or f"VM {found.vmid}"
        named[f"{name} ({found.vmid})" if name in named else name] = found
    return named


def _existing(api, name):
    found = inventory.read(api).find(name)
    if found is None:
        raise SaltCloudNotFound(f"Proxmox has no machine {name}: salt-cloud -Q lists those that it has.")
    return found


def _addresses(api, found, settings, ask_agent=False):
    """Fixed addresses of the configuration; without any, or when asked for, what the guest agent reports."""
    fixed = inventory.configured_addresses(settings)
    if found.status != "running" or (fixed and not ask_agent):
        return fixed
    try:
        return list(dict.fromkeys([*fixed, *inventory.agent_addresses(api, found)]))
    except AgentNotRunningError:
        return fixed


def _summary(found, addresses):
    return {
        "id": found.vmid,
        "image": "",  # Proxmox does not say what a machine was cloned from
        "size": f"{found.cpus} CPUs, {found.memory_mib} MiB, {found.disk_gib:g} GiB",
        "state": found.status,
        "node": found.node,
        "private_ips": [address for address in addresses if not salt.utils.cloud.is_public_ip(address)],
        "public_ips": [address for address in addresses if salt.utils.cloud.is_public_ip(address)],
    }


def _details(api, found):
    return _described(api, found, inventory.config(api, found), ask_agent=True)


def _described(api, found, settings, ask_agent=False):
    return _summary(found, _addresses(api, found, settings, ask_agent)) | {"config": settings}


def _location(row):
    """One Proxmox node; a user without Sys.Audit sees its name and status only."""
    shown = {"status": row.get("status", "unknown")}
    if "maxcpu" in row:
        shown |= {"cpus": row["maxcpu"], "memory_gib": round(row.get("maxmem", 0) / inventory.GIB, 1)}
    return shown


def _asked(machines, cluster):
    """The machines of the table that the operator asked for and that exist."""
    asked = set(__opts__.get("names") or (cluster.nodes if __opts__.get("map") else ()))
    return [name for name in cluster.nodes if name in asked and name in machines]


def _configured(api, machines):
    """Machines with their configurations, by name: {name: (machine, {key: value})}; without those gone meanwhile."""
    with_settings = {name: (found, inventory.config_if_there(api, found)) for name, found in machines.items()}
    return {name: pair for name, pair in with_settings.items() if pair[1]}


def _differing(api, cluster, machines):
    compared = {
        name: machine.differences(placement.specification(cluster, name), settings)
        for name, (_, settings) in _configured(api, machines).items()
    }
    return {name: pairs for name, pairs in compared.items() if pairs}


def _warn_of_differences(differing):
    for name, pairs in differing.items():
        log.warning(
            "%s exists and differs from pillar/cluster.sls: %s. It is left as it is: change it in Proxmox or correct "
            "the definition",
            name,
            machine.told(pairs),
        )


def _pairs(pairs):
    return {setting: {"actual": actual, "defined": defined} for setting, (actual, defined) in pairs.items()}


def _refuse_action(call, function):
    if call == "action":
        raise SaltCloudSystemExit(f"{function} works on a provider, not a machine: salt-cloud -f {function} PROVIDER")


def _require_action(call, function):
    if call != "action":
        raise SaltCloudSystemExit(f"{function} works on a machine: salt-cloud -a {function} NAME")
