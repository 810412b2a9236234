"""artefact.installed against a real HTTP server and real archives."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.functional.node.conftest import Minion


class Mirror:
    """A mirror on loopback: serves `files`, cuts those in `cut` short, counts what was asked."""

    def __init__(self) -> None:
        mirror = self
        self.files: dict[str, bytes] = {}
        self.cut: set[str] = set()
        self.asked: list[str] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.asked.append(self.path)
                content = mirror.files.get(self.path)
                if content is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2] if self.path in mirror.cut else content)

            def log_message(self, *_args: Any) -> None:
                """Keep the tests' output clean."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    serving = Mirror()
    yield serving
    serving.close()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def archive(members: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    """A tar.gz with files by name; a TarInfo is put in as it is."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


class Rack:
    """Artefacts as the pillar has them, in a scratch sandbox."""

    def __init__(self, root: Path, mirror: Mirror) -> None:
        self.root, self.mirror = root, mirror
        self.where = {"downloads": str(root / "downloads"), "records": str(root / "records")}

    def binary(self, name: str, content: bytes, version: str = "1.36.4") -> dict[str, Any]:
        self.mirror.files[f"/{name}-{version}"] = content
        path = str(self.root / "bin" / name)
        return self._entry(name, version, content, "binary", [{"member": None, "path": path, "mode": "0755"}])

    def packed(self, name: str, content: bytes, files: dict[str, str], version: str = "1.36.3") -> dict[str, Any]:
        self.mirror.files[f"/{name}-{version}"] = content
        listed = [{"member": member, "path": str(self.root / path), "mode": "0755"} for member, path in files.items()]
        return self._entry(name, version, content, "tar.gz", listed)

    def _entry(self, name: str, version: str, content: bytes, kind: str, files: list[Any]) -> dict[str, Any]:
        url = f"{self.mirror.url}/{name}-{version}"
        return {"name": name, "version": version, "url": url, "sha256": sha256(content), "format": kind, "files": files}

    def left_over(self) -> list[str]:
        """Files that no artefact accounts for."""
        return sorted(
            str(path.relative_to(self.root))
            for path in self.root.rglob("*")
            if path.is_file() and (path.name.startswith(".") or path.parent.name == "downloads")
        )


@pytest.fixture
def rack(tmp_path: Path, mirror: Mirror) -> Rack:
    return Rack(tmp_path, mirror)


def test_binaries_and_members_are_installed_once(minion: Minion, rack: Rack) -> None:
    bundle = archive({"./cri-o/bin/crio": b"crio!", "cri-o/bin/pinns": b"pinns!", "cri-o/README": b"no"})
    wanted = [
        rack.binary("kubeadm", b"#!kubeadm"),
        rack.packed("crio", bundle, {"cri-o/bin/crio": "usr/bin/crio", "cri-o/bin/pinns": "usr/bin/pinns"}),
    ]
    done = minion.settle("artefact.installed", artefacts=wanted, **rack.where)
    assert done["changes"] == {
        "kubeadm": {"old": "not installed", "new": "1.36.4"},
        "crio": {"old": "not installed", "new": "1.36.3"},
    }
    assert (rack.root / "bin/kubeadm").read_bytes() == b"#!kubeadm"
    assert (rack.root / "usr/bin/crio").read_bytes() == b"crio!"
    assert (rack.root / "usr/bin/pinns").stat().st_mode & 0o7777 == 0o755
    assert not (rack.root / "cri-o/README").exists()
    assert sorted(rack.mirror.asked) == ["/crio-1.36.3", "/kubeadm-1.36.4"]
    assert rack.left_over() == []


def test_another_version_replaces_the_old_one_and_its_other_files(minion: Minion, rack: Rack) -> None:
    old = rack.packed("helm", archive({"a": b"old", "b": b"gone"}), {"a": "bin/helm", "b": "bin/extra"}, "4.2.2")
    minion.apply("artefact.installed", artefacts=[old], **rack.where)
    new = rack.packed("helm", archive({"a": b"new"}), {"a": "bin/helm"}, "4.2.3")
    done = minion.settle("artefact.installed", artefacts=[new], **rack.where)
    assert done["changes"] == {"helm": {"old": f"4.2.2 installed (sha256 {old['sha256']})", "new": "4.2.3"}}
    assert (rack.root / "bin/helm").read_bytes() == b"new"
    assert not (rack.root / "bin/extra").exists()


def test_wrong_sum_installs_nothing_and_names_both(minion: Minion, rack: Rack) -> None:
    wanted = rack.binary("kubelet", b"right")
    rack.mirror.files["/kubelet-1.36.4"] = b"wrong"
    other = rack.binary("kubectl", b"fine")
    done = minion.apply("artefact.installed", artefacts=[wanted, other], **rack.where)
    assert done["result"] is False
    assert sha256(b"right") in done["comment"]
    assert sha256(b"wrong") in done["comment"]
    assert not (rack.root / "bin/kubelet").exists()
    assert list(done["changes"]) == ["kubectl"]
    assert rack.left_over() == []


def test_truncated_transfer_names_both_sizes(minion: Minion, rack: Rack) -> None:
    wanted = rack.binary("kubelet", b"x" * 5000)
    rack.mirror.cut.add("/kubelet-1.36.4")
    done = minion.apply("artefact.installed", artefacts=[wanted], **rack.where)
    assert done["result"] is False
    assert "2500 of 5000 bytes" in done["comment"]
    assert rack.left_over() == []
    rack.mirror.cut.clear()
    assert minion.apply("artefact.installed", artefacts=[wanted], **rack.where)["result"] is True


def test_missing_file_and_dead_mirror_say_where_to_look(minion: Minion, rack: Rack) -> None:
    missing = rack.binary("k9s", b"x")
    del rack.mirror.files["/k9s-1.36.4"]
    done = minion.apply("artefact.installed", artefacts=[missing], **rack.where)
    assert "HTTP 404" in done["comment"]
    assert f"curl -fI {missing['url']}" in done["comment"]
    dead = missing | {"url": "http://127.0.0.1:9/k9s"}
    done = minion.apply("artefact.installed", artefacts=[dead], **rack.where)
    assert "Connection refused" in done["comment"]
    local = missing | {"url": "file:///etc/passwd"}
    done = minion.apply("artefact.installed", artefacts=[local], **rack.where)
    assert "unknown url type: file" in done["comment"]


def test_swapped_binary_of_same_size_and_time_is_found_and_mended(minion: Minion, rack: Rack) -> None:
    wanted = rack.binary("kubelet", b"original")
    minion.apply("artefact.installed", artefacts=[wanted], **rack.where)
    path = rack.root / "bin/kubelet"
    before = path.stat()
    path.write_bytes(b"0riginal")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    done = minion.settle("artefact.installed", artefacts=[wanted], **rack.where)
    assert "is another file than the one installed" in done["changes"]["kubelet"]["old"]
    assert path.read_bytes() == b"original"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.chmod(0o777), "has mode 0777 instead of 0755"),
        (lambda path: path.write_bytes(b"longer than it was"), "has 18 bytes instead of 8"),
        (lambda path: os.chown(path, 12345, 0), "belongs to 12345:0"),
    ],
)
def test_damage_is_named_and_mended(minion: Minion, rack: Rack, damage: Any, words: str) -> None:
    wanted = rack.binary("kubelet", b"original")
    minion.apply("artefact.installed", artefacts=[wanted], **rack.where)
    damage(rack.root / "bin/kubelet")
    done = minion.settle("artefact.installed", artefacts=[wanted], **rack.where)
    assert words in done["changes"]["kubelet"]["old"]


def test_a_copied_file_is_hashed_once_and_then_known(minion: Minion, rack: Rack) -> None:
    """Another ctime with the same content (a copied root file system): nothing changes, the record is renewed."""
    wanted = rack.binary("kubelet", b"original")
    minion.apply("artefact.installed", artefacts=[wanted], **rack.where)
    path = rack.root / "bin/kubelet"
    path.touch()
    done = minion.apply("artefact.installed", artefacts=[wanted], **rack.where)
    assert (done["result"], done["changes"]) == (True, {})
    known = minion.call("artefact.record", "kubelet", rack.where["records"])["files"][str(path)]
    assert known["ctime_ns"] == path.stat().st_ctime_ns


def test_no_member_leads_outside_and_links_are_refused(minion: Minion, rack: Rack) -> None:
    evil = tarfile.TarInfo("bin/helm")
    evil.type, evil.linkname = tarfile.SYMTYPE, "/etc/passwd"
    wanted = rack.packed("helm", archive({"../../escape": b"x", "bin/helm": evil}), {"bin/helm": "bin/helm"})
    done = minion.apply("artefact.installed", artefacts=[wanted], **rack.where)
    assert done["result"] is False
    assert "is a link or a directory" in done["comment"]
    assert not list(rack.root.parent.rglob("escape"))
    assert not (rack.root / "bin/helm").exists()


def test_missing_member_installs_none_of_the_others(minion: Minion, rack: Rack) -> None:
    wanted = rack.packed("crio", archive({"crio": b"x"}), {"crio": "bin/crio", "crun": "bin/crun"})
    done = minion.apply("artefact.installed", artefacts=[wanted], **rack.where)
    assert "has no member crun" in done["comment"]
    assert "artefacts.crio.omit" in done["comment"]
    assert not (rack.root / "bin/crio").exists()
    assert rack.left_over() == []


def test_what_is_no_archive_is_named(minion: Minion, rack: Rack) -> None:
    wanted = rack.packed("crio", b"<html>not found</html>", {"crio": "bin/crio"})
    done = minion.apply("artefact.installed", artefacts=[wanted], **rack.where)
    assert "is no readable tar.gz" in done["comment"]


def test_full_disk_is_seen_before_anything_is_written(
    minion: Minion, rack: Rack, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1 << 20})
    monkeypatch.setattr("shutil.disk_usage", lambda _path: usage)
    wanted = [rack.binary("kubeadm", b"x" * 700_000), rack.binary("kubelet", b"y" * 700_000)]
    done = minion.apply("artefact.installed", artefacts=wanted, **rack.where)
    assert done["result"] is False
    assert "needs 0.7 MiB" in done["comment"]
    assert "0.3 MiB are free" in done["comment"]
    assert len(done["changes"]) == 1


def test_absent_removes_what_was_installed_and_no_more(minion: Minion, rack: Rack) -> None:
    wanted = rack.binary("kubeadm", b"x")
    minion.apply("artefact.installed", artefacts=[wanted], **rack.where)
    (rack.root / "bin/mine").write_text("stays")
    where = {"records": rack.where["records"]}
    done = minion.settle("artefact.absent", artefacts=["kubeadm", "never-there"], **where)
    assert done["changes"] == {"kubeadm": {"old": "1.36.4", "new": None}}
    assert [path.name for path in (rack.root / "bin").iterdir()] == ["mine"]


def test_damaged_record_says_what_to_do(minion: Minion, rack: Rack) -> None:
    wanted = rack.binary("kubeadm", b"x")
    minion.apply("artefact.installed", artefacts=[wanted], **rack.where)
    (rack.root / "records/kubeadm.json").write_text("{")
    done = minion.apply("artefact.installed", artefacts=[wanted], **rack.where)
    assert done["result"] is False
    assert "remove it and apply again" in done["comment"]
