"""Folders of lake and archive: none in another."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from infra.config import Settings
from infra.errors import ConfigError
from jobs.archiving import place
from jobs.asking.tables import tables
from jobs.runtime import lake


@pytest.mark.parametrize(
    ("lake_path", "archive_path"),
    [
        ("/data/flows", "/data/flows"),
        ("/data/flows", "/data/flows/archive"),
        ("/data/archive/network_flows/flows", "/data/archive"),
        ("/data/archive/network_flows", "/data/archive"),
        ("s3a://bucket", "s3://bucket/archive"),
        ("/data/flows", "/data/labels"),
        ("/data/flows", "/data/quarantine/archive"),
    ],
)
def test_the_archive_lies_in_no_lake_table_nor_one_in_it(settings: Callable[..., Settings], lake_path: str, archive_path: str) -> None:
    made = settings(lake={"path": lake_path}, archive={"path": archive_path})
    for ask in (lake.check, lambda s: place.of(s, "network_flows")):
        with pytest.raises(ConfigError, match="lie in each other"):
            ask(made)


def test_the_archive_lies_beside_the_lake(settings: Callable[..., Settings]) -> None:
    for lake_path, archive_path in (("/data/flows", "/data"), ("/data/flows", "/data/flows2"), ("s3a://b/flows", "s3a://b/archive")):
        lake.check(settings(lake={"path": lake_path}, archive={"path": archive_path}))


def test_a_lake_that_is_a_whole_bucket_can_be_asked(settings: Callable[..., Settings]) -> None:
    names = {table.qualified for table in tables(settings(lake={"path": "s3a://bucket"}))}
    assert "lake.flowlake.flows" in names
    assert "lake.flowlake.labels" not in names
