"""
Run kubeadm with documents that hold secrets.
"""

import shutil
import tempfile
from pathlib import Path

from salt.exceptions import CommandExecutionError

# A memory file system: nothing of it ever reaches a disk.
RUN_DIRECTORY = "/run/saltern"


def run(args, documents=(), patch=None, timeout_s=600, lock=None, variables=None):
    """
    Run kubeadm and return its standard output.

    args
        List of arguments, never a secret.

    documents
        Mappings for ``--config``. They are in a file that only root reads, gone when kubeadm ends, however it ends.

    patch
        Mapping that kubeadm merges into this node's kubelet configuration, or None.

    timeout_s
        Seconds until it is killed.

    lock
        File descriptor that kubeadm keeps open, or None.

    variables
        Environment variables besides the caller's, or None.

    Raises CommandExecutionError with kubeadm's failed checks or last steps, secrets blotted out.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 kubeadm_run.run '["version"]'
    """
    Path(RUN_DIRECTORY).mkdir(mode=0o700, parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="kubeadm-", dir=RUN_DIRECTORY))  # mkdtemp makes it 0700
    try:
        config = [f"--config={_write(directory, documents, patch)}"] if documents else []
        fds = () if lock is None else (lock,)
        options = {"timeout_s": timeout_s, "inherit_fds": fds, "variables": variables}
        answer = __salt__["sandbox.run"]("kubeadm", [*args, *config], **options)
    finally:
        shutil.rmtree(directory)
    if answer["retcode"]:
        reason = __salt__["kubeadm_output.failure"](answer["stdout"], answer["stderr"])
        raise CommandExecutionError(f"{__opts__['id']}: kubeadm {args[0]}: {reason}")
    return answer["stdout"]


def _write(directory, documents, patch):
    """Write the documents, 0600 from their first byte, the patch beside them, and return the path."""
    first, *others = documents
    if patch:
        patches = directory / "patches"
        patches.mkdir()
        (patches / "kubeletconfiguration0+merge.yaml").write_text(__salt__["kubeadm_config.text"]([patch]))
        first = first | {"patches": {"directory": str(patches)}}
    path = directory / "config.yaml"
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(__salt__["kubeadm_config.text"]([first, *others]), encoding="utf-8")
    return path
