"""Sending what a sensor takes to its topic: every flush tells every partition the sensor's clock.

Order and watermarks: one producer, idempotent, retrying for ever, so that a message is never overtaken by a later one of its partition. A
clock goes out only behind, or together with, the packets below it. What the producer holds is bounded by ``sensor.buffer_mb``: beyond it
:meth:`Publisher.publish` waits, which is the back-pressure of a replay; a live sensor drops from a queue in front of it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar

from kafka import KafkaProducer
from kafka import errors as kafka_errors

from infra.config import Settings
from infra.errors import BrokerError, one_line
from schemas.topics import TopicSpec
from schemas.wire import CLOCK_END, KIND_END, KIND_HEARTBEAT, KIND_PACKETS, Header
from sensors.publish import broker
from sensors.publish.counting import Counters, Stopped
from sensors.publish.settings import PublishSettings

log = logging.getLogger(__name__)

#: A batch of records of a sensor.
B = TypeVar("B", bound=Sized)
C = TypeVar("C", bound=Sized, contravariant=True)
#: A publisher of some kind.
P = TypeVar("P", bound="Publisher[Any]")

#: What a message costs in the producer beside its value: headers, futures, the batch around it.
_OVERHEAD = 2048
_ROOM = 64 * 1024  # headers and batch framing above MAX_MESSAGE_BYTES


class Encoder(Protocol[C]):
    """How the batches of a sensor become messages: what a source brings to the publisher.

    Attributes
    ----------
    topic : where they go.
    content_type : Kafka header of each message.
    empty : value of a message without records.
    max_bytes : longest value.
    headers : further Kafka headers of each message.
    """

    topic: TopicSpec
    content_type: str
    empty: bytes
    max_bytes: int
    headers: Sequence[tuple[str, bytes]]

    def split(self, batch: C, partitions: int) -> Iterator[tuple[int, bytes, int]]:
        """Messages for the partitions that have records: ``(partition, value, records)``, in the order of the partitions.

        What belongs together (the packets of a flow, the readings of a device) goes to one partition, in order.
        """
        ...


class Publisher(Generic[B]):
    """Publish the batches of one sensor.

    Parameters
    ----------
    settings
        Where the broker is.
    sensor
        Who the sensor is, and what may wait for the broker.
    encoder
        How its batches become messages.
    sensor_id, domain
        Default to the settings'; the domain to the sensor id.
    live
        Failed sends are counted as dropped (live) or raised as :class:`BrokerError` by the next call (replay, generate).
    stop
        When set, waiting for the broker ends with :class:`Stopped`.
    buffer_bytes
        Bound of what waits for an acknowledgement; ``buffer_mb`` of ``sensor`` by default.

    Raises
    ------
    BrokerError
        On construction: no broker, or no topic.
    """

    def __init__(
        self,
        settings: Settings,
        sensor: PublishSettings,
        encoder: Encoder[B],
        sensor_id: str | None = None,
        domain: str | None = None,
        live: bool = False,
        *,
        stop: threading.Event | None = None,
        buffer_bytes: int | None = None,
    ) -> None:
        self.settings = settings
        self.sensor_id = sensor_id or sensor.name
        self.domain = domain or sensor.domain or self.sensor_id
        self.live = live
        self.counters = Counters()
        self.topic = settings.topic(encoder.topic.name)
        self._encoder = encoder
        self._stop = stop or threading.Event()
        self._bound = buffer_bytes or sensor.buffer_mb * 1024 * 1024
        self._changed = threading.Condition()
        self._failure: BaseException | None = None
        self._in_run = False
        self._last_run = 0
        self._producer: KafkaProducer = broker.connect(
            settings.kafka, client_id=f"flowlake-sensor-{self.sensor_id}", max_request_bytes=encoder.max_bytes + _ROOM
        )
        try:
            self.partitions = broker.partition_count(self._producer, settings.kafka, self.topic)
        except BaseException:
            self._producer.close(timeout=0)
            raise

    # -- sending ---------------------------------------------------------------------------------------------------------------

    def send(self, batch: B | None, clock: int) -> None:
        """One flush: records (in time order) and the promise ``clock`` (ns), to every partition.

        Raises
        ------
        BrokerError
            Not live: a message was refused for good.
        Stopped
            The stop signal came while waiting for the broker.
        """
        self._open_run()
        clock = max(clock, self._clock)
        records = 0 if batch is None else len(batch)
        self._received += records
        self.counters.received += records
        self._put_packets = 0
        try:
            self._flush_to_all(batch, clock)
        except BaseException:
            self._lost(records - self._put_packets)
            raise
        self._clock = self.counters.clock = clock

    def _flush_to_all(self, batch: B | None, clock: int) -> None:
        spoken = 0
        pending: tuple[int, bytes, int] | None = None
        for message in () if batch is None else self._encoder.split(batch, self.partitions):
            if pending is not None:
                # Only the last message of a partition's share may carry the new clock.
                more = message[0] == pending[0]
                self._put(pending[0], KIND_PACKETS, self._clock if more else clock, pending[1], pending[2])
            for partition in range(spoken, message[0]):
                self._put(partition, KIND_HEARTBEAT, clock, self._encoder.empty, 0)
            spoken = message[0] + 1
            pending = message
        if pending is not None:
            self._put(pending[0], KIND_PACKETS, clock, pending[1], pending[2])
        for partition in range(spoken, self.partitions):
            self._put(partition, KIND_HEARTBEAT, clock, self._encoder.empty, 0)

    def heartbeat(self, clock: int) -> None:
        """Tell every partition the clock (ns) alone."""
        self.send(None, clock)

    def note(self, partition: int, content_type: str, value: bytes) -> None:
        """A message of another content type, without records, in its place among those of a partition.

        Raises
        ------
        BrokerError, Stopped
            As :meth:`send`.
        """
        self._open_run()
        self._put(partition, KIND_HEARTBEAT, self._clock, value, 0, content_type=content_type)

    def end(self) -> None:
        """Close the run: no packet of it will follow. Without an open run, an empty one is opened and closed."""
        self._open_run()
        for partition in range(self.partitions):
            self._put(partition, KIND_END, CLOCK_END, self._encoder.empty, 0, wait=False)
        self._in_run = False

    @property
    def clock(self) -> int:
        """The promise made last in the open run, ns; 0 without one."""
        return self._clock if self._in_run else 0

    @property
    def in_run(self) -> bool:
        """A run is open: packets or heartbeats went out, the end did not."""
        return self._in_run

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until everything is acknowledged; False when ``timeout_s`` passed first.

        Raises
        ------
        BrokerError, Stopped
            As :meth:`publish`.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        done = self._wait(lambda: self.counters.buffered_bytes == 0, deadline)
        self._raise_failure()
        return done

    def close(self, timeout_s: float = 10.0) -> int:
        """Wait for what is under way, at most ``timeout_s``, and disconnect; number of packets that were not acknowledged."""
        self._stop = threading.Event()  # a second signal does not cut this short: the time limit does
        self._wait(lambda: self.counters.buffered_bytes == 0, time.monotonic() + timeout_s)
        left = self.counters.buffered_bytes > 0
        try:
            self._producer.close(timeout=0 if left else 5)
        except kafka_errors.KafkaError as e:
            log.warning("closing the producer: %s", e)
        return self.counters.received - self.counters.sent - self.counters.dropped

    def drop(self, packets: int) -> None:
        """Count packets given up in front of the publisher (a live sensor's full queue)."""
        self.counters.received += packets
        if self._in_run:
            self._received += packets
        else:
            self._carried += packets  # told by the first message of the next run
        self._lost(packets)

    # -- inside ----------------------------------------------------------------------------------------------------------------

    _received = 0  # of this run, as are the following
    _dropped = 0
    _carried = 0
    _clock = 0
    _put_packets = 0

    def _lost(self, packets: int) -> None:
        with self._changed:
            self.counters.dropped += packets
            self._dropped += packets

    def _open_run(self) -> None:
        if self._in_run:
            return
        self._in_run = True
        self._last_run = max(time.time_ns(), self._last_run + 1)
        self._received = self._dropped = self._carried
        self._carried = 0
        self._clock = 0
        self._seq = [0] * self.partitions
        self.counters.runs += 1
        # The kernel counts drops from when the socket was opened, as the first run does; they are not counted again in a later one.
        self._kernel_before = self.counters.kernel_dropped if self.counters.runs > 1 else 0
        self._fixed = [
            (Header.SENSOR, self.sensor_id.encode()),
            (Header.DOMAIN, self.domain.encode()),
            (Header.RUN, b"%d" % self._last_run),
            (Header.PARTITIONS, b"%d" % self.partitions),
            *self._encoder.headers,
        ]

    def _put(self, partition: int, kind: str, clock: int, value: bytes, packets: int, wait: bool = True, content_type: str = "") -> None:
        size = len(value) + _OVERHEAD
        # One message always passes: a bound smaller than it would wait for ever.
        if wait:
            self._wait(lambda: self.counters.buffered_bytes == 0 or self.counters.buffered_bytes + size <= self._bound, None)
        self._raise_failure()
        headers = [
            (Header.CONTENT_TYPE, (content_type or self._encoder.content_type).encode()),
            *self._fixed,
            (Header.KIND, kind.encode()),
            (Header.CLOCK, b"%d" % clock),
            (Header.SEQ, b"%d" % self._seq[partition]),
            (Header.RECEIVED, b"%d" % self._received),
            (Header.DROPPED, b"%d" % self._dropped),
            (Header.KERNEL_DROPPED, b"%d" % (self.counters.kernel_dropped - self._kernel_before)),
        ]
        self._seq[partition] += 1
        self._put_packets += packets
        with self._changed:
            self.counters.buffered_bytes += size
        try:
            future = self._producer.send(self.topic, value=value, headers=headers, partition=partition)
        except (kafka_errors.KafkaError, ValueError) as e:
            self._failed(size, packets, e)
            self._raise_failure()
            return
        future.add_callback(lambda _: self._acknowledged(size, len(value), packets))
        future.add_errback(lambda e: self._failed(size, packets, e))

    def _acknowledged(self, size: int, value: int, packets: int) -> None:
        with self._changed:
            c = self.counters
            c.buffered_bytes -= size
            c.sent += packets
            c.messages += 1
            c.bytes += value
            self._changed.notify_all()

    def _failed(self, size: int, packets: int, error: BaseException) -> None:
        with self._changed:
            self.counters.buffered_bytes -= size
            self.counters.send_errors += 1
            self.counters.dropped += packets
            self._dropped += packets
            if not self.live and self._failure is None:
                self._failure = error
            self._changed.notify_all()
        log.error("%d packets for %s were not sent: %s", packets, self.topic, error)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            error, self._failure = self._failure, None
            raise BrokerError(
                f"Kafka broker {self.settings.kafka.bootstrap_servers} refused packets for {self.topic}: "
                f"{type(error).__name__}: {one_line(error)}",
                "flowlake topics shows how the topic differs from its declaration",
            ) from error

    def _wait(self, ready: Callable[[], bool], deadline: float | None) -> bool:
        """Wait for ``ready`` (True), the deadline (False), the stop signal (Stopped) or, when not live, a failure (True)."""
        warned = time.monotonic() + 5
        with self._changed:
            while not ready() and self._failure is None:
                if self._stop.is_set():
                    raise Stopped
                now = time.monotonic()
                if deadline is not None and now >= deadline:
                    return False
                if now >= warned:
                    log.warning("waiting for the broker %s (%d bytes)", self.settings.kafka.bootstrap_servers, self.counters.buffered_bytes)
                    warned = now + 30
                self._changed.wait(min(0.2, deadline - now) if deadline is not None else 0.2)
        return True


@contextmanager
def publishing(publisher: P) -> Iterator[P]:
    """Use a publisher for what ends. On leaving everything is flushed, or after its ``stop`` its run is ended early; then it is closed.

    Raises
    ------
    BrokerError
        On leaving: the broker did not take everything.
    """
    lost = 0
    try:
        try:
            yield publisher
            publisher.flush()
        except Stopped:
            if publisher.in_run:
                publisher.end()
    finally:
        lost = publisher.close()
    counters = publisher.counters
    if lost or counters.dropped:
        raise BrokerError(
            f"Kafka broker {publisher.settings.kafka.bootstrap_servers} did not take "
            f"{lost + counters.dropped} of {counters.received} packets",
            "flowlake status shows whether it runs",
        )
