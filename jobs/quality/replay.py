"""Rows of the quarantine, looked at, and published again after what was wrong has been mended.

A row goes to its record type's topic, where the stores' queries read it as any other: it passes the checks now, or is put into the
quarantine anew. It is marked after the broker has it, so a replay that was ended half-way publishes some rows twice; the stores know
them by their identity.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from infra.config import Settings
from infra.errors import BrokerError, StoreError, one_line
from jobs.quality import table
from jobs.runtime import dead_letter, outgoing
from schemas.records import RecordType

#: Rows of one message.
MESSAGE_ROWS = 500


@dataclass(frozen=True)
class Chosen:
    """Which rows of the quarantine; what is None or empty leaves none out.

    Attributes
    ----------
    record, stage : names.
    reason : what a rule begins with (``range``), or a part of a reason.
    since : quarantined since.
    waiting : only those that were not published again.
    """

    record: str | None = None
    stage: str | None = None
    reason: str | None = None
    since: datetime | None = None
    waiting: bool = False

    def expression(self) -> pc.Expression:
        """For Arrow."""
        found = pc.scalar(True)
        for name, value in (("record", self.record), ("stage", self.stage)):
            if value:
                found &= pc.field(name) == value
        if self.reason:
            found &= pc.match_substring(pc.field("reason"), self.reason)
        if self.since:
            found &= pc.field("quarantined_at") >= pa.scalar(self.since, pa.timestamp("us", tz="UTC"))
        return found & pc.field("replayed_at").is_null() if self.waiting else found


@dataclass
class Replayed:
    """What a replay came to: rows published, and those that are no records of the present version (with the first reason)."""

    published: int = 0
    odd: int = 0
    why: str = ""


def read(settings: Settings, chosen: Chosen, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Rows of the quarantine.

    Raises
    ------
    StoreError
        It cannot be read.
    """
    names = columns or [name for name in table.SCHEMA.names if name != "event_date"]
    yield from table.side(settings).dataset().to_batches(columns=names, filter=chosen.expression(), batch_size=MESSAGE_ROWS)


def replay(settings: Settings, record: RecordType, chosen: Chosen, say: Callable[[int], None], *, dry_run: bool = False) -> Replayed:
    """Publish rows of one record type again, and mark them.

    Parameters
    ----------
    settings
        Broker, and the place of the quarantine.
    record
        The type; rows of another version of it stay where they are.
    chosen
        Which rows; those that were published again before are left out.
    say
        Told how many rows have been published.
    dry_run
        Only count.

    Raises
    ------
    BrokerError
        The broker does not take a message; what was published before is marked.
    StoreError
        The quarantine cannot be read or written.
    """
    from dataclasses import replace

    done = Replayed()
    wanted = replace(chosen, record=record.name, waiting=True)
    for batch in read(settings, wanted, ["id", "version", "value"]):
        ids, rows = [], []
        for row in batch.to_pylist():
            try:
                if row["version"] != record.version:
                    raise ValueError(f"version {row['version']} of {record.name}, this program's is {record.version}")
                rows.append(complete(row["value"], record))
                ids.append(row["id"])
            except ValueError as e:
                done.odd, done.why = done.odd + 1, done.why or one_line(e)
        if rows and not dry_run:
            _publish(settings, record, pa.concat_tables(rows), ids)
            mark(settings, ids)
        done.published += len(rows)
        say(done.published)
    return done


def complete(value: str, record: RecordType) -> pa.Table:
    """The record of a row of the quarantine.

    Raises
    ------
    ValueError
        It lacks what a message of such records must have: a row of the hot store has only some of their columns.
    """
    found = table.from_json([value], record.published)
    for field in record.published:
        if not field.nullable and found[field.name].null_count:
            raise ValueError(f"{field.name} is null: the row is no whole record, or its fault is that very null")
    return found


def _publish(settings: Settings, record: RecordType, rows: pa.Table, ids: list[str]) -> None:
    from kafka.errors import KafkaError

    # the same for the same rows: if they are published twice and fail again, they are in the quarantine once
    name = "quarantine/" + hashlib.sha256("".join(ids).encode()).hexdigest()
    (whole,) = rows.combine_chunks().to_batches()
    told: dict[str, Any] = outgoing.records(record, whole, name, name, prefix=settings.kafka.topic_prefix)
    headers = [(pair["key"], pair["value"]) for pair in told["headers"]]
    try:
        producer = dead_letter.producer(settings.kafka, "flowlake-quarantine")
        producer.send(told["topic"], key=told["key"], value=told["value"], headers=headers).get(30)
    except KafkaError as e:
        raise BrokerError(f"broker {settings.kafka.bootstrap_servers}: {one_line(e)}", "start it: flowlake up; then replay again") from e


def mark(settings: Settings, ids: list[str]) -> None:
    """Note that rows were published again; again where another process changes the table meanwhile."""
    from deltalake import DeltaTable
    from deltalake.exceptions import CommitFailedError, DeltaError

    from jobs.runtime import s3

    path = table.side(settings).path
    listed = ", ".join(f"'{one}'" for one in ids)
    now = datetime.now(UTC).isoformat()
    for attempt in range(_ATTEMPTS):
        try:
            found = DeltaTable(s3.uri(path), storage_options=s3.storage_options(settings.lake, path))
            found.update(updates={"replayed_at": f"CAST('{now}' AS TIMESTAMP)"}, predicate=f"id IN ({listed})")
            return
        except CommitFailedError as e:
            if attempt == _ATTEMPTS - 1:
                raise StoreError(f"quarantine {path}: other processes change it all the time: {one_line(e)}", "replay again") from e
        except (DeltaError, OSError) as e:
            raise StoreError(f"quarantine {path}: {one_line(e)}", "rows that were published are not marked; replay again") from e


_ATTEMPTS = 10
