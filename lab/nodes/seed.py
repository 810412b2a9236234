"""The seed of a machine: the NoCloud drive, as cloud-init finds it in a container.

A virtual machine gets a CD with the label `cidata`; a container has no drives, and cloud-init looks for the same files
in /var/lib/cloud/seed/nocloud. Whether they are new to the machine is decided, as ever, by the instance ID inside.
"""

import io
import shutil
from collections.abc import Iterable
from pathlib import Path

import pycdlib
from pycdlib.pycdlibexception import PyCdlibException

from lab.errors import LabError

LABEL = "cidata"
SEED_DIRECTORY = Path("var/lib/cloud/seed/nocloud")


def insert(root: Path, iso_paths: Iterable[Path]) -> bool:
    """Put what is in the seed drive where cloud-init of a container looks for it; without such a drive, take it away.

    Args:
        root: the machine's root directory.
        iso_paths: the images in its drives; the first with the label `cidata` is the seed.

    Returns:
        Whether there is a seed.

    Raises:
        LabError: an image cannot be read.
    """
    directory = root / SEED_DIRECTORY
    files = next((found for found in map(read, iso_paths) if found is not None), None)
    if directory.exists():
        shutil.rmtree(directory)
    if files is None:
        return False
    directory.parent.mkdir(parents=True, exist_ok=True)
    directory.mkdir(mode=0o700)  # the seed carries the minion's private key
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return True


def read(iso: Path) -> dict[str, bytes] | None:
    """Files in the top directory of a seed image.

    Args:
        iso: the image, with Rock Ridge or Joliet names.

    Returns:
        Content by name; None when the image's label is not `cidata`.

    Raises:
        LabError: not an ISO 9660 image.
    """
    image = pycdlib.PyCdlib()
    try:
        image.open(str(iso))
        try:
            label = image.pvd.volume_identifier.decode("ascii", "replace").strip().lower()
            return _files(image) if label == LABEL else None
        finally:
            image.close()
    except (PyCdlibException, OSError) as err:
        raise LabError(f"{iso}: not a readable ISO image ({err}); upload the seed again") from err


def _files(image: pycdlib.PyCdlib) -> dict[str, bytes]:
    view = "rr_path" if image.has_rock_ridge() else "joliet_path" if image.has_joliet() else "iso_path"
    files: dict[str, bytes] = {}
    for child in image.list_children(**{view: "/"}):
        if child is None or not child.is_file():
            continue
        name = _name(child, view)
        content = io.BytesIO()
        image.get_file_from_iso_fp(content, **{view: f"/{name}"})
        files[name.split(";")[0].lower() if view == "iso_path" else name] = content.getvalue()
    return files


def _name(child: "pycdlib.dr.DirectoryRecord", view: str) -> str:
    if child.rock_ridge is not None:
        return bytes(child.rock_ridge.name()).decode()
    return child.file_identifier().decode("utf-16-be" if view == "joliet_path" else "ascii")
