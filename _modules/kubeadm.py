"""
kubeadm's verbs on a node: init, join, the material for a join, reset.

Secrets (tokens, certificate keys, kubeconfigs) are handed over sealed for one reader, reach kubeadm in files that only
root reads and that are gone afterwards, and are in no argument, log or result.

An init or join writes a marker first and removes it when it has succeeded. Who finds the marker knows that what lies in
/etc/kubernetes is a half-made start of this project's own, which may be undone.
"""

import base64
import contextlib
import fcntl
import json
import os
import re
import secrets
import string
import time
from pathlib import Path

from salt.exceptions import CommandExecutionError

KUBEADM_TIMEOUT_S = 600
LOCK_TIMEOUT_S = 660
TOKEN = re.compile(r"^[a-z0-9]{6}\.[a-z0-9]{16}$", re.MULTILINE)
TOKEN_CHARACTERS = string.ascii_lowercase + string.digits
WAVE_DESCRIPTION = "saltern: join wave"
# kubeadm's own words for the token that limits the life of the uploaded certificates.
CERTIFICATES_DESCRIPTION = "Proxy for managing TTL for the kubeadm-certs secret"


def status(ca_hash=None):
    """
    Tell what this node is in the cluster; see ``kubeadm_facts.status``.

    ca_hash
        ``sha256:...`` of the cluster's CA, to recognise a member of another cluster.

    CLI Example:

    .. code-block:: bash

        salt '*' kubeadm.status
    """
    return __salt__["kubeadm_facts.status"](ca_hash)


def init():
    """
    Make this node the first of a new cluster.

    Undoes what an init of ours left unfinished, then runs ``kubeadm init``; a node that is a member already is left
    alone. Returns a sentence. Raises CommandExecutionError with kubeadm's failed checks or last steps.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kubeadm.init
    """
    with _lock() as lock:
        if _ready_to_begin("initialised", lock):
            return "is initialised already"
        token = _new_token()
        with _unfinished("init"):
            _make_endpoint_kubeconfigs(lock)
            documents = __salt__["kubeadm_config.init_documents"](_settings(), token)
            _kubeadm(["init", "--skip-token-print"], documents, _kubelet_patch(), lock=lock)
            _finalize_kubelet(lock)
            _delete_secrets([f"bootstrap-token-{token.partition('.')[0]}"])
    return "initialised"


def join(material):
    """
    Make this node a member, as its role in the pillar says.

    material
        What ``kubeadm.join_material`` of a control-plane node sealed for this minion.

    Returns a sentence. Raises CommandExecutionError as :func:`init`.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-w-01 kubeadm.join "$CIPHERTEXT"
    """
    opened = __salt__["sealed.open_"](material)
    with _lock() as lock:
        if _ready_to_begin("joined", lock, opened["ca_hashes"][0]):
            return "has joined already"
        with _unfinished("join"):
            document = __salt__["kubeadm_config.join_document"](_settings(), opened)
            _kubeadm(["join"], [document], _kubelet_patch(), lock=lock)
    return "joined"


def join_material(public_keys, control_plane=()):
    """
    Make what nodes need to join, on a healthy control-plane node: one token for the wave, sealed for each node.

    public_keys
        ``{minion ID: public key PEM}`` of the nodes that will join.

    control_plane
        Those of them that join as control-plane nodes: for these the certificates are uploaded under a fresh key.

    Returns ``{minion ID: ciphertext}``. The token lives as long as pillar ``saltern:kubeadm:token_ttl_minutes``, the
    certificates two hours; :func:`revoke_join_material` ends both at once.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kubeadm.join_material '{"saw-k8s-w-01": "-----BEGIN PUBLIC KEY-----..."}'
    """
    strangers = sorted(set(control_plane) - set(public_keys))
    if strangers:
        raise CommandExecutionError(f"no public key was given for {', '.join(strangers)} to seal for")
    endpoint = __pillar__["saltern"]["cluster"]["endpoint"]
    material = {
        "endpoint": f"{endpoint['address']}:{endpoint['port']}",
        "ca_hashes": [__salt__["kubeadm_facts.ca_hash"](ca_certificate())],
    }
    # kubeadm itself would try for a minute before it says that there is no answer.
    __salt__["kube.kubectl"](["get", "--raw=/readyz", "--request-timeout=15s"])
    try:
        material["token"] = _create_token()
        certificate_key = _upload_certificates() if control_plane else None
        return {
            minion: __salt__["sealed.seal"](
                key, material | {"certificate_key": certificate_key if minion in control_plane else None}
            )
            for minion, key in sorted(public_keys.items())
        }
    except CommandExecutionError as err:
        raise CommandExecutionError(f"{err}{_undone()}") from err


def revoke_join_material():
    """
    Delete this project's join tokens and the uploaded certificates from the cluster.

    Returns the names of the secrets that were deleted; none is no error.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kubeadm.revoke_join_material
    """
    return _delete_secrets(join_material_secrets())


def join_material_secrets():
    """
    Name the secrets in kube-system that exist only for joins (names, never contents).

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kubeadm.join_material_secrets
    """
    columns = "custom-columns=NAME:.metadata.name,TYPE:.type,DESCRIPTION:.data.description"
    args = ["get", "secrets", "--namespace=kube-system", "--no-headers", f"--output={columns}"]
    rows = [line.split() for line in __salt__["kube.kubectl"](args).splitlines()]
    return [row[0] for row in rows if row[0] == "kubeadm-certs" or _is_join_token(*row[1:])]


def ca_certificate():
    """
    Give the certificate of the cluster's CA, PEM text. It is public.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kubeadm.ca_certificate
    """
    certificate = Path(__salt__["sandbox.path"]("etc", "kubernetes", "pki", "ca.crt"))
    if not certificate.exists():
        raise CommandExecutionError(
            f"{__opts__['id']}: {certificate} is not there: this node is no member of the cluster yet"
        )
    return certificate.read_text()


def admin_kubeconfig(public_key):
    """
    Give the cluster administrator's kubeconfig, sealed for the owner of the key.

    public_key
        RSA public key, PEM text.

    Returns ciphertext of ``{"kubeconfig": text}``.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kubeadm.admin_kubeconfig "$(cat reader.pub)"
    """
    kubeconfig = Path(__salt__["sandbox.path"]("etc", "kubernetes", "admin.conf"))
    if not kubeconfig.exists():
        raise CommandExecutionError(f"{__opts__['id']}: no {kubeconfig}: ask a control-plane node that is a member")
    return __salt__["sealed.seal"](public_key, {"kubeconfig": kubeconfig.read_text()})


def wait_healthy(deadline_s=180):
    """
    Wait until this member answers in all its parts, and return its status.

    deadline_s
        Seconds until it gives up.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kubeadm.wait_healthy
    """
    deadline = time.monotonic() + deadline_s
    while True:
        found = status()
        if found["healthy"] or not found["joined"] or found["foreign"]:
            return found
        if time.monotonic() > deadline:
            return found
        # After a boot the kubelet starts the static pods of the control plane, etcd first; nothing announces the end.
        time.sleep(2)


def reset(confirm, whole=True):
    """
    Undo init or join on this node and wipe what they left. Its containers, certificates and etcd data are gone then.

    confirm
        This minion's ID: the explicit word that it is meant.

    whole
        Also take away what the CNI left on the node (links, BPF, its firewall rules); False for a half-made start.

    Refuses on a healthy member, which ``orchestrate.node_remove`` takes out first. Returns what was removed.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-w-04 kubeadm.reset confirm=saw-k8s-w-04
    """
    node = __opts__["id"]
    if confirm != node:
        raise CommandExecutionError(
            f"{node}: reset destroys this node's part of the cluster and needs its name: "
            f"salt {node} kubeadm.reset confirm={node}"
        )
    found = status()
    if found["healthy"]:
        raise CommandExecutionError(
            f"{node}: is a healthy member of the cluster and is not reset. Take it out first: "
            f"salt-run state.orchestrate orchestrate.node_remove pillar='{{\"node\": \"{node}\"}}'"
        )
    with _lock() as lock:
        return _reset(lock, whole)


def _ready_to_begin(goal, lock, ca_hash=None):
    """
    True when the goal is reached already. Else the node is made ready for a start, or it is said why it cannot be.

    goal
        The key of status that the caller is about to make true.
    """
    node = __opts__["id"]
    if not __salt__["kubeadm_facts.mounted"]():
        raise CommandExecutionError(
            f"{node}: /etc/kubernetes is not the sandbox's, so kubeadm would write where nothing looks. "
            f"Mount it: salt {node} state.apply os"
        )
    found = status(ca_hash)
    if found["foreign"]:
        raise CommandExecutionError(foreign_message(found["foreign"]))
    if found["unfinished"] and _settled(found["unfinished"], lock):
        return True
    if found[goal]:
        return True
    taken = __salt__["kubeadm_facts.ports_taken"]()
    if taken:
        raise CommandExecutionError(
            f"{node}: {'; '.join(taken)}. Stop it (systemctl stop NAME, kill PID), then run again"
        )
    return False


def hands_off():
    """
    Say why the files of this node's membership are not to be changed by a state that keeps them, or None.

    Returns ``{"result": bool, "comment": sentence}``, as a state does: true when there is nothing to keep yet, false
    when they are another cluster's.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kubeadm.hands_off
    """
    files, unfinished = __salt__["kubeadm_facts.member_files"](), __salt__["kubeadm_facts.unfinished"]()
    if not files["servers"]:
        return {"result": True, "comment": "no member of a cluster yet"}
    if unfinished:
        return {"result": True, "comment": f"an unfinished {unfinished} is undone or ended by the next one"}
    foreign = __salt__["kubeadm_facts.foreign_reason"](files, None)
    return {"result": False, "comment": foreign_message(foreign)} if foreign else None


def foreign_message(reason):
    """
    Say that this node is another cluster's, and what to type if it is not to be.

    reason
        What ``kubeadm_facts.status`` gave as ``foreign``.

    CLI Example:

    .. code-block:: bash

        salt-call --local kubeadm.foreign_message 'kubelet.conf points elsewhere'
    """
    node = __opts__["id"]
    return (
        f"{node}: {reason}. Nothing was changed: it may be in use. "
        f"If that cluster is gone, wipe its traces with: salt {node} kubeadm.reset confirm={node}"
    )


def _make_endpoint_kubeconfigs(lock):
    """
    Make the kubeconfigs of controller manager and scheduler before init, which would point them at this node.

    Init keeps a kubeconfig that is there and trusts the CA; of another server's URL it only warns (kubeadm 1.36:
    createKubeConfigFileIfNotExists). So these two start with the endpoint and need no restart.
    """
    documents = __salt__["kubeadm_config.endpoint_documents"](_settings(), __pillar__["saltern"]["cluster"]["endpoint"])
    directory = f"--kubeconfig-dir={__salt__['sandbox.path']('etc', 'kubernetes')}"
    _kubeadm(["init", "phase", "certs", "ca"], documents, lock=lock)
    for component in ("controller-manager", "scheduler"):
        _kubeadm(["init", "phase", "kubeconfig", component, directory], documents, lock=lock)


def _finalize_kubelet(lock):
    """
    Point the kubelet at the endpoint and run the phase that init left out, in which kubeadm restarts the kubelet.

    During init it talks to its own API server: through the load balancer, which sends nothing there before its checks
    have passed, it would register seconds later, and init waits for that.
    """
    __salt__["kubeconfig_endpoints.point"]("kubelet.conf")
    settings = _settings()
    _kubeadm(["init", "phase", "kubelet-finalize", "all"], [settings["init"], settings["cluster"]], lock=lock)
    if not settings["kubelet"].get("rotateCertificates", True):
        # Without rotation the phase has nothing to do and restarts nothing.
        __salt__["unit.act"]("restart", "kubelet.service")


def _settled(verb, lock):
    """
    Deal with a call that was begun and not ended: True when it had succeeded after all, else it is undone.

    The minion may have died after kubeadm's success and before it could remove the marker.
    """
    if __salt__["kubeadm_facts.complete"](verb):
        if verb == "init":
            _finalize_kubelet(lock)
        Path(__salt__["kubeadm_facts.marker_path"]()).unlink()
        return True
    others = __salt__["kubeadm_facts.other_members"]() if verb == "init" else []
    if others:
        raise CommandExecutionError(
            f"{__opts__['id']}: an init was not finished here, and yet {', '.join(others)} are members of its cluster: "
            f"not undone. Look at it (kubectl get nodes; kubectl -n kube-system get pods), finish it by "
            f"'kubeadm init phase', then remove {__salt__['kubeadm_facts.marker_path']()}"
        )
    _reset(lock, whole=False)
    return False


def _reset(lock, whole):
    """Delete the Node while the credentials are there, run kubeadm reset, wipe the rest, forget the marker."""
    __salt__["kubeadm_reset.delete_node"]()
    cri_socket = _settings()["join"]["nodeRegistration"]["criSocket"]
    pki = __salt__["sandbox.path"]("etc", "kubernetes", "pki")
    _kubeadm(["reset"], [__salt__["kubeadm_config.reset_document"](cri_socket, pki)], lock=lock)
    wiped = __salt__["kubeadm_reset.wipe"](whole)
    __salt__["kubeconfig_endpoints.forget"]()
    Path(__salt__["kubeadm_facts.marker_path"]()).unlink(missing_ok=True)
    return wiped


def _undone():
    """Revoke what was made so far: nobody will use half of it. What to add to the error, when even that fails."""
    try:
        revoke_join_material()
    except CommandExecutionError as err:
        return f"; and what was made so far could not be revoked, it expires by itself: {err}"
    return ""


def _create_token():
    """Have kubeadm make the wave's token; it comes back on standard output, so it is in no argument."""
    args = ["token", "create", f"--ttl={_settings()['token_ttl_minutes']}m", f"--description={WAVE_DESCRIPTION}"]
    found = TOKEN.search(_kubeadm([*args, _kubeconfig()]))
    if not found:
        raise CommandExecutionError(f"{__opts__['id']}: kubeadm token create ended well but printed no token")
    return found.group(0)


def _upload_certificates():
    """Put the cluster's certificates into the secret kubeadm-certs, encrypted under a fresh key, and return the key."""
    key = secrets.token_hex(32)
    args = ["init", "phase", "upload-certs", "--upload-certs", "--skip-certificate-key-print", _kubeconfig()]
    _kubeadm(args, __salt__["kubeadm_config.upload_documents"](_settings(), key))
    return key


def _is_join_token(kind, description):
    """A bootstrap token that our wave or the upload of certificates made; a secret holds its description in base64."""
    ours = {base64.b64encode(text.encode()).decode() for text in (WAVE_DESCRIPTION, CERTIFICATES_DESCRIPTION)}
    return kind == "bootstrap.kubernetes.io/token" and description in ours


def _delete_secrets(names):
    if names:
        __salt__["kube.kubectl"](["delete", "secrets", "--namespace=kube-system", "--ignore-not-found", *names])
    return names


def _new_token():
    def part(length):
        return "".join(secrets.choice(TOKEN_CHARACTERS) for _ in range(length))

    return f"{part(6)}.{part(16)}"


def _settings():
    return __pillar__["saltern"]["kubeadm"]


def _kubeconfig():
    return f"--kubeconfig={__salt__['sandbox.path']('etc', 'kubernetes', 'admin.conf')}"


def _kubelet_patch():
    return __salt__["kubeadm_config.kubelet_patch"](_settings(), __salt__["node_facts.resolv_conf"]())


def _kubeadm(args, documents=(), patch=None, lock=None):
    return __salt__["kubeadm_run.run"](args, documents, patch, KUBEADM_TIMEOUT_S, lock)


@contextlib.contextmanager
def _unfinished(verb):
    """Leave the marker until what is inside has succeeded; on disk before that begins, for the case of a power cut."""
    marker = Path(__salt__["kubeadm_facts.marker_path"]())
    marker.parent.mkdir(parents=True, exist_ok=True)
    with marker.open("w", encoding="utf-8") as file:
        json.dump({"verb": verb}, file)
        file.flush()
        os.fsync(file.fileno())
    yield
    marker.unlink()


@contextlib.contextmanager
def _lock():
    """
    Hold the one right to run kubeadm on this node; gives the lock's file descriptor, which kubeadm inherits.

    A killed minion leaves its kubeadm running. That one holds the lock until it ends: a second never runs beside it.
    """
    path = Path(__salt__["sandbox.path"]("etc", "provisioner", "kubeadm.lock"))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while not _locked(file):
            if time.monotonic() > deadline:
                raise CommandExecutionError(
                    f"{__opts__['id']}: another kubeadm has been at work for {LOCK_TIMEOUT_S} s: fuser {path} names it"
                )
            time.sleep(1)  # a kubeadm whose minion was killed is still at work: it ends by itself
        yield file.fileno()


def _locked(file):
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
