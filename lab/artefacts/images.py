"""The images: OCI layouts in $SALTERN_CACHE/images, published in the registry's storage in $SALTERN_CACHE/registry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lab.artefacts import cilium_base, command, oci, recipes, upstream
from lab.artefacts.errors import ArtefactError, UnreachableError
from lab.artefacts.inventory import Made
from lab.artefacts.programs import Programs
from lab.artefacts.store import Recipe
from lab.artefacts.tarballs import Entry, tree
from lab.artefacts.workshop import Workshop

# Every image has these; Kubernetes mounts over some, and programs look their user up in passwd.
MINIMAL_ROOT: tuple[Entry, ...] = (
    *(Entry(name) for name in ("dev", "etc", "proc", "run", "sys", "usr", "var")),
    Entry("tmp", 0o1777),
    Entry("etc/passwd", 0o644, content=cilium_base.PASSWD),
    Entry("etc/group", 0o644, content=cilium_base.GROUP),
)


class Images:
    """Makes images and publishes them under the names that kubeadm and the charts use, without the registry's host."""

    def __init__(self, workshop: Workshop, programs: Programs) -> None:
        self.workshop = workshop
        self.programs = programs
        self._tags_checked = False

    def image(self, image: recipes.Image) -> Made:
        """Make one image available in the registry.

        Raises:
            ArtefactError: it can be neither copied nor built, or kubeadm wants another tag.
        """
        tag = self.workshop.filled(image.tag)
        layout, origin, fresh = self._layout(image, tag)
        oci.publish(layout, self.workshop.cache_dir / "registry", image.repository, tag)
        digest, where = oci.manifest_digest(layout), self.workshop.relative(layout)
        name = f"{image.registry}/{image.repository}"
        return Made(name, tag, oci.size_bytes(layout), digest, origin, where, fresh)

    def _layout(self, image: recipes.Image, tag: str) -> tuple[Path, str, bool]:
        name = f"{image.registry}/{image.repository}:{tag}"
        recipe = self.recipe(image)
        copied: Recipe = {"kind": "copied image", "name": name, "arch": self.workshop.arch}
        for kept, origin in ((recipe, "built"), (copied, "downloaded")):
            if self.workshop.layouts.holds(kept):
                self.workshop.progress.skip()
                return self.workshop.layouts.path(kept), origin, False
        if self.workshop.answers(image.site) and self._copy(image, tag, name, copied):
            return self.workshop.layouts.path(copied), "downloaded", True
        self._check_tags()
        with self.workshop.progress.component(name, "building"):
            return self.workshop.layouts.ensure(recipe, lambda into: self._make(image, into)), "built", True

    def _copy(self, image: recipes.Image, tag: str, name: str, recipe: Recipe) -> bool:
        """Copy from the vendor's registry; tell whether it came (what does not come is built)."""
        source = f"{image.registry}/{image.repository}:{tag}"
        try:
            with self.workshop.progress.component(name, "copying"):
                self.workshop.layouts.ensure(
                    recipe, lambda into: upstream.copy_image(source, self.workshop.arch, into, image.site)
                )
        except UnreachableError as err:
            self.workshop.progress.retry(f"{name}: {err}; building it instead")
            return False
        return True

    def _check_tags(self) -> None:
        """Compare the tags of PINS with those that kubeadm will ask the registry for; once a run."""
        if self._tags_checked:
            return
        kubeadm, release = self.programs.file("kubeadm"), f"v{self.workshop.versions['kubernetes']}"
        listed = command.run([kubeadm, "config", "images", "list", "--kubernetes-version", release]).split()
        if missing := missing_images(listed, self._names()):
            raise ArtefactError(
                f"kubeadm {release} needs {', '.join(missing)}, which lab/artefacts/recipes.py does not make: "
                "correct its PINS"
            )
        self._tags_checked = True

    def _names(self) -> list[str]:
        filled = self.workshop.filled
        return [f"{image.registry}/{image.repository}:{filled(image.tag)}" for image in recipes.IMAGES]

    def recipe(self, image: recipes.Image) -> Recipe:
        """Return what decides a built image; the programs in it by the hashes of their own recipes."""
        filled = self.workshop.filled
        return {
            "kind": "image",
            "binaries": self.programs.hashes(image.binaries),
            "entrypoint": list(image.entrypoint),
            "user": image.user,
            "env": dict(image.env),
            "base": self.workshop.store.path(cilium_base.recipe(self.workshop.arch)).name if image.base else None,
            "sources": [[filled(module), path, into] for module, path, into in image.sources],
            "root": [] if image.base else [[entry.path, entry.mode] for entry in MINIMAL_ROOT],
            "layer": [oci.LAYER_TYPE, *oci.ZSTD],
            **({"low_ports": True} if image.low_ports else {}),
        }

    def _make(self, image: recipes.Image, into: Path) -> None:
        layers: list[Sequence[Entry]] = []
        if image.base:
            base = self.workshop.store.ensure(cilium_base.recipe(self.workshop.arch), cilium_base.make)
            layers.append(cilium_base.entries(base))
        layers.append(self._entries(image))
        oci.write_layout(into, layers, oci.ImageConfig(image.entrypoint, image.user, image.env), self.workshop.arch)

    def _entries(self, image: recipes.Image) -> list[Entry]:
        programs = [(path, self.programs.file(binary)) for path, binary in image.binaries.items()]
        entries = [Entry(path, source=file, low_ports=image.low_ports) for path, file in programs]
        if not image.base:
            entries += MINIMAL_ROOT
        for module, path, into in image.sources:
            entries += _source_entries(self.workshop.go.sources(self.workshop.filled(module)) / path, into)
        return sorted(entries, key=lambda entry: entry.path)


def missing_images(wanted: Sequence[str], made: Sequence[str]) -> list[str]:
    """Return the images that kubeadm lists and the lab does not make; kube-proxy aside, Cilium takes its place."""
    return sorted(name for name in set(wanted) - set(made) if "/kube-proxy:" not in name)


def _source_entries(source: Path, into: str) -> list[Entry]:
    if source.is_dir():
        return [Entry(into), *tree(source, f"{into}/")]
    return [Entry(into, 0o755, source=source)]
