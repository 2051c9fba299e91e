"""The publisher of packets: chunks of frames to ``raw-packets``."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

from infra.config import Settings
from schemas.packets import RAW_PACKETS
from schemas.wire import CLOCK_END, CONTENT_PACKETS, Header
from sensors.packets import encoding
from sensors.packets.frames import FrameBatch
from sensors.packets.replay import Chunk
from sensors.packets.settings import SensorSettings
from sensors.publish import publisher


class FrameEncoder:
    """Frames as messages of ``raw-packets`` (:class:`sensors.publish.publisher.Encoder`)."""

    topic = RAW_PACKETS
    content_type = CONTENT_PACKETS
    empty = encoding.EMPTY
    max_bytes = encoding.MAX_MESSAGE_BYTES

    def __init__(self, snaplen: int) -> None:
        self.headers: Sequence[tuple[str, bytes]] = ((Header.SNAPLEN, b"%d" % snaplen),)

    def split(self, batch: FrameBatch, partitions: int) -> Iterator[tuple[int, bytes, int]]:
        return encoding.split(batch, partitions)


class PacketPublisher(publisher.Publisher[FrameBatch]):
    """Publish chunks of one packet sensor; see :class:`sensors.publish.publisher.Publisher`."""

    def __init__(
        self,
        settings: Settings,
        sensor_id: str | None = None,
        domain: str | None = None,
        live: bool = False,
        *,
        stop: threading.Event | None = None,
        buffer_bytes: int | None = None,
    ) -> None:
        sensor = settings.section(SensorSettings)
        super().__init__(settings, sensor, FrameEncoder(sensor.snaplen), sensor_id, domain, live, stop=stop, buffer_bytes=buffer_bytes)

    def publish(self, chunk: Chunk) -> None:
        """Send a chunk; its ``end`` closes the run, and what follows opens the next.

        Raises
        ------
        BrokerError
            Not live: a message was refused for good.
        Stopped
            The stop signal came while waiting for the broker.
        """
        if chunk.end or chunk.clock == CLOCK_END:
            if len(chunk.frames):  # these come with the old promise; the end follows behind them
                self.send(chunk.frames, self.clock)
            self.end()
        else:
            self.send(chunk.frames, chunk.clock)


def publishing(
    settings: Settings, sensor_id: str | None = None, domain: str | None = None, *, stop: threading.Event
) -> AbstractContextManager[PacketPublisher]:
    """A publisher for a source of packets that ends; see :func:`sensors.publish.publisher.publishing`."""
    return publisher.publishing(PacketPublisher(settings, sensor_id, domain, stop=stop))
