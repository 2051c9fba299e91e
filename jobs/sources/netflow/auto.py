"""Where datagrams go in mode ``auto``: few records into PostgreSQL, decoded here; many undecoded to Kafka, for the stream.

To Kafka: all that was taken is stored by then; what is known of each exporter goes there in front of its next datagram, and is waited for.
Back: templates are known, since whatever defines one is read on its way to Kafka. An exporter whose data wait in the stream for a template
stays on Kafka until it has come, since it has to come there.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Sequence

from infra.config import Settings
from infra.errors import BrokerError
from infra.log import get
from jobs.flowexport import state
from jobs.flowexport.handover import let_go, packed
from jobs.flowexport.session import ExportSession
from jobs.sources.netflow.direct import DirectOutlet
from jobs.sources.netflow.following import TemplateFollower
from jobs.sources.netflow.switching import FlowWay, WaySwitch
from schemas.rawflows import CONTENT_EXPORTERS, RawDatagram
from sensors.netflow.publishing import RawFlowPublisher, raw_flow_publisher
from sensors.netflow.settings import ExporterSensorSettings
from sensors.netflow.streams import stream_of
from sensors.publish.connecting import connected
from sensors.publish.counting import Counters, Stopped

_LOG = get("netflow.auto")
#: Kafka has so long to take what is known of exporters; after a failure it is tried again not before so long, s.
_PATIENCE_S, _AGAIN_S = 10.0, 30.0
#: What is known of exporters is written this often while Kafka is the way, s; after a failure not before so long.
_KEEP_S, _KEEP_AGAIN_S = 10.0, 60.0
#: Datagrams of exporters that are held wait for Kafka, so many at most; the oldest go first.
MOST_WAITING = 20_000
#: Counters that are sums over both ways.
_SUMS = ("received", "sent", "dropped", "messages", "bytes", "send_errors", "buffered_bytes")


class AutoOutlet:
    """Takes datagrams (:class:`sensors.netflow.outlet.FlowOutlet`), and chooses their way by how many records they hold.

    Attributes
    ----------
    direct
        The way into PostgreSQL.
    switch
        Decides; its ``way`` is in force.
    turns
        How often it went over to each way.
    held
        Exporters (addresses of senders) that go to Kafka while the others go into PostgreSQL.
    waiting
        Datagrams of these, as long as Kafka has not been there since the start: nobody else's wait with them.

    Raises
    ------
    BrokerError
        On construction: PostgreSQL cannot be reached.
    StoreError
        It refuses, or what is kept there is of another version.
    """

    def __init__(self, settings: Settings, sensor_id: str, domain: str | None, stop: threading.Event) -> None:
        own = settings.section(ExporterSensorSettings)
        self._make = lambda: raw_flow_publisher(settings, sensor_id, domain, live=True, stop=stop, share=2)
        self._stop = stop
        self._counters = Counters()
        self.direct = DirectOutlet(settings, sensor_id, domain, stop)
        self.switch = WaySwitch(own.auto_threshold, own.auto_lower, own.auto_window_s, own.auto_hold_s)
        self.turns: Counter[FlowWay] = Counter()
        self.held: set[bytes] = set()
        self.waiting: deque[RawDatagram] = deque()
        self._kafka: RawFlowPublisher | None = None
        self._not_before = self._keep_at = 0.0
        decoder = self.direct.decoder
        self._follower = TemplateFollower(decoder.sessions, decoder.rules)
        self._begin()
        self._connecting = threading.Thread(target=self._connect, name="connect", daemon=True)
        self._connecting.start()

    def _begin(self) -> None:
        """Go on where the last run left off; without Kafka as far as that can be."""
        try:
            if self.direct.last_way is FlowWay.KAFKA:
                self._kafka = self._make()
                self.switch.way = self.direct.way = FlowWay.KAFKA
                return
        except BrokerError as e:
            _LOG.warning("datagrams went to Kafka before, and go to PostgreSQL now", cause=str(e))
        sessions = self.direct.decoder.sessions.known.values()
        self.held = {s.key.sender for s in sessions if any(not w.body for some in s.room.sets.values() for w in some)}

    def _connect(self) -> None:
        """Find Kafka, however long that takes; what goes into PostgreSQL does not wait for it."""
        if self._kafka is None:
            self._kafka = connected(self._make, self._stop)

    @property
    def way(self) -> FlowWay:
        """Where datagrams go now, but for those of :attr:`held`."""
        return self.switch.way

    @property
    def counters(self) -> Counters:
        """Sums over both ways."""
        ways = [self.direct.counters, *([self._kafka.counters] if self._kafka else [])]
        for name in _SUMS:
            setattr(self._counters, name, sum(getattr(one, name) for one in ways))
        return self._counters

    def send(self, batch: Sequence[RawDatagram] | None, clock: int) -> None:
        """Take datagrams.

        Raises
        ------
        Stopped
            The stop signal came while it waited for PostgreSQL, or Kafka.
        """
        now_us = time.time_ns() // 1000
        if batch:
            self._hand_on(batch, clock)
            now_us = max(one.received_us for one in batch)
        elif self.way is FlowWay.DIRECT:
            self.direct.send(None, clock)
            self._overdue([], clock)
        else:
            self._connected().send(None, clock)
        self._turn(now_us)

    def _hand_on(self, batch: Sequence[RawDatagram], clock: int) -> None:
        if self.way is FlowWay.KAFKA:
            theirs, ours = list(batch), []
        else:
            theirs, ours = [one for one in batch if one.sender in self.held], [one for one in batch if one.sender not in self.held]
        before = self.direct.decoder.decoded
        try:
            if ours:
                self.direct.send(ours, clock)
        except Stopped:
            self.direct.drop(len(theirs))
            raise
        records = self.direct.decoder.decoded - before
        if theirs:
            records += self._follower.follow(theirs)
        self._overdue(theirs, clock)
        times = [one.received_us for one in batch]
        self.switch.note(records, min(times), max(times))

    def _overdue(self, theirs: Sequence[RawDatagram], clock: int) -> None:
        """Send to Kafka what has to go there, behind what waits for it; what is too much is dropped, and counted."""
        if self._kafka is not None:
            some = [*self.waiting, *theirs]
            self.waiting.clear()
            if some:
                self._connected().send(some, clock)
            return
        self.waiting.extend(theirs)
        more = max(0, len(self.waiting) - MOST_WAITING)
        for _ in range(more):
            self.waiting.popleft()
        self.direct.drop(more)

    def _connected(self) -> RawFlowPublisher:
        """Kafka, which was the way, or has been there since."""
        assert self._kafka is not None
        self._kafka.counters.kernel_dropped = self._counters.kernel_dropped
        return self._kafka

    # -- switching -------------------------------------------------------------------------------------------------------------

    def _turn(self, now_us: int) -> None:
        wanted = self.switch.wanted(now_us)
        if wanted is not self.way:
            if wanted is FlowWay.KAFKA:
                self._over()
            else:
                self._back(now_us)
        elif self.held:
            self._release(now_us)
        if self.way is FlowWay.KAFKA and time.monotonic() >= self._keep_at:
            self._keep()

    def _over(self) -> None:
        """To Kafka, once it has what is known of the exporters."""
        if self._kafka is None or time.monotonic() < self._not_before:
            return
        sessions = [s for s in self.direct.decoder.sessions.known.values() if s.key.sender not in self.held]
        if not self._handed(self._kafka, sessions):
            self._not_before = time.monotonic() + _AGAIN_S
            _LOG.warning("Kafka does not take what is known of exporters; datagrams still go to PostgreSQL", again_s=_AGAIN_S)
            return
        for session in sessions:
            let_go(session)
        self.held.clear()
        self._turned(FlowWay.KAFKA)

    @staticmethod
    def _handed(kafka: RawFlowPublisher, sessions: Sequence[ExportSession]) -> bool:
        """Whether Kafka has it all; if not, what of it there is does no harm: it is as of now, and newer will follow."""
        shares: dict[int, list[ExportSession]] = {}
        for session in sessions:
            key = session.key
            shares.setdefault(stream_of(key.sender, key.agent, key.version, key.domain) % kafka.partitions, []).append(session)
        failed = kafka.counters.send_errors
        for partition, some in shares.items():
            for piece in packed(some):
                kafka.note(partition, CONTENT_EXPORTERS, state.encode(piece))
        return kafka.flush(_PATIENCE_S) and kafka.counters.send_errors == failed

    def _back(self, now_us: int) -> None:
        """To PostgreSQL, but for exporters whose data wait in the stream."""
        self.held = self._waiting(now_us)
        self._turned(FlowWay.DIRECT)
        self._close_run()

    def _release(self, now_us: int) -> None:
        """Take back exporters whose templates have come."""
        self.held &= self._waiting(now_us)
        self._close_run()

    def _close_run(self) -> None:
        if not self.held and self._kafka is not None and self._kafka.in_run:
            self._kafka.end()

    def _waiting(self, now_us: int) -> set[bytes]:
        found = set()
        for session in self.direct.decoder.sessions.known.values():
            if session.room.sets:
                session.room.expire(now_us, self.direct.decoder.rules)
            if session.room.sets:
                found.add(session.key.sender)
        return found

    def _turned(self, way: FlowWay) -> None:
        self.switch.way = self.direct.way = way
        self.turns[way] += 1
        _LOG.info("datagrams go another way", to=str(way), records_per_s=round(self.switch.rate), held=len(self.held))
        self._keep()

    def _keep(self) -> None:
        """Write what is known of exporters, which PostgreSQL's own batches do while it is the way."""
        self._keep_at = time.monotonic() + (_KEEP_S if self.direct.remember() else _KEEP_AGAIN_S)

    # -- the end ---------------------------------------------------------------------------------------------------------------

    def drop(self, datagrams: int) -> None:
        """Count datagrams given up in front of it."""
        kafka = self._kafka
        (kafka if kafka is not None and self.way is FlowWay.KAFKA else self.direct).drop(datagrams)

    def end(self) -> None:
        """Nothing will follow: what is known of exporters is written for the next start."""
        if self._kafka is not None and self._kafka.in_run:
            self._kafka.end()
        self.direct.end()

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait for Kafka; whether all is there."""
        return self._kafka is None or self._kafka.flush(timeout_s)

    def close(self, timeout_s: float = 10.0) -> int:
        """Let go of both; number of datagrams that did not arrive."""
        self._connecting.join()
        self.direct.drop(len(self.waiting))
        lost = self.direct.close(timeout_s)
        if self._kafka is not None:
            left = self._kafka.close(timeout_s)
            self._kafka.counters.dropped += left
        self.direct.counters.dropped += lost
        return 0
