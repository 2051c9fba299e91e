"""One table, three readers: Spark, deltalake and DuckDB have the same rows, now and as they were, in a folder and behind TLS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from deltalake import DeltaTable

from infra.config import ROOT, Settings
from infra.sections import LakeSettings
from jobs.runtime import lake as tables
from jobs.runtime import s3
from tests.integration.test_lake_s3 import configure
from tests.integration.test_lake_stores import Owned, started
from tests.objectstores import certificates

pytestmark = pytest.mark.integration
Factory = Callable[..., Settings]

#: Columns of every kind that a record has.
COLUMNS = ["flow_id", "src_ip", "dst_port", "start_time", "closed", "total_fwd_packets", "confidence_score", "attack_type", "event_date"]
SQL = f"SELECT {', '.join(COLUMNS)} FROM rows ORDER BY flow_id"
#: What a program of Spark's says of each table and each way to name a version.
READER = f"""
import json, sys
from infra import config
from jobs.runtime import session

spark = session.build(config.load(), "reader")
told = []
for path, options in json.loads(sys.argv[1]):
    rows = spark.read.format("delta").options(**options).load(path).select({COLUMNS!r}).orderBy("flow_id").collect()
    told.append([[str(value) for value in row] for row in rows])
print("ROWS " + json.dumps(told))
spark.stop()
"""


def plain(rows: list[tuple[Any, ...]]) -> list[list[str]]:
    """As Spark's rows are told: times without their zone, which is UTC."""
    return [[str(v.astimezone(UTC).replace(tzinfo=None) if isinstance(v, datetime) else v) for v in row] for row in rows]


def by_deltalake(place: LakeSettings, version: Any) -> list[list[str]]:
    table = DeltaTable(s3.uri(place.path), storage_options=s3.storage_options(place))
    if version is not None:
        table.load_as_version(version)
    rows = tables.dataset(place.path, place, version=table.version()).to_table(columns=COLUMNS).sort_by("flow_id")
    return plain([tuple(row.values()) for row in rows.to_pylist()])


def by_duckdb(place: LakeSettings, version: Any) -> list[list[str]]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("rows", tables.dataset(place.path, place, version=version))
        return plain(connection.execute(SQL).fetchall())


def filled(place: LakeSettings) -> datetime:
    """Three batches and a compaction; a time between the first and the second."""
    owned = Owned(place)
    owned.add(1)
    between = datetime.now(UTC)
    while (datetime.now(UTC) - between).total_seconds() < 1.2:  # times of objects are whole seconds
        time.sleep(0.1)
    owned.add(2)
    owned.add(3)
    owned.upkeep.compact(60)
    owned.log.checkpoint()
    return between.replace(microsecond=0) if place.path.startswith("/") else between


@pytest.mark.spark
@pytest.mark.timeout(300)
def test_the_same_rows(settings: Factory, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    authority = certificates(tmp_path / "tls")
    with started("seaweedfs", tmp_path / "server", tmp_path / "tls") as server:
        bucket = LakeSettings(**server.lake("alike"), s3_ca=str(authority))
        s3.client(bucket).create_bucket(Bucket="alike")
        places = [LakeSettings(path=str(tmp_path / "flows")), bucket]
        asked: list[tuple[LakeSettings, Any, dict[str, str]]] = []
        for place in places:
            at = filled(place).replace(microsecond=999_999)
            asked += [(place, None, {}), (place, 2, {"versionAsOf": "2"}), (place, at, {"timestampAsOf": at.isoformat()})]
        configure(settings(lake=dict(bucket)), home, monkeypatch)
        words = json.dumps([(place.path, options) for place, _, options in asked])
        env = {name: value for name, value in os.environ.items() if name != "SSL_CERT_FILE"}
        done = subprocess.run([sys.executable, "-c", READER, words], cwd=ROOT, env=env, capture_output=True, text=True, timeout=250)
        (line,) = [line for line in done.stdout.splitlines() if line.startswith("ROWS ")] or [done.stdout + done.stderr]
        by_spark = json.loads(line.removeprefix("ROWS "))
        for (place, version, _), rows in zip(asked, by_spark, strict=True):
            assert len(rows) == {None: 6, 2: 4}.get(version, 2)
            assert by_deltalake(place, version) == rows
            assert by_duckdb(place, version) == rows
