"""What becomes of datagrams that have come: all are kept as long as there is room, then one stands for several, then they are dropped."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from schemas.rawflows import RawDatagram
from sensors.netflow.draining import Drained
from sensors.netflow.exporters import ExporterTable, SendingExporter
from sensors.netflow.pressure import sampling
from sensors.netflow.settings import ExporterSensorSettings
from sensors.netflow.streams import raw_datagram
from sensors.netflow.waiting import DatagramQueue


@dataclass(slots=True)
class IntakeCounts:
    """Datagrams, unless said otherwise: ``received = kept + thinned + limited + dropped``.

    Attributes
    ----------
    received, bytes
        That came, and their bytes.
    kept
        Handed on.
    thinned, limited
        Given up since the queue was filling, or their exporter sent more than its limit; others stand for them.
    dropped
        Lost: the queue was full.
    """

    received: int = 0
    bytes: int = 0
    kept: int = 0
    thinned: int = 0
    limited: int = 0
    dropped: int = 0


class DatagramIntake:
    """From the sockets into the queue, by the rules of the settings; several threads may call it.

    Parameters
    ----------
    settings
        Limits.
    queue
        Whatever is kept is put there.

    Attributes
    ----------
    exporters
        What is known of each.
    counts
        Over all of them.
    """

    def __init__(self, settings: ExporterSensorSettings, queue: DatagramQueue) -> None:
        self._settings = settings
        self._queue = queue
        self._lock = threading.Lock()
        self.exporters = ExporterTable(settings.most_exporters)
        self.counts = IntakeCounts()

    def take(self, drained: Drained) -> None:
        """Keep what may be kept."""
        with self._lock:
            depth = self._queue.depth
            kept: list[RawDatagram] = []
            for payload, sender, port, received_us in zip(*drained.columns, strict=True):
                datagram = raw_datagram(payload, sender, port, drained.listening, received_us)
                stands = self._decide(datagram, depth)
                if stands:
                    kept.append(datagram if stands == 1 else datagram._replace(kept_of=stands))
                    depth += self._queue.share(len(payload))
            if kept:
                self._queue.put(kept)

    def _decide(self, datagram: RawDatagram, depth: float) -> int:
        """For how many datagrams this one stands; 0: it is given up."""
        counts = self.counts
        exporter = self.exporters.of(datagram.sender)
        exporter.hear(datagram)
        counts.received += 1
        counts.bytes += len(datagram.payload)
        pressed, over = self._pressed(depth), exporter.over(self._settings.exporter_rate)
        stands = self._stands(exporter, datagram, depth, max(pressed, over))
        if stands is None:
            exporter.dropped += 1
            counts.dropped += 1
        elif stands:
            exporter.kept += 1
            counts.kept += 1
        else:
            exporter.thinned += 1
            if over > pressed:
                counts.limited += 1
            else:
                counts.thinned += 1
        return stands or 0

    def _pressed(self, depth: float) -> int:
        s = self._settings
        return sampling(depth, s.sample_from, s.drop_from, s.most_sampling)

    def _stands(self, exporter: SendingExporter, datagram: RawDatagram, depth: float, every: int) -> int | None:
        """For how many datagrams it stands at 1:``every``; 0: others will stand for it; None: none will, the queue is full."""
        if every == 1 and not exporter.owes(datagram.stream):
            return 1
        vital = exporter.vital(datagram)
        if depth >= self._settings.drop_from and (depth >= 1 or not vital):
            return None
        return 1 if vital else exporter.thin(datagram.stream, every)

    def known(self) -> list[tuple[bytes, SendingExporter, int]]:
        """Each exporter by its address, and N of the 1:N that is in force for it now."""
        with self._lock:
            pressed, limit = self._pressed(self._queue.depth), self._settings.exporter_rate
            return [(sender, exporter, max(pressed, exporter.over(limit))) for sender, exporter in self.exporters]

    @property
    def unaccounted(self) -> int:
        """Datagrams given up that none stands for, yet or ever."""
        with self._lock:
            return self.exporters.unaccounted + sum(exporter.skipped for _, exporter in self.exporters)
