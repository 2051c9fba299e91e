"""A real Trino over real stores: Delta and the archive on S3, PostgreSQL; one for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from infra import config
from infra.process import free_port
from infra.sections import PostgresSettings
from infra.stack.s3 import ObjectStore
from jobs.engines import trino
from ops.cli.trino import local
from tests import cookbookdata
from tests.enginesdata import Engines, fetched, readings

BUCKET = "engines"


@pytest.fixture(scope="session")
def engines(postgres_server: PostgresSettings, s3_server: ObjectStore, _own_home: Path) -> Iterator[Engines]:
    fetched()
    database = _database(postgres_server, "engines")
    s3_server.create_bucket(BUCKET)
    settings = config.build(
        sources={"packages": ["jobs.sources", "tests.toy_source"]},
        lake=s3_server.lake(BUCKET, "lake/flows"),
        archive={"path": f"s3a://{BUCKET}/lake/archive"},
        hot=database,
        alerts=database,
        trino={"url": f"http://127.0.0.1:{free_port()}"},
    )
    data = cookbookdata.Data()
    cookbookdata.into_postgres(data, settings.hot)
    cookbookdata.into_lake(data, settings)
    cookbookdata.into_archive(data, settings)
    readings.into_lake(settings)
    readings.into_archive(settings)
    server = local(settings, _own_home / "trino")
    try:
        server.start()
        yield Engines(settings, server, data, trino.register(settings, lambda table: None))
    finally:
        server.stop(timeout_s=1)  # what it holds goes away with the folder


def _database(server: PostgresSettings, name: str) -> dict[str, Any]:
    place = {"host": server.host, "port": server.port, "user": server.user}
    with closing(psycopg2.connect(**place, password=server.password.get_secret_value(), dbname="postgres")) as connection:
        connection.autocommit = True
        connection.cursor().execute(f"CREATE DATABASE {name}")
    return {**place, "password": server.password, "database": name}
