"""A vendor's site on loopback, and a definition whose one artefact comes from it."""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest


class Site:
    """A vendor's HTTP site.

    Attributes:
        root: what it serves.
        url: its address.
        cut_bytes: when set, every answer breaks off after so many bytes.
    """

    def __init__(self, root: Path, url: str) -> None:
        self.root = root
        self.url = url
        self.cut_bytes: int | None = None

    def put(self, path: str, content: bytes) -> None:
        """Serve `content` as `path`."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


class _Handler(http.server.SimpleHTTPRequestHandler):
    site: Site

    def copyfile(self, source: object, outputfile: object) -> None:
        """Send the file, or its beginning."""
        content = source.read()  # type: ignore[attr-defined]
        outputfile.write(content[: self.site.cut_bytes])  # type: ignore[attr-defined]

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A running site; proxies of the machine are not asked for it."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    root = tmp_path / "site"
    root.mkdir()
    handler = type("Handler", (_Handler,), {})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(root))) as server:
        handler.site = Site(root, f"http://127.0.0.1:{server.server_port}")  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield handler.site  # type: ignore[attr-defined]
        server.shutdown()
