"""The files that kubeadm wrote on this member, as it would write them today: the kubelet's configuration, static pods.

kubeadm itself renders them, by its phases in their dry run, from the documents of the pillar; so a definition that
changed and a file that was edited are the same difference. Nothing here needs the API, and no secret is in these files.
"""

import re
import shutil
import tempfile
from pathlib import Path

import yaml
from salt.exceptions import CommandExecutionError

# Where kubeadm's dry run writes; it would leave a directory below /etc/kubernetes behind at every call otherwise
# (kubeadm 1.36: constants.EnvVarInitDryRunDir).
DRY_RUN_DIRECTORY = "KUBEADM_INIT_DRYRUN_DIR"
KUBELET_FILES = ("config.yaml", "instance-config.yaml", "kubeadm-flags.env")
RENDER_LIMIT_S = 60
ETCD_PEER_PORT = 2380
INITIAL_CLUSTER = re.compile(
    r"^(?P<indent> *- )--initial-cluster=(?P<members>.*)\n(?: *- --initial-cluster-state=.*\n)?", re.MULTILINE
)
IMAGE = re.compile(r"image: \S+/kube-[a-z-]+:v(?P<version>\S+)")


def kubelet():
    """What this member's kubelet is configured by: ``{path: text}``.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-w-01 kubeadm_files.kubelet
    """
    patch = __salt__["kubeadm_config.kubelet_patch"](_settings(), __salt__["node_facts.resolv_conf"]())
    texts = _render([["kubelet-start"]], KUBELET_FILES, patch)
    if __pillar__["saltern"]["node"]["role"] == "worker":
        texts["kubeadm-flags.env"] = with_registered_taints(texts["kubeadm-flags.env"], _taints())
    return {__salt__["sandbox.path"]("var", "lib", "kubelet", name): text for name, text in texts.items()}


def static_pods():
    """The manifests of this member's control plane: ``{path: text}``.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kubeadm_files.static_pods
    """
    names = [f"{name}.yaml" for name in __salt__["kubeadm_facts.static_pods"]()]
    texts = _render([["control-plane", "all"], ["etcd", "local"]], names)
    paths = {name: __salt__["sandbox.path"]("etc", "kubernetes", "manifests", name) for name in names}
    present = Path(paths["etcd.yaml"])
    texts["etcd.yaml"] = with_initial_cluster(
        texts["etcd.yaml"], present.read_text(errors="replace") if present.is_file() else "", _peers(), _own_peer()
    )
    return {paths[name]: text for name, text in texts.items()}


def with_registered_taints(flags, taints):
    """The kubelet's flags of a worker: join has it register with its taints, init has not.

    kubeadm 1.36: ``cmd/phases/join/kubelet.go``, registerTaintsUsingFlags; a control-plane node's taints are set by a
    phase of their own. flags: text of kubeadm-flags.env; taints: as in nodeRegistration. Returns text.

    CLI Example:

    .. code-block:: bash

        salt-call --local kubeadm_files.with_registered_taints 'KUBELET_KUBEADM_ARGS=""' '[]'
    """
    if not taints:
        return flags
    words = ",".join(f"{taint['key']}={taint.get('value', '')}:{taint['effect']}" for taint in taints)
    return flags.replace('="', f'="--register-with-taints={words} ', 1)


def with_initial_cluster(manifest, present, peers, own):
    """etcd's manifest with the members of the moment at which this one was made.

    etcd heeds ``--initial-cluster`` only while its data directory is empty, and kubeadm never writes it again. So what
    is there stays if this node is in it. Else all members are named, as those of a cluster that exists: a node whose
    data is lost then refuses to start, where kubeadm's own text for init would begin a cluster of its own.

    manifest: kubeadm's rendering; present: what is there; peers: ``name=URL`` of all members; own: this node's.

    CLI Example:

    .. code-block:: bash

        salt-call --local kubeadm_files.with_initial_cluster '' '' '["m-01=https://192.0.2.1:2380"]' '...'
    """
    there = INITIAL_CLUSTER.search(present)
    if there and own in there["members"].split(","):
        line = there[0]
    else:
        line = "{indent}--initial-cluster={members}\n{indent}--initial-cluster-state=existing\n".format(
            indent=INITIAL_CLUSTER.search(manifest)["indent"], members=",".join(peers)
        )
    return INITIAL_CLUSTER.sub(lambda _found: line, manifest)


def version(manifest):
    """The version of Kubernetes that a static pod's image says, None for text that has none.

    manifest: its text.

    CLI Example:

    .. code-block:: bash

        salt-call --local kubeadm_files.version 'image: registry.k8s.io/kube-scheduler:v1.36.4'
    """
    found = IMAGE.search(manifest)
    return found["version"] if found else None


def flat(text):
    """A YAML document as dotted keys, flags by their names: ``{"spec.containers.0.command.--port": "1"}``.

    text: the document. Returns None for text that is no YAML mapping.

    CLI Example:

    .. code-block:: bash

        salt-call --local kubeadm_files.flat 'a: {b: 1}'
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError:
        return None
    return dict(_pairs(document, "")) if isinstance(document, dict) else None


def difference(before, after):
    """What differs between two facts of a file (``config_file.facts``): YAML key by key, others whole.

    Returns ``{"content" | dotted key | "user" | "group" | "mode": {"old", "new"}}``; ``{}`` when they are the same.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kubeadm_files.difference '{content: "a: 1"}' '{content: "a: 2"}'
    """
    changes = __salt__["config_file.difference"](before, after)
    content = changes.get("content")
    if content and content["old"] is not None and (keys := _keys(content["old"], content["new"])):
        del changes["content"]
        return keys | changes
    return changes


def same_meaning(before, after):
    """Whether two texts say the same to who reads them: a comment or an order is no reason to restart anything.

    CLI Example:

    .. code-block:: bash

        salt-call --local kubeadm_files.same_meaning 'a: 1' 'a:  1'
    """
    old, new = flat(before or ""), flat(after)
    return before == after if old is None or new is None else old == new


def _keys(before, after):
    """The keys in which two YAML texts differ; ``{}`` when one is no mapping or none differs."""
    old, new = flat(before), flat(after)
    if old is None or new is None:
        return {}
    return {key: {"old": old.get(key), "new": new.get(key)} for key in {**new, **old} if old.get(key) != new.get(key)}


def _pairs(value, prefix):
    """The leaves of a document with their keys."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _pairs(item, f"{prefix}{key}.")
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            flag, equals, argument = item.partition("=") if isinstance(item, str) else ("", "", "")
            named = equals and flag.startswith("--")
            yield from [(f"{prefix}{flag}", argument)] if named else _pairs(item, f"{prefix}{index}.")
    else:
        yield prefix.rstrip("."), value


def _render(phases, names, patch=None):
    """Run phases of init in their dry run; ``{file name: text}``.

    kubeadm takes a CA without its key, which is all that a worker has, for an external one, and then wants the
    certificates of a control plane. So it is told of a directory without any, and its name is replaced in the texts.
    """
    directory = Path(tempfile.mkdtemp(prefix="saltern-render-"))
    certificates, empty = _settings()["cluster"]["certificatesDir"], str(directory / "pki")
    documents = _documents(empty)
    try:
        for phase in phases:
            arguments = ["init", "phase", *phase, "--dry-run"]
            variables = {DRY_RUN_DIRECTORY: str(directory)}
            __salt__["kubeadm_run.run"](arguments, documents, patch, RENDER_LIMIT_S, variables=variables)
        return {name: (directory / name).read_text().replace(empty, certificates) for name in names}
    except FileNotFoundError as err:
        raise CommandExecutionError(f"{__opts__['id']}: kubeadm rendered no {err.filename}") from err
    finally:
        shutil.rmtree(directory)


def _documents(certificates):
    """What kubeadm renders from, with certificates in that directory."""
    settings = _settings()
    settings = {**settings, "cluster": {**settings["cluster"], "certificatesDir": certificates}}
    return __salt__["kubeadm_config.render_documents"](settings, __pillar__["saltern"]["node"]["address"])


def _settings():
    return __pillar__["saltern"]["kubeadm"]


def _taints():
    return _settings()["join"]["nodeRegistration"].get("taints", [])


def _peers():
    """Every control-plane row as a member of etcd."""
    rows = __pillar__["saltern"]["nodes"]
    return [_peer(row) for row in rows if row["role"] == "control_plane"]


def _own_peer():
    return _peer(__pillar__["saltern"]["node"])


def _peer(row):
    """A member of etcd as ``--initial-cluster`` names it."""
    return f"{row['name']}=https://{row['address']}:{ETCD_PEER_PORT}"
