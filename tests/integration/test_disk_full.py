"""A store whose disk is full: the query waits, nothing is lost, and it goes on by itself when there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from infra.process import free_port
from infra.sections import HotSettings
from infra.stack.postgres import Postgres
from jobs.runtime import lake as tables
from schemas.packets import FLOWS
from tests.integration.sinkbench import Bench, run, running, until
from tests.sinksdata import START

pytestmark = [pytest.mark.integration, pytest.mark.spark]


class Disk:
    """A file system of a few MB; ``path`` is a folder in it that everybody may write."""

    def __init__(self, root: Path) -> None:
        self._filler = root / "filler"
        self.path = root / "data"
        self.path.mkdir()

    def fill(self) -> None:
        """Leave no room."""
        with self._filler.open("wb") as out, suppress(OSError):
            while True:
                out.write(bytes(1 << 16))
                out.flush()

    def free(self) -> None:
        """Make room again."""
        self._filler.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    root = tmp_path / "small"
    root.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(root)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        yield Disk(root)
    finally:
        subprocess.run(["umount", "-l", str(root)], check=False)


def test_hot_store_waits_for_room(spark: Any, bench: Bench, tmp_path: Path, disk: Disk, capfd: pytest.CaptureFixture[str]) -> None:
    server = Postgres(tmp_path / "own", free_port())
    server.start()
    try:
        server.create_database("flowlake")
        owner = (tmp_path / "own").stat()
        data = next(path for path in (tmp_path / "own").iterdir() if path.is_dir() and (path / "PG_VERSION").is_file())
        os.chown(disk.path, data.stat().st_uid, owner.st_gid)
        own = bench.settings.model_copy(update={"hot": HotSettings(**{**server.settings().model_dump(), "trigger_ms": 0})})
        with running(START["hot"], spark, own) as query:
            bench.rows([{"name": f"a{i}"} for i in range(100)])
            query.processAllAvailable()
            admin = psycopg2.connect(host=own.hot.host, port=own.hot.port, dbname="flowlake", user=own.hot.user)
            admin.autocommit = True  # a tablespace is not made inside a transaction
            with closing(admin), admin.cursor() as cursor:
                cursor.execute(f"CREATE TABLESPACE small LOCATION '{disk.path}'")
                cursor.execute("SELECT DISTINCT tableoid::regclass::text FROM network_flows")
                for (partition,) in cursor.fetchall():  # the table itself holds no rows
                    cursor.execute(f"ALTER TABLE {partition} SET TABLESPACE small")
            disk.fill()
            bench.rows([{"name": f"b{i}"} for i in range(2000)])
            until(lambda: "No space left" in "".join(capfd.readouterr()))
            assert query.isActive
            assert run(own.hot, "SELECT count(*) FROM network_flows") == [(100,)]
            disk.free()
            query.processAllAvailable()
        assert run(own.hot, "SELECT count(*), count(DISTINCT flow_id) FROM network_flows") == [(2100, 2100)]
    finally:
        server.stop()


def test_lake_waits_for_room(spark: Any, bench: Bench, disk: Disk, capfd: pytest.CaptureFixture[str]) -> None:
    own = bench.settings.model_copy(update={"lake": bench.settings.lake.model_copy(update={"path": str(disk.path / "flows")})})
    with running(START["lake"], spark, own) as query:
        bench.rows([{"name": f"a{i}"} for i in range(100)])
        query.processAllAvailable()
        disk.fill()
        bench.rows([{"name": f"b{i}"} for i in range(2000)])
        until(lambda: "No space left" in "".join(capfd.readouterr()))
        assert query.isActive
        disk.free()
        query.processAllAvailable()
    found = spark.read.format("delta").load(tables.location(own, FLOWS)).select("flow_id").collect()
    assert len(found) == len({row.flow_id for row in found}) == 2100
