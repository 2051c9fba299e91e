"""Windows in both stores, and the command line led to them, for tests of who reads them there."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from deltalake import write_deltalake

from infra.config import Settings
from jobs.sinks import hot, postgres
from jobs.sinks.migrations import migrate
from jobs.sinks.parquet import lake_rows
from schemas.windowrecords import WINDOW_FEATURES_TABLE, WINDOWS


def lead(where: Settings, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands of this test go to the stores of these settings, whose lake is in ``home``."""
    conf = home / "conf.yaml"
    section = {name: getattr(where.hot, name) for name in ("host", "port", "user", "database")}
    conf.write_text(yaml.safe_dump({"hot": section, "alerts": section, "lake": {"path": str(home / "lake" / "flows")}}))
    monkeypatch.setenv("FLOWLAKE_CONF", str(conf))
    for name in ("HOT", "ALERTS"):
        monkeypatch.setenv(f"FLOWLAKE_{name}__PASSWORD", where.hot.password.get_secret_value())


def fill(where: Settings, home: Path, windows: Mapping[int, pa.Table]) -> None:
    """Write windows (:func:`tests.windowsdata.table`), by size in seconds, to the hot store and to the lake in ``home``."""
    migrate(hot.component(where, WINDOW_FEATURES_TABLE))
    with closing(postgres.connect(where.hot, "test")) as connection:
        for size, rows in windows.items():
            record = WINDOWS[size]
            hot.insert(connection, hot.hot_rows(rows, record), WINDOW_FEATURES_TABLE, ("q", size, 0, "x"))
            write_deltalake(str(home / "lake" / record.name), lake_rows(rows, record), partition_by=["event_date"])
