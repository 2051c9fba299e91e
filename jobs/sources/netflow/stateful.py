"""Exported flows as Spark steps: messages -> records by bucket of exporters -> owners by bucket of flows. All Spark state is here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pyspark.sql.streaming.stateful_processor import StatefulProcessor, StatefulProcessorHandle

from jobs.flowexport.columns import ADDRESS
from jobs.flowexport.flowbatch import by_flow, marked, read
from jobs.flowexport.recordtable import FlowCollector, numbers
from jobs.runtime import mapstore, outgoing
from jobs.runtime.kafka import header
from jobs.runtime.mapstore import MapStore
from jobs.runtime.spread import bucket_keys
from jobs.runtime.workers import settle
from jobs.sources.netflow import flowcounts, held, publish
from jobs.sources.netflow.decoding import RawRow, Taken, accounts
from jobs.sources.netflow.settings import ExportedFlowSettings
from schemas.interfacecounters import INTERFACE_COUNTERS
from schemas.wire import Header

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

#: Rows between the steps. ``topic``: a message that is ready for it, ``blob`` its value and ``about`` its key and headers as JSON; none:
#: records, an Arrow stream, of a collector. ``message`` identifies what is published.
ROW_DDL = "key int, bucket int, topic string, about string, message string, sensor string, domain string, blob binary"
_ROW = [column.split()[0] for column in ROW_DDL.split(", ")]
_RAW = ["bucket", "topic", "partition", "offset", "kind", "sensor", "domain", "value"]

#: Version of what Spark keeps: a map a bucket, of blobs that have versions of their own.
STATE_VERSION = 1
_US = 1_000_000


class ExporterProcessor(StatefulProcessor):
    """One bucket's exporters: datagrams in, records out, by bucket of their flow.

    Parameters
    ----------
    query, name
        Identity of the checkpoint, and the query's name.
    settings
        How datagrams are decoded.
    keys
        Grouping keys of the buckets of flows.
    prefix
        Of topics.
    """

    def __init__(self, query: str, name: str, settings: ExportedFlowSettings, keys: list[int], prefix: str) -> None:
        self._query, self._name = query, name
        self._rules = settings.rules()
        self._keys, self._prefix = keys, prefix

    def init(self, handle: StatefulProcessorHandle) -> None:
        self._state = mapstore.open_map(handle)

    def handleInputRows(self, key: Any, rows: Iterator[pd.DataFrame], timerValues: Any) -> Iterator[pd.DataFrame]:
        raw, bucket = _raw(rows)
        store = MapStore(self._state, mapstore.folder("exporters", self._query, bucket))
        known = held.load_exporters(self._query, bucket, store.meta())
        taken = Taken(self._name)
        for collector, flows in taken.records(raw, known.sessions, self._rules):
            made = [(number, stream) for number, stream in by_flow(flows, len(self._keys))]
            yield _frame([(self._keys[n], n, "", "", "", *collector, stream) for n, stream in made])
        ready = [outgoing.dead_letter(letter, prefix=self._prefix) for letter in taken.letters]
        if taken.first_us:
            store.set_meta(held.save_exporters(self._query, bucket, known))
            for number, rows in enumerate(taken.interfaces):
                message = f"{self._query}/interfaces/{bucket}/{known.version}/{number}"
                ready.append(outgoing.records(INTERFACE_COUNTERS, rows, str(bucket), message, prefix=self._prefix))
            about = {"query": self._query, "bucket": bucket, "version": known.version}
            lines = accounts(known.sessions, taken.first_us, about).encode()
            ready.append(publish.account(self._query, bucket, lines, self._prefix))
        if ready:
            at = bucket % len(self._keys)
            yield _frame([(self._keys[at], at, row["topic"], _about(row), "", "", "", row["value"]) for row in ready])

    def close(self) -> None:
        """The exporters stay cached for the next batch."""
        settle()


class OwnerProcessor(StatefulProcessor):
    """One bucket's flows: records in, the same records with whose duplicate each is out."""

    def __init__(self, query: str, settings: ExportedFlowSettings, prefix: str) -> None:
        self._query, self._prefix = query, prefix
        self._keep_us = round(settings.duplicates_s * _US)
        self._most = max(settings.max_claims // settings.buckets, 1)

    def init(self, handle: StatefulProcessorHandle) -> None:
        self._state = mapstore.open_map(handle)

    def handleInputRows(self, key: Any, rows: Iterator[pd.DataFrame], timerValues: Any) -> Iterator[pd.DataFrame]:
        every = [row for frame in rows for row in frame[_ROW].itertuples(index=False, name=None)]
        flows = [row for row in every if not row[2]]
        if ready := [row for row in every if row[2]]:
            yield _frame(ready)
        if not flows:
            return
        bucket = int(flows[0][1])
        store = MapStore(self._state, mapstore.folder("flow-owners", self._query, bucket))
        known = held.load_owners(self._query, bucket, store.meta(), store, keep_us=self._keep_us, most=self._most)
        batches = [read(bytes(row[-1])) for row in flows]
        columns = [numbers(batch) for batch in batches]
        order = sorted(range(len(flows)), key=lambda i: (int(columns[i]["received_us"].min()), batches[i].num_rows, flows[i][5:7]))
        if self._keep_us:
            whose = known.owners.mark([columns[i] for i in order])
        else:
            whose = [np.zeros((batches[i].num_rows, ADDRESS), np.uint8) for i in order]
        names: set[str] = set()
        for number, i in enumerate(order):
            names |= flowcounts.count(known.told, columns[i], whose[number])
            message = f"{self._query}/{bucket}/{known.version}/{number}"
            yield _frame([(*flows[i][:4], message, *flows[i][5:7], marked(batches[i], whose[number]))])
        store.set_meta(held.save_owners(self._query, bucket, known, store))
        told = flowcounts.said(self._query, bucket, known.version, known.told, names)
        row = publish.account(self._query, bucket, told, self._prefix)
        yield _frame([(*flows[0][:2], row["topic"], _about(row), "", "", "", row["value"])])

    def close(self) -> None:
        """The claims stay cached for the next batch."""
        settle()


def _raw(rows: Iterator[pd.DataFrame]) -> tuple[list[RawRow], int]:
    """Messages, and their bucket."""
    found: list[RawRow] = []
    bucket = 0
    for frame in rows:
        for number, topic, partition, offset, kind, sensor, domain, value in frame[_RAW].itertuples(index=False, name=None):
            bucket = int(number)
            collector = FlowCollector(_text(sensor), _text(domain) or _text(sensor))
            found.append(RawRow(topic, int(partition), int(offset), _text(kind), collector, bytes(value or b"")))
    return found, bucket


def _text(value: Any) -> str:
    return bytes(value).decode("utf-8", "replace") if value is not None else ""


def _about(row: outgoing.Row) -> str:
    """Key and headers of a message that is ready; they are texts."""
    headers = {pair["key"]: pair["value"].decode("utf-8", "replace") for pair in row["headers"]}
    return json.dumps([row["key"].decode(), headers])


def _frame(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=_ROW)


def exported(messages: DataFrame, query: str, name: str, settings: ExportedFlowSettings, partitions: int, prefix: str) -> DataFrame:
    """Rows of :data:`ROW_DDL` from a stream of Kafka rows of ``flows.raw``.

    The bucket of a message is that of its partition: what an exporter sends lies in one. With more partitions an exporter may come to
    another bucket, where its templates are not known: its data wait for them there.
    """
    from pyspark.sql import functions as F

    keys = bucket_keys(settings.buckets, partitions)

    bucket = F.col("partition") % len(keys)
    rows = messages.select(
        F.element_at(F.array(*[F.lit(key) for key in keys]), bucket + 1).alias("key"),
        bucket.alias("bucket"),
        header(Header.CONTENT_TYPE).alias("kind"),
        header(Header.SENSOR).alias("sensor"),
        header(Header.DOMAIN).alias("domain"),
        *("topic", "partition", "offset", "value"),
    )
    decoded = rows.groupBy("key").transformWithStateInPandas(
        statefulProcessor=ExporterProcessor(query, name, settings, keys, prefix),
        outputStructType=ROW_DDL,
        outputMode="append",
        timeMode="None",
    )
    return decoded.groupBy("key").transformWithStateInPandas(
        statefulProcessor=OwnerProcessor(query, settings, prefix), outputStructType=ROW_DDL, outputMode="append", timeMode="None"
    )
