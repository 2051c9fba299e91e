"""Every question of the cookbook gives its known answer, on the engines that need nothing but what is here already."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from infra import config
from infra.config import Settings
from infra.sections import PostgresSettings
from jobs.asking.engine import Engine
from jobs.sinks import postgres
from tests import cookbook, cookbookdata
from tests.cookbook import Recipe
from tests.integration.hotstore import STORES, empty_database, server_of

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def data() -> cookbookdata.Data:
    return cookbookdata.Data()


@pytest.fixture(scope="module", params=STORES)
def filled(request: pytest.FixtureRequest, data: cookbookdata.Data) -> Iterator[PostgresSettings]:
    """A database with the data, of this module alone."""
    server = server_of(request.param, request)
    with empty_database(server) as name:
        made = PostgresSettings(database=name, **server)
        cookbookdata.into_postgres(data, made)
        yield made


@pytest.fixture(scope="module")
def client(filled: PostgresSettings) -> Iterator[Any]:
    with closing(postgres.connect(filled, "test")) as connection:
        connection.autocommit = True
        yield connection


@pytest.mark.parametrize("block", cookbook.blocks("postgresql"), ids=lambda block: block.id)
def test_postgresql(block: Recipe, client: Any, data: cookbookdata.Data) -> None:
    with client.cursor() as cursor:
        cursor.execute(block.sql)
        cookbook.check(block, cursor.fetchall(), data)


@pytest.fixture(scope="module")
def stores(filled: PostgresSettings, data: cookbookdata.Data, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of a hot store, a lake and an archive that hold the data."""
    folder = tmp_path_factory.mktemp("stores")
    place = {name: getattr(filled, name) for name in ("host", "port", "database", "user", "password")}
    made = config.build(
        hot=place, alerts=place, lake={"path": str(folder / "lake" / "flows")}, archive={"path": str(folder / "lake" / "archive")}
    )
    cookbookdata.into_lake(data, made)
    cookbookdata.into_archive(data, made)
    return made


@pytest.mark.parametrize("block", cookbook.blocks("duckdb"), ids=lambda block: block.id)
def test_duckdb(block: Recipe, stores: Settings, data: cookbookdata.Data) -> None:
    with Engine(stores) as engine:
        rows = engine.ask(block.sql).read_all().to_pylist()
    cookbook.check(block, [tuple(row.values()) for row in rows], data)
