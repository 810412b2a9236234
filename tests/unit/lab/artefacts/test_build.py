"""Whole runs over a small definition: downloaded where the vendor's site gives it, built where not, made only once."""

import fcntl
import hashlib
import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from lab.artefacts import build, golang, images, inventory, overlay, prerequisites, recipes
from lab.artefacts.__main__ import table
from lab.artefacts.errors import ArtefactError, ChecksumError, PrerequisiteError
from lab.artefacts.inventory import Made
from lab.artefacts.progress import Progress
from tests.unit.lab.artefacts.conftest import Site

TOOL = b"the vendor's own kubeadm"
NOBODY = "http://127.0.0.1:1"


class Run:
    """One cache and its definition, filled as often as a test likes."""

    def __init__(self, directory: Path) -> None:
        self.cache = directory / "cache"
        self.versions_file = directory / "versions.sls"
        self.lines = ""

    def define(self, url: str, content: bytes | None) -> None:
        """Write versions.sls: kubeadm at `url` (with its sum if its content is given), and one that nobody builds."""
        sums = {} if content is None else {"amd64": hashlib.sha256(content).hexdigest()}
        artefact = {"version": "1.36.4", "url": f"{url}/v{{version}}/{{arch}}/kubeadm", "sha256": sums}
        other = {"version": "0.19.7", "url": f"{NOBODY}/cilium.tar.gz", "sha256": {"amd64": "0" * 64}}
        self.versions_file.write_text(yaml.safe_dump({"artefacts": {"kubeadm": artefact, "cilium-cli": other}}))

    def ensure(self, **options: bool) -> dict[str, Made]:
        """Fill the cache; return what it holds by name."""
        stream = io.StringIO()
        made = build.ensure(
            self.cache, arch="amd64", versions_file=self.versions_file, progress=Progress(stream=stream), **options
        )
        self.lines = stream.getvalue()
        return {line.name: line for line in made}

    def mirrored(self, site: str) -> Path:
        """Return where the mirror serves kubeadm."""
        return self.cache / "mirror" / site.removeprefix("http://") / "v1.36.4" / "amd64" / "kubeadm"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run whose recipes are quick: kubeadm is a C program, there is one image, and no package is downloaded."""
    monkeypatch.setattr(recipes, "FILES", {"kubeadm": recipes.Plain("pause")})
    monkeypatch.setattr(recipes, "IMAGES", (recipes.Image("127.0.0.1:1", "pause", "{pause}", {"pause": "pause"}),))
    monkeypatch.setattr(images.Images, "_check_tags", lambda self: None)  # its kubeadm is no kubeadm here
    repository = "lab.artefacts.mirror.debs.download_closure"
    monkeypatch.setattr(repository, lambda packages, into: (into / "a.deb").write_bytes(b"") and [])
    monkeypatch.setattr("lab.artefacts.mirror.debs.write_index", lambda into: (into / "Packages").write_text("index"))
    return Run(tmp_path)


def test_builds_what_no_site_gives(run: Run) -> None:
    run.define(NOBODY, TOOL)
    made = run.ensure()

    assert made["kubeadm"].origin == "built"
    served = run.mirrored(NOBODY).read_bytes()
    assert served[:4] == b"\x7fELF"
    assert made["kubeadm"].sha256 == hashlib.sha256(served).hexdigest()
    assert made["kubeadm"].size_bytes == len(served)
    assert (run.cache / "mirror" / "debian" / "Packages").read_text() == "index"
    assert not (run.cache / "mirror" / "debian" / "recipe.json").exists()
    assert (run.cache / "registry/docker/registry/v2/repositories/pause/_manifests/tags/3.10.2").is_dir()
    assert "cilium-cli: left out" in run.lines
    assert "downloading http" not in run.lines  # a site that does not answer is not asked again for each file


def test_a_second_run_at_the_same_time_waits_for_the_first(run: Run) -> None:
    run.define(NOBODY, TOOL)
    run.cache.mkdir()
    with (run.cache / ".artefacts.lock").open("w") as first, ThreadPoolExecutor(1) as pool:
        fcntl.flock(first, fcntl.LOCK_EX)
        waiting = threading.Event()
        second = pool.submit(build.ensure, run.cache, versions_file=run.versions_file, progress=_Announcing(waiting))
        assert waiting.wait(timeout=60)
        assert not run.mirrored(NOBODY).exists()
        fcntl.flock(first, fcntl.LOCK_UN)
        assert len(second.result(timeout=60)) == 3


class _Announcing(Progress):
    """Tells, by an event, that a run waits for another one."""

    def __init__(self, waiting: threading.Event) -> None:
        super().__init__(stream=io.StringIO())
        self._waiting = waiting

    def say(self, text: str) -> None:
        super().say(text)
        if "waiting for it to end" in text:
            self._waiting.set()


def test_downloads_what_the_site_gives(run: Run, site: Site) -> None:
    site.put("v1.36.4/amd64/kubeadm", TOOL)
    run.define(site.url, TOOL)
    made = run.ensure()

    assert made["kubeadm"].origin == "downloaded"
    assert run.mirrored(site.url).read_bytes() == TOOL


def test_a_wrong_checksum_stops_the_run_and_serves_nothing(run: Run, site: Site) -> None:
    site.put("v1.36.4/amd64/kubeadm", b"something else")
    run.define(site.url, TOOL)

    with pytest.raises(ChecksumError):
        run.ensure()
    assert not run.mirrored(site.url).exists()


def test_builds_when_the_download_breaks_off(run: Run, site: Site) -> None:
    site.put("v1.36.4/amd64/kubeadm", TOOL)
    site.cut_bytes = 3
    run.define(site.url, TOOL)
    made = run.ensure()

    assert made["kubeadm"].origin == "built"
    assert run.lines.count("[2/4] kubeadm: ") == 3  # tried, then built: counted once


def test_a_file_without_a_pinned_sum_is_not_trusted(run: Run, site: Site) -> None:
    site.put("v1.36.4/amd64/kubeadm", TOOL)
    run.define(site.url, None)

    assert run.ensure()["kubeadm"].origin == "built"


def test_the_second_run_makes_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.define(NOBODY, TOOL)
    first = run.ensure()
    served = run.mirrored(NOBODY).stat()
    monkeypatch.setenv("PATH", "")  # whatever it would run, it would not find
    second = run.ensure()

    assert [line.fresh for line in first.values()] == [True, True, True]
    assert [line.fresh for line in second.values()] == [False, False, False]
    assert run.mirrored(NOBODY).stat() == served
    assert "building" not in run.lines


def test_a_file_missing_from_the_mirror_comes_back(run: Run) -> None:
    run.define(NOBODY, TOOL)
    run.ensure()
    before = run.mirrored(NOBODY).read_bytes()
    run.mirrored(NOBODY).unlink()
    run.ensure()

    assert run.mirrored(NOBODY).read_bytes() == before


def test_go_caches_go_when_the_build_is_complete_unless_kept(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SALTERN_KEEP_GO_CACHE", raising=False)
    run.define(NOBODY, TOOL)
    (run.cache / "go" / "mod").mkdir(parents=True)
    run.ensure(keep_go_cache=True)
    assert (run.cache / "go" / "mod").is_dir()
    (run.cache / "go" / "keep").touch()
    run.ensure()
    assert (run.cache / "go" / "mod").is_dir()
    (run.cache / "go" / "keep").unlink()
    run.ensure()
    assert not (run.cache / "go").exists()


def test_a_blob_missing_from_the_registry_comes_back(run: Run) -> None:
    run.define(NOBODY, TOOL)
    run.ensure()
    blobs = sorted((run.cache / "registry").glob("docker/registry/v2/blobs/sha256/*/*/data"))
    for blob in blobs:
        blob.unlink()
    run.ensure()

    assert len(blobs) == 3
    assert all(blob.is_file() for blob in blobs)


def test_prune_removes_what_older_recipes_left(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.define(NOBODY, TOOL)
    run.ensure()
    older = {path.name for path in (run.cache / "images").iterdir()}
    image = recipes.Image("127.0.0.1:1", "pause", "{pause}", {"pause": "pause"}, ("/pause",))
    monkeypatch.setattr(recipes, "IMAGES", (image,))
    run.ensure(prune=True)

    newer = {path.name for path in (run.cache / "images").iterdir()}
    assert len(newer) == 1
    assert not newer & older
    assert run.mirrored(NOBODY).exists()
    made = run.ensure()
    assert [line.fresh for line in made.values()] == [False, False, False]


def test_what_is_missing_for_a_build_is_named_all_at_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.define(NOBODY, TOOL)
    monkeypatch.setattr(prerequisites, "BUILD_TOOLS", {"gcc-of-nobody": "gcc", "zstd-of-nobody": "zstd"})
    monkeypatch.setattr(golang, "MINIMUM", (99, 0))
    monkeypatch.setattr(prerequisites, "DISK_FOR_BUILD_GIB", 1 << 30)

    with pytest.raises(PrerequisiteError) as refusal:
        run.ensure()

    text = str(refusal.value)
    assert "components need 99.0" in text
    assert "gcc-of-nobody: not found; apt-get install gcc" in text
    assert "zstd-of-nobody: not found; apt-get install zstd" in text
    assert f"{1 << 30} GiB needed" in text
    assert not run.mirrored(NOBODY).exists()


def test_a_build_that_goes_on_needs_room_for_the_rest_only(tmp_path: Path) -> None:
    (tmp_path / "mod/cache").mkdir(parents=True)
    (tmp_path / "mod/cache/module.zip").write_bytes(b"x" * (5 << 20))
    (tmp_path / "mod/link").symlink_to("cache/module.zip")
    held_gib = prerequisites.held_by_build_gib(tmp_path)
    assert held_gib == pytest.approx(5 / 1024, rel=0.01)
    assert prerequisites.held_by_build_gib(tmp_path / "nothing") == 0
    assert prerequisites.disk_for_build_gib(19.0) == 5
    assert prerequisites.disk_for_build_gib(30.0) == prerequisites.DISK_FOR_DOWNLOAD_GIB


def test_overlay_names_the_sums_of_what_is_served(run: Run) -> None:
    run.define(NOBODY, TOOL)
    run.ensure()

    served = hashlib.sha256(run.mirrored(NOBODY).read_bytes()).hexdigest()
    expected = {"artefacts": {"kubeadm": {"sha256": {build.machine_arch(): served}}}}
    assert overlay.versions(run.cache, run.versions_file) == expected
    assert overlay.disabled(run.cache, run.versions_file) == ["cilium-cli"]


def test_overlay_says_nothing_of_what_was_downloaded(run: Run, site: Site) -> None:
    site.put("v1.36.4/amd64/kubeadm", TOOL)
    run.define(site.url, TOOL)
    run.ensure()

    assert overlay.versions(run.cache, run.versions_file) == {"artefacts": {}}


def test_overlay_of_bundle_and_charts(tmp_path: Path) -> None:
    (tmp_path / "artefacts").mkdir()
    lines = [Made(name, "1", 1, "ab", "built", "x") for name in ("crio", "cilium-chart")]
    inventory.write(tmp_path, [*lines, Made("quay.io/x", "1", 1, "cd", "built", "x")])

    assert overlay.versions(tmp_path)["artefacts"] == {
        "crio": {"sha256": {build.machine_arch(): "ab"}, "omit": ["crun", "conmonrs"]},
        "cilium-chart": {"sha256": {"any": "ab"}},
    }


def test_overlay_without_a_complete_run_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"inventory.json is missing: .*type `make build`"):
        overlay.versions(tmp_path)


def test_images_that_only_kubeadm_knows_are_found() -> None:
    listed = ["r/kube-proxy:v1", "r/etcd:3.6.8-0", "r/pause:3.11"]

    assert images.missing_images(listed, ["r/etcd:3.6.8-0", "r/pause:3.10.2", "r/more:1"]) == ["r/pause:3.11"]


def test_table_has_a_line_for_each_and_says_where_it_came_from() -> None:
    made = [
        Made("kubeadm", "1.36.4", 5 << 20, "aa", "built", "x", fresh=True),
        Made("quay.io/cilium/cilium", "v1.20.1", 1 << 19, "sha256:bb", "downloaded", "y"),
    ]

    assert [line.split() for line in table(made).splitlines()] == [
        ["name", "version", "MiB", "sha256"],
        ["kubeadm", "1.36.4", "5.0", "aa", "built"],
        ["quay.io/cilium/cilium", "v1.20.1", "0.5", "bb", "cached"],
    ]


def test_recipe_of_each_result_can_be_read_back(run: Run) -> None:
    run.define(NOBODY, TOOL)
    run.ensure()

    kinds = {json.loads(path.read_text())["kind"] for path in run.cache.glob("*/*/recipe.json")}
    assert kinds == {"plain", "c program", "flat apt repository", "image"}
