"""The vendors' sites: one bounded question which of them answer, and downloads that are checked before they count."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from lab.artefacts import command
from lab.artefacts.errors import ArtefactError, ChecksumError, UnreachableError

PROBE_TIMEOUT_S = 4.0
DOWNLOAD_TIMEOUT_S = 30.0
CHUNK_BYTES = 1 << 20

# What `urllib` raises when a site cannot be reached or breaks off.
NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, OSError)


def answering(origins: Iterable[str]) -> set[str]:
    """Ask every site at once whether it is there.

    Args:
        origins: "https://host" each.

    Returns:
        Those that answered within PROBE_TIMEOUT_S, with whatever status: a 404 for "/" is an answer, a proxy's own
        refusal (407, 502 to 504) or a 403 for everything is not.
    """
    distinct = sorted(set(origins))
    with ThreadPoolExecutor(max(1, len(distinct))) as pool:
        found = pool.map(_answers, distinct)
        return {origin for origin, there in zip(distinct, found, strict=True) if there}


def _answers(origin: str) -> bool:
    try:
        with urllib.request.urlopen(f"{origin}/", timeout=PROBE_TIMEOUT_S):  # noqa: S310 -- origins are our own https URLs
            return True
    except urllib.error.HTTPError as err:
        return err.code not in (403, 407, 502, 503, 504)
    except NETWORK_ERRORS:
        return False


def origin(url: str) -> str:
    """Return "scheme://host[:port]" of a URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def download(url: str, sha256: str, output: Path) -> None:
    """Download a file and keep it only if it is the one that was pinned.

    Args:
        url: where it is.
        sha256: the pinned checksum, 64 hexadecimal digits.
        output: the file to write.

    Raises:
        ChecksumError: it came, and is another file; both sums are named.
        UnreachableError: it did not come.
    """
    digest = hashlib.sha256()
    try:
        with (
            urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT_S) as answer,  # noqa: S310 -- https URL of versions.sls
            output.open("wb") as file,
        ):
            while chunk := answer.read(CHUNK_BYTES):
                digest.update(chunk)
                file.write(chunk)
            _check_length(answer.headers.get("Content-Length"), file.tell())
    except NETWORK_ERRORS as err:
        output.unlink(missing_ok=True)
        raise UnreachableError(f"{url}: {err}") from err
    if digest.hexdigest() != sha256:
        output.unlink()
        raise ChecksumError(
            f"{url}: sha256 is {digest.hexdigest()}, pillar/versions.sls pins {sha256}: it is not the file that was "
            "pinned. Nothing of it was kept; run again, and if it stays so, ask the vendor before "
            "changing the pin"
        )


def _check_length(announced: str | None, received_bytes: int) -> None:
    """Raise when fewer bytes came than were announced: reading in chunks, http.client takes a break for the end."""
    if announced is not None and int(announced) != received_bytes:
        raise http.client.HTTPException(f"the connection broke off after {received_bytes} of {announced} bytes")


def copy_image(source: str, arch: str, layout: Path, site: str) -> None:
    """Copy an image from a vendor's registry into an OCI layout.

    Args:
        source: "host/repository:tag".
        arch: which of a multi-architecture image's images.
        layout: directory to fill.
        site: the registry's URL; without TLS when it begins with http://.

    Raises:
        UnreachableError: the registry did not give it.
    """
    verify = str(not site.startswith("http://")).lower()
    argv = ["skopeo", "copy", "--quiet", "--override-arch", arch, f"--src-tls-verify={verify}"]
    argv += [f"docker://{source}", f"oci:{layout}"]
    try:
        command.run(argv)
    except ArtefactError as err:
        raise UnreachableError(f"{source}: {err}") from err
