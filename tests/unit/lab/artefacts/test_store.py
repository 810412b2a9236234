"""A recipe's directory is complete or absent, and made once."""

from pathlib import Path

import pytest

from lab.artefacts.store import Store, link, recipe_hash


def test_hash_is_of_the_contents_not_of_their_order() -> None:
    assert recipe_hash({"a": 1, "b": [2]}) == recipe_hash({"b": [2], "a": 1})
    assert recipe_hash({"a": 1, "b": [2]}) != recipe_hash({"a": 1, "b": [3]})


def test_made_once_and_again_only_for_another_recipe(tmp_path: Path) -> None:
    store, calls = Store(tmp_path), []

    def make(into: Path) -> None:
        calls.append(into)
        (into / "file").write_text(str(len(calls)))

    first = store.ensure({"version": "1"}, make)
    again = store.ensure({"version": "1"}, make)
    other = store.ensure({"version": "2"}, make)

    assert first == again != other
    assert (first / "file").read_text() == "1"
    assert (other / "file").read_text() == "2"


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def fail(into: Path) -> None:
        (into / "half").write_text("")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        store.ensure({"version": "1"}, fail)

    assert not store.holds({"version": "1"})
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_build_left_is_not_taken_for_a_result(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.path({"version": "1"}).mkdir()
    (store.path({"version": "1"}) / "half").write_text("")

    home = store.ensure({"version": "1"}, lambda into: None)

    assert [path.name for path in home.iterdir()] == ["recipe.json"]


def test_link_replaces_and_shares(tmp_path: Path) -> None:
    old, new, place = tmp_path / "old", tmp_path / "new", tmp_path / "deep" / "place"
    old.write_text("old")
    new.write_text("new")
    link(old, place)
    link(new, place)

    assert place.samefile(new)
    assert [path.name for path in place.parent.iterdir()] == ["place"]


def test_prune_keeps_what_was_asked_for(tmp_path: Path) -> None:
    Store(tmp_path).ensure({"version": "old"}, lambda into: None)
    store = Store(tmp_path)
    kept = store.ensure({"version": "new"}, lambda into: None)
    (tmp_path / "inventory.json").write_text("[]")

    assert store.prune() == [store.path({"version": "old"})]
    assert sorted(tmp_path.iterdir()) == sorted([kept, tmp_path / "inventory.json"])
