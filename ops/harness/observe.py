"""What is seen of the stream from outside: its topics, followed by consumers of the harness's own.

Nothing here goes through the stream: what is compared in the end was read from the broker itself.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.config import Settings
from infra.errors import one_line
from infra.kafka.progress import LocalFiles, finished_offsets
from jobs.sinks.messages import BadMessage, decode_value
from jobs.sources.packets.accounts import AccountBook
from ops.harness.stores import ids_of
from schemas.packets import ACCOUNTS, FLOWS, PREDICTIONS, RAW_PACKETS
from schemas.wire import KIND_PACKETS, Header

log = logging.getLogger(__name__)

#: Columns of a prediction that the view, the accounts and the report need.
COLUMNS = (
    "flow_id",
    "protocol",
    "src_ip",
    "src_port",
    "dst_ip",
    "dst_port",
    "start_time",
    "end_time",
    "closed",
    "total_fwd_packets",
    "total_backward_packets",
    "confidence_score",
    "predicted_label",
    "attack_type",
    "scored_at",
)


@dataclass
class Seen:
    """What the topics told so far. Delays in ms."""

    book: AccountBook = field(default_factory=AccountBook)
    closed: list[pa.Table] = field(default_factory=list)
    closed_rows: int = 0  # copies included
    to_broker: list[np.ndarray] = field(default_factory=list)
    to_scored: list[float] = field(default_factory=list)  # a flow's first packet to its first score
    scored: set[str] = field(default_factory=set)  # ids of flows with a score
    ends: dict[str, dict[int, int]] = field(default_factory=dict)  # topic -> partition -> end offset
    at_end: bool = False  # everything that was on the broker at the last look has been read


class Follower(threading.Thread):
    """Reads ``accounts`` and ``predictions`` from their beginning, and looks at the end offsets of what the queries read.

    Parameters
    ----------
    settings : of the trial.
    timed : capture times are the wall clock's: delays are noted, the first of them from ``raw-packets`` (``light``: partition 0).
    light : read the accounts only, until :meth:`deepen`: a benchmark must not be disturbed by who watches it. Times are in the messages.
    """

    def __init__(self, settings: Settings, *, timed: bool, light: bool = False) -> None:
        super().__init__(name="follower", daemon=True)
        self._settings = settings
        self._timed = timed
        self._light = light
        self._deep = not light
        self._stop_event = threading.Event()
        self.lock = threading.Lock()
        self.seen = Seen()

    def deepen(self) -> None:
        """Read ``predictions`` and ``raw-packets`` too from now on, from their beginning."""
        if not self._deep:
            with self.lock:
                self.seen.at_end = False
            self._deep = True

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stop_event.set()
        if self.is_alive():
            self.join(10)

    def run(self) -> None:
        """Read until stopped; a broker that is away is tried again."""
        told = ""
        while not self._stop_event.is_set():
            try:
                self._follow()
            except Exception as e:  # a client's hiccup must not end the trial
                if (why := f"{type(e).__name__}: {one_line(e)}") != told:
                    log.warning("the topics cannot be followed and are tried again: %s", why)
                    told = why
                self._stop_event.wait(1)

    def _follow(self) -> None:
        from kafka import KafkaConsumer, TopicPartition

        from infra.kafka.client import client_options

        consumer = KafkaConsumer(**client_options(self._settings.kafka), client_id="flowlake-demo", fetch_max_wait_ms=100)
        names = {self._settings.topic(t.name): t.name for t in (ACCOUNTS, PREDICTIONS, RAW_PACKETS)}
        try:
            parts = [TopicPartition(full, p) for full in names for p in sorted(consumer.partitions_for_topic(full) or ())]
            deep = self._deep
            wanted = {ACCOUNTS.name} | ({PREDICTIONS.name} if deep else set())
            followed = [
                p
                for p in parts
                if names[p.topic] in wanted
                or (deep and self._timed and names[p.topic] == RAW_PACKETS.name and not (self._light and p.partition))
            ]
            with self.lock:  # from the beginning, also after a failure
                self.seen = Seen()
            consumer.assign(followed)
            consumer.seek_to_beginning(*followed)
            looked = 0.0
            while not self._stop_event.is_set() and deep == self._deep:
                for partition, records in consumer.poll(timeout_ms=200).items():
                    kind = names[partition.topic]
                    with self.lock:
                        for record in records:
                            self._take(kind, record)
                if time.monotonic() - looked > 0.7:
                    looked = time.monotonic()
                    ends = consumer.end_offsets(parts)
                    behind = any(consumer.position(p) < ends[p] for p in followed if names[p.topic] != RAW_PACKETS.name)
                    with self.lock:
                        for p, end in ends.items():
                            self.seen.ends.setdefault(names[p.topic], {})[p.partition] = int(end)
                        self.seen.at_end = not behind
        finally:
            consumer.close()

    def _take(self, kind: str, record: Any) -> None:
        seen = self.seen
        if kind == ACCOUNTS.name:
            seen.book.add(record.value)
            return
        headers = dict(record.headers or ())
        if kind == RAW_PACKETS.name:
            if headers.get(Header.KIND) == KIND_PACKETS.encode():
                with pa.ipc.open_stream(record.value) as reader:
                    ts = reader.read_all().column("ts").to_numpy()
                seen.to_broker.append(record.timestamp - ts / 1e6)
            return
        try:
            rows = decode_value(record.value, headers, FLOWS, COLUMNS)
        except BadMessage as e:
            log.warning("%s, partition %d, offset %d: %s", record.topic, record.partition, record.offset, e)
            return
        is_closed = rows["closed"]
        closed = rows.filter(is_closed)
        if closed.num_rows:
            seen.closed.append(closed)
            seen.closed_rows += closed.num_rows
        if self._timed:
            self._note_first(rows)

    def _note_first(self, rows: pa.Table) -> None:
        """Delay of each flow that is scored for the first time; of one flow in sixteen when ``light``."""
        seen = self.seen
        if self._light:
            rows = rows.filter(pc.starts_with(rows["flow_id"], "0"))
        delays = pc.subtract(rows["scored_at"].cast(pa.int64()), rows["start_time"].cast(pa.int64())).to_pylist()
        for flow, delay in zip(rows["flow_id"].to_pylist(), delays, strict=True):
            if flow not in seen.scored:
                seen.scored.add(flow)
                seen.to_scored.append(delay / 1000)

    def totals(self) -> Counter[str]:
        """The meter's accounts as of now."""
        with self.lock:
            return self.seen.book.totals()

    def closed(self) -> pa.Table:
        """Closed records, each flow once (the first copy), columns :data:`COLUMNS`."""
        with self.lock:
            parts = list(self.seen.closed)
        if not parts:
            from schemas.flows import PREDICTION_SCHEMA

            return pa.schema([PREDICTION_SCHEMA.field(c) for c in COLUMNS]).empty_table()
        table = pa.concat_tables(parts).combine_chunks().select(list(COLUMNS))
        _, first = np.unique(ids_of(table["flow_id"]), return_index=True)
        return table if len(first) == table.num_rows else table.take(np.sort(first))

    def delays(self) -> tuple[np.ndarray, np.ndarray]:
        """Delays in ms: capture to broker (one partition's packets), first packet of a flow to its first score."""
        with self.lock:
            broker, scored = list(self.seen.to_broker), np.array(self.seen.to_scored)
        return np.concatenate(broker) if broker else np.empty(0), scored

    def lag(self, checkpoints: Path) -> dict[str, int]:
        """Messages on the broker that each query has not finished, from its checkpoint."""
        with self.lock:
            ends = {topic: dict(parts) for topic, parts in self.seen.ends.items()}
        found = {}
        for query in self._settings.catalogue.source("packets").queries:
            done: dict[int, int] = {}
            for folder in checkpoints.glob(f"{query.name}-v*/commits"):
                finished = finished_offsets(LocalFiles(checkpoints), folder.parent.name)
                done = {partition: offset for (_, partition), offset in finished.items()}
            read = (ends.get(topic.name, {}) for topic in query.reads)
            found[query.name] = sum(max(0, end - done.get(p, 0)) for parts in read for p, end in parts.items())
        return found
