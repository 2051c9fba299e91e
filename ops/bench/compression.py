"""What TimescaleDB's compression costs and saves by the column that it cuts segments by (``compress_segmentby``)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg2
import pyarrow as pa

from infra.config import Settings
from infra.errors import CaptureError, StoreError, one_line
from jobs.sinks import hot, postgres
from ops.bench import hotrows, hotstore
from ops.bench.dashboards import ask
from ops.bench.hosts import CLIENT, SERVER
from ops.bench.hotrows import HotRows
from ops.bench.place import machine
from ops.bench.questions import TimedQuery
from schemas.network_flows import NETWORK_FLOWS
from schemas.records import HotTable

#: What is compared: the reference's choice, ours, none, and each column that questions filter by.
CHOICES = ("", "predicted_label", "sensor_id", "protocol", "src_ip", "dst_ip", "src_ip, predicted_label")
#: Rows that are written again, and late rows that are written, into compressed chunks.
AGAIN, LATE = 20_000, 20_000
#: Seconds after which writing them is given up: a batch that takes so long stops a stream.
_PATIENCE_S = 60


def run(
    settings: Settings,
    *,
    dsn: str,
    flows: int,
    days: int = 3,
    captures: Sequence[Path] = (),
    choices: Sequence[str] = CHOICES,
    times: int = 10,
    seed: int = 1,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Load the same flows for each choice, compress all of them, and ask, replay and insert.

    Parameters
    ----------
    settings
        Of meter and sensor.
    dsn
        A server with TimescaleDB.
    flows
        To load.
    days
        That they are spread over: so many chunks.
    captures
        Capture files to take flows and addresses from, instead of generated traffic and drawn hosts.
    choices
        Values of ``compress_segmentby``; the empty one is none.
    times
        How often each question is asked.
    seed
        Of the rows.
    say
        Told the progress.

    Returns
    -------
    dict
        ``segment_by``: choice -> bytes a flow before and after (indexes included), their ratio, seconds of compressing, p50 of each
        question in milliseconds, rows/s of writing rows again and of writing late rows, or why these failed.

    Raises
    ------
    StoreError
        The server has no TimescaleDB.
    """
    facts = machine()
    pool = hotrows.captured(settings, captures, seed) if captures else hotrows.generated(settings, seed, flows)
    if not pool.num_rows:
        raise CaptureError("no flow in the capture files", "name files that hold IP packets")
    made = hotrows.told(say, pool)
    until = datetime.now(UTC)
    rows = HotRows(pool, until - timedelta(days=days), until, flows, seed, own_hosts=bool(captures))
    found = {}
    for choice in choices:
        with hotstore.store(settings, dsn) as own:
            found[choice or "none"] = _measure(own, choice, rows, times, say)
            server = hotstore.facts(own)
    return {"flows": flows, "days": days, "segment_by": found, **made, "server": server, "machine": facts}


def _measure(settings: Settings, choice: str, rows: HotRows, times: int, say: Callable[[str], None]) -> dict[str, Any]:
    table = NETWORK_FLOWS
    _prepare(settings, table, choice)
    hotstore.load(settings, table, rows, lambda _: None)
    began = time.perf_counter()
    with hotstore.asking(settings) as cursor:
        cursor.execute("SELECT count(compress_chunk(chunk)) FROM show_chunks(%s) AS chunk", (table.name,))
        seconds = time.perf_counter() - began
        cursor.execute(
            "SELECT sum(before_compression_total_bytes), sum(after_compression_total_bytes) FROM hypertable_compression_stats(%s)",
            (table.name,),
        )
        before, after = map(int, cursor.fetchone())
        cursor.execute(f"VACUUM ANALYZE {table.name}")
    answers = ask(settings, asked(rows), 1, times, 1, lambda _: None)
    result = {
        "bytes_before": round(before / len(rows)),
        "bytes_after": round(after / len(rows), 1),
        "ratio": round(before / after, 2),
        "compress_s": round(seconds, 1),
        "p50_ms": {name: round(one.p(50), 1) for name, one in answers.items()},
        **_writing(settings, table, rows),
    }
    say(f"segment by {choice or 'nothing'}: {result}")
    return result


def _prepare(settings: Settings, table: HotTable, choice: str) -> None:
    """The table as a hypertable without policies: nothing but what is measured happens to it."""
    segment = f"timescaledb.compress_segmentby = '{choice}', " if choice else ""
    order = ", ".join([f"{table.time} DESC", *table.key[1:]])
    made = [statement for number in sorted(table.migrations) for statement in table.migrations[number]]
    with hotstore.asking(settings) as cursor:
        try:
            cursor.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        except psycopg2.Error as e:
            raise StoreError(f"{postgres.where(settings.hot)} has no TimescaleDB: {one_line(e)}", "name a server that has it: --dsn") from e
        for statement in made:
            cursor.execute(statement)
        cursor.execute(f"SELECT create_hypertable('{table.name}', '{table.time}', chunk_time_interval => INTERVAL '1 day')")
        cursor.execute(f"ALTER TABLE {table.name} SET (timescaledb.compress, {segment}timescaledb.compress_orderby = '{order}')")


def asked(rows: HotRows) -> list[TimedQuery]:
    """Questions whose answers lie in compressed chunks."""
    block = rows.block(len(rows.blocks()) // 2)
    sources = block["src_ip"].slice(0, 20).to_pylist() if rows.own_hosts else rows.hosts.some(CLIENT, 200)[::20]
    targets = block["dst_ip"].slice(0, 20).to_pylist() if rows.own_hosts else rows.hosts.some(SERVER, 20)[::4]
    day = (rows.until - timedelta(hours=30), rows.until - timedelta(hours=6))
    window = "timestamp >= '{}' AND timestamp < '{}'".format(*day)
    hour = f"timestamp >= '{day[0]}' AND timestamp < '{day[0] + timedelta(hours=1)}'"
    return [
        TimedQuery(
            "attack rate per minute, an hour",
            "SELECT time_bucket('1 minute', timestamp) AS minute, count(*) FILTER (WHERE predicted_label = 1), count(*) "
            f"FROM network_flows WHERE {hour} GROUP BY minute ORDER BY minute",
        ),
        TimedQuery(
            "top attackers, 24 hours",
            "SELECT src_ip, count(*) AS n, avg(confidence_score), max(timestamp) FROM network_flows "
            f"WHERE predicted_label = 1 AND {window} GROUP BY src_ip ORDER BY n DESC LIMIT 10",
        ),
        TimedQuery(
            "flows of a source, all days",
            "SELECT timestamp, dst_ip, dst_port, attack_type FROM network_flows WHERE src_ip = %(src)s ORDER BY timestamp DESC LIMIT 50",
            {"src": sources},
        ),
        TimedQuery(
            "flows to a target, all days",
            "SELECT timestamp, src_ip, dst_port, attack_type FROM network_flows WHERE dst_ip = %(dst)s ORDER BY timestamp DESC LIMIT 50",
            {"dst": targets},
        ),
        TimedQuery(
            "volume of each sensor, 24 hours",
            f"SELECT sensor_id, count(*), sum(total_length_fwd_packets) FROM network_flows WHERE {window} GROUP BY sensor_id",
        ),
    ]


def _writing(settings: Settings, table: HotTable, rows: HotRows) -> dict[str, Any]:
    """Rows that are there once more, and rows that are not, into compressed chunks."""
    number = len(rows.blocks()) // 2
    again = rows.block(number).slice(0, AGAIN)
    other = replace(rows, seed=rows.seed + 100).block(number)
    late = other.take(pa.array(np.random.default_rng(1).permutation(other.num_rows)[:LATE]))
    connection = postgres.connect(settings.hot, "flowlake-bench")
    found: dict[str, Any] = {}
    with closing(connection):
        with connection, connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = %s", (_PATIENCE_S * 1000,))
        for name, batch, wanted in (("replay", again, 0), ("late", late, late.num_rows)):
            began = time.perf_counter()
            try:
                inserted = hot.insert(connection, batch, table, ("bench", 0 if name == "replay" else 1, 0, name))
            except psycopg2.Error as e:
                found[f"{name}_failed"] = one_line(e)
                continue
            if inserted != wanted:
                raise StoreError(f"{name}: {inserted:,} rows of a batch were new to the table, expected {wanted:,}")
            found[f"{name}_rows_per_s"] = round(batch.num_rows / (time.perf_counter() - began))
    return found
