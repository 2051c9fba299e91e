"""The sensor: a file of flow features to the topic, as Arrow streams. It takes them; the query reads them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from infra.config import Settings
from jobs.sources.features.files import Featured
from jobs.sources.features.settings import FlowFeaturesSettings
from jobs.sources.features.topic import CONTENT_ARROW, FLOW_FEATURES
from schemas.wire import arrow_stream
from sensors.publish.counting import Counters
from sensors.publish.publisher import Publisher, publishing

#: Longest message: well below the topic's bound.
_MOST_BYTES = 4_000_000


class FeatureEncoder:
    """Batches as messages, one partition after the other (:class:`sensors.publish.publisher.Encoder`)."""

    topic = FLOW_FEATURES
    content_type = CONTENT_ARROW
    empty = b""
    max_bytes = _MOST_BYTES
    headers: Sequence[tuple[str, bytes]] = ()

    def __init__(self) -> None:
        self._next = 0

    def split(self, batch: pa.RecordBatch, partitions: int) -> Iterator[tuple[int, bytes, int]]:
        partition = self._next % partitions
        self._next += 1
        for value, rows in _values(batch):
            yield partition, value, rows


def _values(batch: pa.RecordBatch) -> Iterator[tuple[bytes, int]]:
    """A batch as streams of bounded length: halved where it is too long."""
    value = arrow_stream(batch)
    if len(value) <= _MOST_BYTES or batch.num_rows == 1:
        yield value, batch.num_rows
        return
    half = batch.num_rows // 2
    yield from _values(batch.slice(0, half))
    yield from _values(batch.slice(half))


class FeatureSensor:
    """Sends a file's flows until they end (:class:`sensors.publish.sensor.Sensor`).

    Parameters
    ----------
    settings
        Where the broker is, who the sensor is, and rows of a message.
    file
        What it sends.
    sensor_id, domain
        Instead of those of the settings.
    """

    def __init__(self, settings: Settings, file: Featured, sensor_id: str | None = None, domain: str | None = None) -> None:
        self._settings = settings
        self._own = settings.section(FlowFeaturesSettings)
        self._file, self._sensor_id, self._domain = file, sensor_id, domain
        self._ending = threading.Event()
        self._counters = Counters()

    @property
    def counters(self) -> Counters:
        return self._counters

    def stop(self) -> None:
        self._ending.set()

    def run(self) -> Counters:
        """Send the file; what it says is in the broker then.

        Raises
        ------
        BrokerError
            No broker, or it refuses.
        InputError
            The file cannot be read on.
        """
        encoder = FeatureEncoder()
        publisher: Publisher[pa.RecordBatch] = Publisher(
            self._settings, self._own, encoder, self._sensor_id, self._domain, stop=self._ending
        )
        self._counters = publisher.counters
        with publishing(publisher):
            for batch in self._file.batches(self._own.batch_rows):
                if self._ending.is_set():
                    break
                publisher.send(batch, time.time_ns())
            publisher.end()
        return self._counters


def open_file(path: Path) -> Featured:
    """A file to be sent.

    Raises
    ------
    InputError
        It is none that can be read, or has no column of a flow.
    """
    return Featured(path)
