"""Checkpoints carry a schema version and the values frozen into them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.config import Settings
from infra.errors import CheckpointError
from jobs.runtime import checkpoints

Factory = Callable[..., Settings]


def begin(where: str) -> None:
    """What Spark does first in a new checkpoint."""
    Path(where).mkdir(parents=True)
    (Path(where) / "metadata").write_text("{}")


def test_path_names_query_and_version(settings: Factory, home: Path) -> None:
    assert checkpoints.path(settings(), "meter", 3) == str(home / "var" / "checkpoints" / "meter-v3")


def test_another_version_is_refused_naming_both_and_the_way_out(settings: Factory) -> None:
    begin(checkpoints.path(settings(), "meter", 1))
    with pytest.raises(CheckpointError, match=r"query meter .* schema version 1, this program writes version 2") as caught:
        checkpoints.path(settings(), "meter", 2)
    assert "--reset-checkpoint" in caught.value.hint
    assert "paths.checkpoints" in caught.value.hint


def test_another_query_and_an_empty_folder_are_no_obstacle(settings: Factory) -> None:
    begin(checkpoints.path(settings(), "meter", 1))
    Path(checkpoints.path(settings(), "lake", 1)).mkdir()
    assert checkpoints.path(settings(), "lake", 2).endswith("lake-v2")
    assert checkpoints.path(settings(), "meter_x", 2).endswith("meter_x-v2")


def test_current_version_beside_an_old_one_goes_on(settings: Factory) -> None:
    begin(checkpoints.path(settings(), "meter", 1))
    begin(str(Path(checkpoints.path(settings(), "meter", 1)).with_name("meter-v2")))
    assert checkpoints.path(settings(), "meter", 2).endswith("meter-v2")
    assert checkpoints.versions(settings(), "meter") == {1, 2}


def test_id_is_born_with_the_checkpoint(settings: Factory) -> None:
    first = checkpoints.open(settings(), "meter", 1)
    begin(first.path)
    assert checkpoints.open(settings(), "meter", 1).id == first.id
    checkpoints.reset(settings(), "meter")
    assert checkpoints.open(settings(), "meter", 1).id != first.id


def test_changed_frozen_value_is_refused(settings: Factory) -> None:
    begin(checkpoints.open(settings(), "meter", 1, {"buckets": 8}).path)
    assert checkpoints.open(settings(), "meter", 1, {"buckets": 8}).frozen["buckets"] == 8
    with pytest.raises(CheckpointError, match=r"buckets of query meter is 16, but checkpoint .*meter-v1 was made with 8"):
        checkpoints.open(settings(), "meter", 1, {"buckets": 16})


def test_shuffle_partitions_of_the_checkpoint_hold(settings: Factory) -> None:
    begin(checkpoints.path(settings(spark={"shuffle_partitions": 2}), "meter", 1))
    assert checkpoints.open(settings(spark={"shuffle_partitions": 5}), "meter", 1).frozen["shuffle_partitions"] == 2


def test_a_cut_note_is_written_anew(settings: Factory) -> None:
    place = checkpoints.open(settings(), "meter", 1)
    begin(place.path)
    Path(f"{place.path}.json").write_text('{"id": "ab')
    assert checkpoints.open(settings(), "meter", 1).id == checkpoints.open(settings(), "meter", 1).id


def test_a_note_keeps_what_was_added_until_its_checkpoint_is_another(settings: Factory) -> None:
    place = checkpoints.open(settings(), "meter", 1, {"buckets": 8})
    begin(place.path)
    place.annotate(input={"ids": {"raw": "one"}})
    place.annotate(other=2)
    again = checkpoints.open(settings(), "meter", 1, {"buckets": 8})
    assert (again.id, again.frozen) == (place.id, place.frozen)
    assert again.note() == {"id": place.id, "frozen": dict(place.frozen), "input": {"ids": {"raw": "one"}}, "other": 2}
    assert [found.path for found in checkpoints.existing(settings(), "meter")] == [place.path]
    shutil.rmtree(place.path)  # by hand, the note left behind
    anew = checkpoints.open(settings(), "meter", 1, {"buckets": 8})
    assert anew.id != place.id
    assert anew.note() == {"id": anew.id, "frozen": dict(anew.frozen)}
    assert checkpoints.existing(settings(), "meter") == []


def test_reset_removes_every_version_of_this_query_only(settings: Factory) -> None:
    for query in ("meter", "lake"):
        begin(checkpoints.path(settings(), query, 1))
    gone = checkpoints.reset(settings(), "meter")
    assert [Path(p).name for p in gone] == ["meter-v1"]
    assert checkpoints.versions(settings(), "meter") == set()
    assert checkpoints.versions(settings(), "lake") == {1}
    assert checkpoints.path(settings(), "meter", 2).endswith("meter-v2")


def test_folder_that_cannot_be_one_is_one_line(settings: Factory, home: Path) -> None:
    (home / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"checkpoint folder .*file/below \(paths.checkpoints\): Not a directory"):
        checkpoints.path(settings(paths={"checkpoints": "file/below"}), "meter", 1)


@pytest.mark.parametrize("name", ["", "Meter", "a-b", "a/b", "../x"])
def test_names_that_would_not_be_found_again_are_refused(settings: Factory, name: str) -> None:
    with pytest.raises(ValueError, match="query name"):
        checkpoints.path(settings(), name, 1)
