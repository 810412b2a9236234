"""From the bytes of a request to its parameters: query, form, JSON, multipart."""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from lab.proxmox.errors import ApiError

MAX_BODY_BYTES = 512 * 1024
UPLOAD_PATH = re.compile(r"/nodes/[^/]+/storage/[^/]+/upload")
# Name under which the path of an uploaded file is handed on; a client that sends it itself is refused (Received).
UPLOADED = "tmpfilename"
_COPY_BYTES = 1024 * 1024


def decode_form(text: str) -> dict[str, Any]:
    """Decode a form or query as Proxmox does.

    ``;`` separates pairs too, a second raw ``=`` cuts the value, a repeated key makes a list.
    """
    decoded: dict[str, Any] = {}
    for pair in filter(None, re.split("[&;]", text)):
        key, value = (unquote_plus(part) for part in [*pair.split("="), ""][:2])
        if key not in decoded:
            decoded[key] = value
        elif isinstance(decoded[key], list):
            decoded[key].append(value)
        else:
            decoded[key] = [decoded[key], value]
    return decoded


def decode_json(text: str) -> dict[str, Any]:
    """Decode a JSON object; null values count as not given."""
    try:
        decoded = json.loads(text or "{}")
    except ValueError as err:
        raise ApiError(400, f"malformed JSON string: {err}") from err
    if not isinstance(decoded, dict):
        raise ApiError(400, "malformed JSON string, neither tag, array, object, number, string or atom")
    return {key: value for key, value in decoded.items() if value is not None}


def check_framing(request: Request) -> None:
    """Refuse what Proxmox's HTTP server refuses before it looks at the path: other methods and chunked bodies."""
    if request.method not in ("GET", "PUT", "POST", "DELETE"):
        raise ApiError(501, f"method '{request.method}' not available", with_body=False)
    if request.headers.get("transfer-encoding", "").lower() == "chunked":
        raise ApiError(501, "chunked transfer encoding not supported", with_body=False)


async def parameters(request: Request, api_path: str, upload_directory: Path) -> dict[str, Any]:
    """Return the parameters of a request, not yet checked; a file part becomes the Path of a temporary file.

    Args:
        request: its body has not been read yet.
        api_path: path below ``/api2/json``.
        upload_directory: where an uploaded file is put; whoever takes the call moves or removes it.

    Raises:
        ApiError: body where none may be, too large, or of a kind that Proxmox does not read.
    """
    query = decode_form(request.url.query)
    length = int(request.headers.get("content-length", "0"))
    if request.method in ("GET", "DELETE"):
        if length:
            raise ApiError(501, f"Unexpected content for method '{request.method}'", with_body=False)
        return query
    content_type = request.headers.get("content-type", "")
    if content_type.startswith("multipart/form-data"):
        if UPLOAD_PATH.fullmatch(api_path) is None:
            raise ApiError(506, f"upload 'Content-Type '{content_type}' not implemented", with_body=False)
        return query | await _multipart(request, upload_directory)
    if length > MAX_BODY_BYTES:
        raise ApiError(501, "for data too large", with_body=False)
    body = (await request.body()).decode("utf-8", errors="replace")
    if content_type.startswith("application/json"):
        return query | decode_json(body)
    if not content_type or content_type.startswith("application/x-www-form-urlencoded"):
        return query | decode_form(body)
    raise ApiError(506, f"upload 'Content-Type '{content_type}' not implemented", with_body=False)


async def _multipart(request: Request, directory: Path) -> dict[str, Any]:
    """Read an upload: plain fields, then the file part, which must be named ``filename``."""
    decoded: dict[str, Any] = {}
    try:
        async with request.form(max_files=1, max_fields=20) as form:
            for name, value in form.multi_items():
                if isinstance(value, str):
                    decoded[name] = value
                elif name == "filename":
                    decoded[name] = Path(value.filename or "").name
                    decoded[UPLOADED] = await _received(value, directory)
    except (MultiPartException, HTTPException) as err:
        raise ApiError(501, f"unable to parse multipart data: {err}", with_body=False) from err
    return decoded


async def _received(upload: UploadFile, directory: Path) -> Path:
    """Copy an uploaded file into ``directory`` under a name of its own and return the path."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / f"pveupload-{uuid.uuid4().hex}"
    # Seeds carry the private keys of machines.
    path.touch(mode=0o600)
    with path.open("wb") as stream:
        while block := await upload.read(_COPY_BYTES):
            stream.write(block)
    return path
