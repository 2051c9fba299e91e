"""How fast a month of flows goes into the archive, is verified and deleted, and comes back; and in how much memory."""

from __future__ import annotations

import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from infra.config import Settings
from infra.process import free_port
from infra.stack.postgres import Postgres
from jobs.archiving import months, restore
from jobs.archiving import run as runs
from jobs.archiving.months import Month
from jobs.archiving.run import Wish
from jobs.hotstore import partitions
from jobs.sinks import hot, postgres
from jobs.sinks.migrations import migrate
from ops.bench.place import machine
from schemas.packets import FLOWS

#: Of a column of each SQL type, row ``n`` of a month: spread as flows are, half of the doubles no ``float32``.
_VALUES = {
    "uuid": "gen_random_uuid()",
    "inet": "'10.0.0.0'::inet + (n * 7919 %% 60000)",
    "integer": "(n * 31 %% 60000)::integer",
    "smallint": "6",
    "bigint": "(random() * 1e7)::bigint",
    "double precision": "random() * 1e6",
    "real": "random()::real",
    "text": "'value ' || n %% 7",
}


def run(settings: Settings, *, rows: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Fill a database of its own with a month of flows, archive it into a folder, restore it.

    Returns
    -------
    dict
        Rows, bytes of the files, seconds and rows a second of both ways, peak memory of this process in MiB.
    """
    folder = Path(tempfile.mkdtemp(prefix="flowlake-bench-"))
    server = Postgres(folder / "postgres", free_port())
    try:
        server.start()
        server.create_database("flowlake")
        own = settings.model_copy(
            update={
                "hot": settings.hot.model_copy(update=server.settings().model_dump(exclude_unset=True)),
                "archive": settings.archive.model_copy(update={"path": str(folder / "archive")}),
            }
        )
        table = hot.table_of(FLOWS)
        migrate(hot.component(own, table), say)
        month = (months.of(datetime.now(UTC)) - timedelta(days=200)).replace(day=1)
        say(f"{rows:,} flows of {months.text(month)}")
        _fill(own, month, rows)
        began = time.perf_counter()
        (done,) = runs.run(own, [FLOWS], Wish(), say)
        archived = time.perf_counter() - began
        began = time.perf_counter()
        restore.restore(own, [FLOWS], month, "", lambda _: None)
        restored = time.perf_counter() - began
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "rows": done.rows,
        "files": done.files,
        "bytes_per_row": round(done.size / done.rows, 1),
        "archive_s": round(archived, 2),
        "archived_rows_per_s": round(rows / archived),
        "restore_s": round(restored, 2),
        "restored_rows_per_s": round(rows / restored),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        "machine": machine(),
    }


def _fill(settings: Settings, month: Month, rows: int) -> None:
    table = hot.table_of(FLOWS)
    values = {name: _VALUES.get(kind, "NULL") for name, kind in table.types.items()}
    values |= {"timestamp": "%(start)s::timestamptz + n * %(step)s * interval '1 microsecond'", "predicted_label": "(n %% 10 = 0)::integer"}
    names, made = ", ".join(values), ", ".join(values.values())
    query = f"INSERT INTO {table.name} ({names}) SELECT {made} FROM generate_series(0::bigint, %(rows)s - 1) n"
    step = int(timedelta(days=27) / timedelta(microseconds=1) / rows)
    start: date = month
    with closing(postgres.connect(settings.hot, "flowlake-bench")) as connection, connection, connection.cursor() as cursor:
        for number in range(27):
            partitions.make(cursor, table, start + timedelta(days=number))
        cursor.execute(query, {"start": f"{start.isoformat()} 00:00:00+00", "step": step, "rows": rows})
