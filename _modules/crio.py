"""CRI-O's configuration in the sandbox: what each file says, and what the files say now.

All of it is computed here from the pillar and the bundle's own configuration; the state compares and writes.
"""

import json
import os
import tomllib
from pathlib import Path, PurePosixPath

from salt.exceptions import CommandExecutionError

# A keyword is what containers-policy.json(5) calls an acceptance without signature.
ACCEPT = [{"type": "insecureAcceptAnything"}]


def wanted(sandbox, settings):
    """Every file of the configuration.

    sandbox: the sandbox root; settings: ``pillar["saltern"]["crio"]`` (docs/architecture.md).
    Returns ``{path: text}``. Raises CommandExecutionError when the bundle's configuration is not there: its artefact
    comes first.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-w-01 crio.wanted /opt/sandbox '{bundle_config: ..., keys: {...}, registries: {...}, ...}'
    """
    registries = settings["registries"]
    policy_path = f"{sandbox}/etc/containers/policy.json"
    keys = {"crio.image.signature_policy": policy_path} | settings["keys"]
    return {
        settings["config_path"]: __salt__["toml_file.dumps"](compose(sandbox, settings["bundle_config"], keys)),
        settings["environment_path"]: environment(sandbox, str(PurePosixPath(settings["config_path"]).parent)),
        policy_path: json.dumps(policy(registries["allowed"], registries["mirrors"]), indent=2) + "\n",
        f"{sandbox}/etc/containers/registries.conf": __salt__["toml_file.dumps"](
            {"unqualified-search-registries": [], "short-name-mode": "enforcing"}
        ),
        f"{sandbox}/etc/containers/registries.conf.d/50-mirrors.conf": __salt__["toml_file.dumps"](
            mirrors(registries["mirrors"])
        ),
        f"{sandbox}/etc/crictl.yaml": crictl(settings["keys"]["crio.api.listen"]),
    }


def compose(sandbox, bundle_config, keys):
    """The main configuration: the bundle's, its runtimes moved into the sandbox, then the keys.

    A runtime that the bundle configures and this build of it lacks is dropped: CRI-O would complain of it at every
    start.
    Returns a dict.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-w-01 crio.compose /opt/sandbox /opt/sandbox/usr/share/crio/10-crio.conf '{}'
    """
    if not Path(bundle_config).exists():
        raise CommandExecutionError(
            f"{bundle_config} is not there: it comes with the artefact crio; apply the state binaries first"
        )
    document = __salt__["toml_file.merged"](__salt__["toml_file.read"](bundle_config), keys)
    runtimes = document.get("crio", {}).get("runtime", {}).get("runtimes", {})
    default = document.get("crio", {}).get("runtime", {}).get("default_runtime")
    for name, runtime in list(runtimes.items()):
        runtime |= _in_sandbox(sandbox, name, runtime, keys)
        if not os.access(runtime["runtime_path"], os.X_OK) and name != default:
            del runtimes[name]
    return document


def mirrors(entries):
    """registries.conf.d's document (containers-registries.conf(5)): for each registry the mirrors that are asked first.

    entries: ``[{"registry", "mirror", "insecure"}]``, in the order in which mirrors are tried.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-w-01 crio.mirrors '[{registry: registry.k8s.io, mirror: "192.168.100.1:5000", insecure: true}]'
    """
    registries = {}
    for entry in entries:
        table = registries.setdefault(entry["registry"], {"location": entry["registry"], "mirror": []})
        table["mirror"].append({"location": entry["mirror"], "insecure": bool(entry["insecure"])})
    return {"registry": list(registries.values())} if registries else {}


def policy(allowed, entries):
    """policy.json's document: images come from the allowed registries and those with a mirror, from nowhere else.

    The upstream registries of the components sign in ways that differ, so none of their signatures is demanded here;
    what is pinned is where
    an image may come from. ``atomic`` and the other transports are of no use to CRI-O and stay rejected.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-w-01 crio.policy '[registry.k8s.io, quay.io]' '[]'
    """
    registries = sorted({*allowed, *(entry["registry"] for entry in entries)})
    return {"default": [{"type": "reject"}], "transports": {"docker": dict.fromkeys(registries, ACCEPT)}}


def environment(sandbox, config_directory):
    """etc/default/crio: where CRI-O finds its configuration and, by the variables that it reads itself, its registries.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-w-01 crio.environment /opt/sandbox /opt/sandbox/etc/crio/crio.conf.d
    """
    return (
        f'CRIO_CONFIG_OPTIONS="--config-dir={config_directory}"\n'
        f"CONTAINER_REGISTRIES_CONF={sandbox}/etc/containers/registries.conf\n"
        f"CONTAINER_REGISTRIES_CONF_DIR={sandbox}/etc/containers/registries.conf.d\n"
    )


def crictl(socket):
    """crictl.yaml: which socket crictl speaks to.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-w-01 crio.crictl /opt/sandbox/var/run/crio/crio.sock
    """
    return f"runtime-endpoint: unix://{socket}\nimage-endpoint: unix://{socket}\n"


def difference(before, after):
    """What differs between two facts of a file (``config_file.facts``): TOML files key by key, others whole.

    Returns ``{"content" | dotted key | "user" | "group" | "mode": {"old", "new"}}``; ``{}`` when they are the same.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-w-01 crio.difference '{content: "a = 1"}' '{content: "a = 2"}'
    """
    changes = __salt__["config_file.difference"](before, after)
    if "content" in changes and (keys := _keys(changes["content"])):
        del changes["content"]
        return keys | changes
    return changes


def _keys(content):
    """The keys in which two texts differ, ``{}`` when one is no TOML or none differs (a comment, an order)."""
    try:
        old, new = (tomllib.loads(content[side] or "") for side in ("old", "new"))
    except tomllib.TOMLDecodeError:
        return {}
    old, new = (__salt__["toml_file.flat"](document) for document in (old, new))
    return {key: {"old": old.get(key), "new": new.get(key)} for key in {**new, **old} if old.get(key) != new.get(key)}


def _in_sandbox(sandbox, name, runtime, keys):
    """The paths of one runtime, those of the bundle moved into the sandbox; an explicit key has the last word."""
    moved = {}
    for field in ("runtime_path", "monitor_path"):
        path = runtime.get(field) or f"/usr/libexec/crio/{name if field == 'runtime_path' else 'conmon'}"
        explicit = f"crio.runtime.runtimes.{name}.{field}" in keys
        moved[field] = path if explicit or not path.startswith("/usr/libexec/crio/") else sandbox + path
    return moved
