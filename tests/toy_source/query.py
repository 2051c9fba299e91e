"""The query: raw readings -> history of each device (state) -> records -> scores -> the topic of records, dead letters."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pandas as pd
import pyarrow as pa
from pyspark.sql import SparkSession
from pyspark.sql.streaming import StreamingQuery
from pyspark.sql.streaming.stateful_processor import StatefulProcessor, StatefulProcessorHandle

from infra.config import Settings
from infra.sections import KafkaSettings
from jobs.runtime import checkpoints, inputs, outgoing
from jobs.runtime.dead_letter import DeadLetter
from jobs.runtime.dead_letter import send as send_letters
from jobs.runtime.kafka import read_topic
from jobs.runtime.workers import settle, settled
from jobs.scoring.modelset import ModelSet
from jobs.scoring.serving import serve
from schemas.wire import Header

from .judge import History, Reading, judge, parse
from .records import RAW_READINGS, READING
from .settings import ReadingsSettings

NAME = "readings"
#: Version of what the checkpoint holds.
STATE_VERSION = 1

_READ = pa.schema([("device", pa.string()), ("sensor_id", pa.string()), ("time_us", pa.int64()), ("value", pa.float64())])
_READ_DDL = "device string, sensor_id string, time_us long, value double"
_HISTORY_DDL = "count long, mean double, squares double, last double, last_us long, repeats long"
_JUDGED_DDL = (
    "reading_id string, sensor_id string, device string, reading_time long, value double, mean double, std double, zscore double, "
    "delta double, repeats long, gap_s double"
)


def start(spark: SparkSession, settings: Settings) -> StreamingQuery:
    """Find the champion, then start the query: a model that is promoted later comes into force while it runs.

    Raises
    ------
    ModelError
        No champion, or one that cannot score.
    CheckpointError
        The checkpoint is of another version, or of a topic that was deleted.
    """
    own = settings.section(ReadingsSettings)
    champion = serve(spark, settings, READING)
    place = checkpoints.open(settings, NAME, STATE_VERSION)
    inputs.settle(place, NAME, settings.topic(RAW_READINGS.name), settings, fail_on_data_loss=False)
    kafka, prefix = settings.kafka, settings.kafka.topic_prefix
    read = read_topic(spark, settings, RAW_READINGS).mapInArrow(settled(reader(kafka)), _READ_DDL)
    judged = read.groupBy("device").transformWithStateInPandas(
        statefulProcessor=Judge(), outputStructType=_JUDGED_DDL, outputMode="append", timeMode="None"
    )
    messages = judged.mapInArrow(settled(lambda batches: scored(batches, champion.value, prefix)), outgoing.KAFKA_DDL)
    return outgoing.write(messages, settings, NAME, place, own.trigger_ms)


def reader(kafka: KafkaSettings) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The stateless step: Kafka rows in, readings out; lines that are none go to the dead letters."""

    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        letters: list[DeadLetter] = []
        for batch in batches:
            rows = []
            for row in batch.select(["value", "headers", "topic", "partition", "offset"]).to_pylist():
                headers = {pair["key"]: pair["value"] or b"" for pair in row["headers"] or ()}
                sensor = headers.get(Header.SENSOR, b"unknown").decode("utf-8", "replace")
                bad: list[tuple[bytes, str]] = []
                for line in (row["value"] or b"").splitlines():
                    try:
                        reading = parse(line)
                    except ValueError as e:
                        bad.append((line, str(e)))
                        continue
                    rows.append({"device": reading.device, "sensor_id": sensor, "time_us": reading.time_us, "value": reading.value})
                if bad:  # one letter a message: its place in the topic is its identity
                    reason = f"{bad[0][1]} ({len(bad)} of its lines refused)"
                    value = b"\n".join(line for line, _ in bad)
                    letters.append(DeadLetter(value, reason, row["topic"], row["partition"], row["offset"], NAME))
            if rows:
                yield pa.RecordBatch.from_pylist(rows, _READ)
        send_letters(letters, kafka)

    return read


class Judge(StatefulProcessor):
    """The stateful step, once for each device of a batch."""

    def init(self, handle: StatefulProcessorHandle) -> None:
        self._history = handle.getValueState("history", _HISTORY_DDL)

    def handleInputRows(self, key: Any, rows: Iterator[pd.DataFrame], timerValues: Any) -> Iterator[pd.DataFrame]:
        kept = self._history.get()
        history = History(*kept) if kept is not None else History()
        frame = pd.concat(list(rows)).sort_values("time_us", kind="stable")
        records = []
        for device, sensor, time_us, value in frame[["device", "sensor_id", "time_us", "value"]].itertuples(index=False):
            history, record = judge(history, Reading(str(device), int(time_us), float(value)))
            if record is not None:
                records.append({**record, "sensor_id": sensor})
        self._history.update(tuple(history.plain().values()))
        if records:
            yield pd.DataFrame(records)[[name.split()[0] for name in _JUDGED_DDL.split(", ")]]

    def close(self) -> None:
        settle()


def scored(batches: Iterable[pa.RecordBatch], champion: ModelSet, prefix: str) -> Iterator[pa.RecordBatch]:
    """The scoring step: records in, rows for Spark's Kafka sink out."""
    for batch in batches:
        if batch.num_rows:
            judged = champion.score(batch)
            ids = "".join(judged.column("reading_id").to_pylist())
            name = hashlib.sha256(ids.encode()).hexdigest()
            yield from outgoing.batches([outgoing.records(READING, judged, str(judged.column("device")[0]), name, prefix=prefix)])
