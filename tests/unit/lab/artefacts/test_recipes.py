"""The recipes are complete, agree with pillar/versions.sls, and give the go.mod files that build."""

import re

import pytest

from lab.artefacts import build, bundle, golang, recipes
from lab.artefacts.store import recipe_hash

VERSIONS = {**recipes.component_versions(build.load_versions()), "arch": "amd64"}
# Versions for recipes of components that versions.sls may, but need not, name.
ALL_VERSIONS = {"dasel": "2.8.1", "k9s": "0.51.0", **VERSIONS}


def test_every_artefact_of_the_definition_has_a_recipe_or_a_reason() -> None:
    known = set(recipes.FILES) | set(recipes.UNAVAILABLE)
    assert set(build.load_versions()["artefacts"]) <= known
    assert not set(recipes.FILES) & set(recipes.UNAVAILABLE)


def test_versions_come_from_the_definition() -> None:
    definition = {"artefacts": {"kubeadm": {"version": "1.35.8"}, "crictl": {"version": "1.35.1"}}}
    versions = recipes.component_versions(definition)

    assert versions["kubernetes"] == "1.35.8"
    assert versions["kubernetes-staging"] == "0.35.8"
    assert versions["kubernetes-minor"] == "35"
    assert versions["cri-tools"] == "1.35.1"
    assert versions["etcdctl"] == versions["etcd"] == recipes.PINS["etcd"]


def test_every_binary_that_is_packed_can_be_made() -> None:
    packed = {name for image in recipes.IMAGES for name in image.binaries.values()}
    for recipe in recipes.FILES.values():
        match recipe:
            case recipes.Plain(binary):
                packed.add(binary)
            case recipes.Packed(members):
                packed |= set(members.values())
            case recipes.Bundle():
                packed |= {*bundle.PROGRAMS, *recipes.CNI_PLUGINS}
    makable = {*recipes.GO_BINARIES, *recipes.BUNDLE_PACKAGES, "pause", "pinns"}
    assert packed <= makable
    assert {binary.module for binary in recipes.GO_BINARIES.values()} == set(recipes.GO_MODULES)


@pytest.mark.parametrize("name", sorted(recipes.GO_BINARIES))
def test_go_recipes_have_no_placeholder_left(name: str) -> None:
    binary = recipes.GO_BINARIES[name]
    recipe = golang.recipe(name, binary, recipes.GO_MODULES[binary.module], ALL_VERSIONS, "amd64")

    assert not re.search(r"[{}]", str(recipe["go.mod"]) + str(recipe["ldflags"]))
    assert binary.package.startswith(next(iter(recipes.GO_MODULES[binary.module].requires)).rstrip("0123456789v/"))


def test_go_mod_of_kubernetes_replaces_every_staging_module() -> None:
    text = golang.go_mod(recipes.GO_MODULES["kubernetes"], VERSIONS)
    patch = VERSIONS["kubernetes"]

    assert f"\nk8s.io/kubernetes v{patch}\n" in text
    assert f"\nk8s.io/client-go => k8s.io/client-go v0.{patch[2:]}\n" in text
    assert text.count(" => ") == len(recipes.KUBERNETES_STAGING)


def test_a_changed_flag_makes_another_binary() -> None:
    module = recipes.GO_MODULES["crio"]
    crio = recipes.GO_BINARIES["crio"]
    plain = recipes.GoBinary(crio.module, crio.package, cgo=True)

    assert recipe_hash(golang.recipe("crio", crio, module, VERSIONS, "amd64")) != recipe_hash(
        golang.recipe("crio", plain, module, VERSIONS, "amd64")
    )


def test_bundle_has_upstreams_layout_but_for_what_is_declared_left_out() -> None:
    upstream = {f"cri-o/bin/{name}" for name in ("crio", "pinns", "crictl", "conmon", "conmonrs", "crun", "runc")}
    ours = {f"cri-o/bin/{name}" for name in bundle.PROGRAMS}

    assert upstream - ours == {f"cri-o/bin/{name}" for name in recipes.BUNDLE_OMITS}
    assert ours <= upstream
