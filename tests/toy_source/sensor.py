"""The sensor: lines of JSON, from a file or a pipe, to the topic. It takes them; it does not read them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from zlib import crc32

from infra.config import Settings
from schemas.wire import CONTENT_JSON
from sensors.publish.counting import Counters, Stopped
from sensors.publish.publisher import Publisher

from .records import RAW_READINGS
from .settings import ReadingsSettings


class LineEncoder:
    """Lines as messages: those of a device go to one partition, in order (:class:`sensors.publish.publisher.Encoder`)."""

    topic = RAW_READINGS
    content_type = CONTENT_JSON
    empty = b""
    max_bytes = 1_000_000
    headers: Sequence[tuple[str, bytes]] = ()

    def split(self, batch: list[bytes], partitions: int) -> Iterator[tuple[int, bytes, int]]:
        lines: dict[int, list[bytes]] = {}
        for line in batch:
            lines.setdefault(_device(line) % partitions, []).append(line)
        for partition in sorted(lines):
            yield partition, b"\n".join(lines[partition]), len(lines[partition])


def _device(line: bytes) -> int:
    """A number that is the same for the lines of one device; damaged lines may go anywhere."""
    try:
        return crc32(str(json.loads(line)["device"]).encode())
    except (ValueError, KeyError, TypeError):
        return 0


class LineSensor:
    """Sends lines until they end (:class:`sensors.publish.sensor.Sensor`)."""

    def __init__(self, settings: Settings, lines: Iterable[bytes]) -> None:
        self._settings = settings
        self._own = settings.section(ReadingsSettings)
        self._lines = lines
        self._ending = threading.Event()
        self._counters = Counters()

    @property
    def counters(self) -> Counters:
        return self._counters

    def stop(self) -> None:
        self._ending.set()

    def run(self) -> Counters:
        publisher = Publisher(self._settings, self._own, LineEncoder(), stop=self._ending)
        self._counters = publisher.counters
        try:
            for batch in self._batches():
                publisher.send(batch, time.time_ns())
            publisher.end()
            publisher.flush()
        except Stopped:
            pass
        finally:
            publisher.close()
        return self._counters

    def _batches(self) -> Iterator[list[bytes]]:
        waiting: list[bytes] = []
        for line in self._lines:
            if self._ending.is_set():
                return
            if line.strip():
                waiting.append(line.strip())
            if len(waiting) >= self._own.batch_lines:
                yield waiting
                waiting = []
        if waiting:
            yield waiting
