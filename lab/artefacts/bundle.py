"""The CRI-O bundle: one archive with the runtime, its helpers, the CNI plugins and their configuration.

The layout is upstream's (facts: `tar tzf cri-o.amd64.v1.36.3.tar.gz`); the files are ours or built.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from lab.artefacts.recipes import CNI_PLUGINS
from lab.artefacts.tarballs import Entry

# Upstream's names for the runtime's place; an installation elsewhere rewrites these keys.
CRIO_CONF = """\
[crio.image]
signature_policy = "/etc/crio/policy.json"

[crio.runtime]
default_runtime = "runc"

[crio.runtime.runtimes.runc]
runtime_path = "/usr/libexec/crio/runc"
runtime_root = "/run/runc"
monitor_path = "/usr/libexec/crio/conmon"
"""
CRICTL_YAML = 'runtime-endpoint: "unix:///var/run/crio/crio.sock"\nimage-endpoint: ""\ntimeout: 0\ndebug: false\n'
# As upstream ships them: anything is accepted, short names are searched on docker.io. The product tightens both.
POLICY_JSON = json.dumps({"default": [{"type": "insecureAcceptAnything"}]}, indent=2) + "\n"
REGISTRIES_CONF = 'unqualified-search-registries = ["docker.io"]\n'

PROGRAMS = ("crio", "pinns", "crictl", "conmon", "runc")
CONFIGURATION: Mapping[str, str] = {
    "cri-o/etc/10-crio.conf": CRIO_CONF,
    "cri-o/etc/crictl.yaml": CRICTL_YAML,
    "cri-o/contrib/policy.json": POLICY_JSON,
    "cri-o/contrib/registries.conf": REGISTRIES_CONF,
}


def entries(programs: Mapping[str, Path]) -> list[Entry]:
    """Return the bundle's members in upstream's layout.

    Args:
        programs: {name: file} of each of PROGRAMS and of each CNI plugin.
    """
    binaries = [Entry(f"cri-o/bin/{name}", source=programs[name]) for name in PROGRAMS]
    plugins = [Entry(f"cri-o/cni-plugins/{name}", source=programs[name]) for name in sorted(CNI_PLUGINS)]
    texts = [Entry(path, 0o644, content=text.encode()) for path, text in CONFIGURATION.items()]
    return [*binaries, *plugins, *texts]
