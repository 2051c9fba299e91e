"""Where datagrams go without Kafka: decoded here, and into PostgreSQL, a transaction a batch."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import psycopg2
import pyarrow as pa
import pyarrow.compute as pc

from infra.config import Settings
from infra.errors import BrokerError, StoreError
from infra.log import get
from jobs.enriching.settings import EnrichmentSettings
from jobs.flowexport.recordtable import FlowCollector
from jobs.hotstore import placing
from jobs.hotstore.keeper import HotKeeper
from jobs.sinks import hot, postgres
from jobs.sinks.alertbook import Evidence
from jobs.sinks.migrations import migrate
from jobs.sinks.postgres import RefusedData
from jobs.sinks.stores import StoreUnavailable
from jobs.sources.netflow import directstate, warm
from jobs.sources.netflow.directalerts import DirectAlerts
from jobs.sources.netflow.directmodels import DirectModels
from jobs.sources.netflow.directquality import DirectQuality
from jobs.sources.netflow.directrows import DirectDecoder, stored_rows
from jobs.sources.netflow.directtally import DirectTally
from jobs.sources.netflow.lookups import Lookups
from jobs.sources.netflow.settings import ExportedFlowSettings
from jobs.sources.netflow.switching import FlowWay
from schemas.exportedflows import EXPORTED_FLOWS, EXPORTED_FLOWS_TABLE
from schemas.interfacecounters import INTERFACE_COUNTERS
from schemas.rawflows import RawDatagram
from schemas.rawflowtable import own_tables
from schemas.records import HotTable
from sensors.netflow.settings import ExporterSensorSettings
from sensors.publish.counting import Counters, Stopped

_LOG = get("netflow.direct")
_APPLICATION = "flowlake-netflow"
#: What is known of exporters is written this often; writing it takes one part in so many of the time at most.
_SAVE_S, _SHARE = 10.0, 20
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0

#: Rows, and where they go.
Placed = Sequence[tuple[HotTable, pa.Table]]
#: Something done with a connection.
Work = Callable[[Any], None]


class _NameTaken(StoreUnavailable):
    """Two collectors would overwrite each other's state; the other one's connection may be one of our own that broke."""


class DirectOutlet:
    """Takes datagrams (:class:`sensors.netflow.outlet.FlowOutlet`), and has them stored when :meth:`send` returns.

    While PostgreSQL is away it is tried again, for as long as ``stop`` is not set: what comes meanwhile waits in front of it. A row that
    PostgreSQL will not have is left out, counted and logged; the others of its batch are stored.

    Attributes
    ----------
    counters
        Of datagrams.
    rows, rows_refused
        Records stored; rows of any table that PostgreSQL would not have.
    decoder
        What is known of exporters.
    alerts
        What raises them, where there is a model.
    quality
        Takes records out that break a rule.
    tally
        What is told of exporters and their records.
    way, last_way
        Where datagrams go, as it is kept with what is known of exporters; where they went when that was written last, before the start.

    Raises
    ------
    BrokerError
        On construction: PostgreSQL cannot be reached.
    StoreError
        It refuses, the state there is of another version, or another collector of this name is at work.
    """

    def __init__(self, settings: Settings, sensor_id: str, domain: str | None, stop: threading.Event) -> None:
        own = settings.section(ExporterSensorSettings)
        self._settings, self._stop = settings.hot, stop
        self._name = sensor_id
        self._own = own_tables(own.raw_retention_days)
        self.way = self.last_way = FlowWay.DIRECT
        self.counters = Counters()
        self.rows = 0
        self.rows_refused = 0
        self._locked: Any = None  # the connection that has the lock of the name
        self._saved, self._save_took = time.monotonic(), 0.0
        collector = FlowCollector(sensor_id, domain or own.domain or sensor_id)
        lookups = Lookups(settings.section(EnrichmentSettings))
        self.decoder = DirectDecoder(settings.section(ExportedFlowSettings), collector, lookups)
        self.alerts = DirectAlerts(settings)
        self.quality = DirectQuality(settings)
        self.tally = DirectTally()
        warm.decode()  # kernels are compiled before the first datagram waits for them
        try:
            for table in (EXPORTED_FLOWS_TABLE, hot.table_of(INTERFACE_COUNTERS), *self._own):
                migrate(hot.component(settings, table))
            self._load()
        except StoreUnavailable as e:
            raise BrokerError(str(e), "start it: flowlake up, or set hot.host and hot.port") from e
        unarchived = settings.hot.model_copy(update={"keep_until_archived": False})  # only records are archived
        self._keeper = HotKeeper(
            settings, [(settings.hot, [EXPORTED_FLOWS_TABLE, hot.table_of(INTERFACE_COUNTERS)]), (unarchived, [*self._own])]
        )
        self._keeper.start()
        self._models = self.decoder.models = DirectModels(settings)

    def _load(self) -> None:
        """What is known of exporters since the last time."""

        def load(connection: Any) -> None:
            with connection, connection.cursor() as cursor:
                if kept := directstate.load(cursor, self._name):
                    self._take_up(kept)

        try:
            self._once(load)
        except _NameTaken as e:
            raise StoreError(str(e), "give this one another name (--sensor-id), or end the other one") from e

    def _take_up(self, kept: directstate.KeptCollector) -> None:
        self.decoder.sessions, self.last_way = kept.sessions, kept.way
        if kept.owners:
            try:
                self.decoder.own_again(kept.owners)
            except ValueError as e:
                _LOG.warning("owners of flows are learnt again", cause=str(e))

    def _lock(self, connection: Any) -> None:
        """Have this collector's name to itself, as long as the connection is open."""
        if connection is self._locked:
            return
        with connection, connection.cursor() as cursor:
            if not directstate.locked(cursor, self._name):
                raise _NameTaken(f"{postgres.where(self._settings)}: another collector named {self._name} is at work")
        self._locked = connection

    def send(self, batch: Sequence[RawDatagram] | None, _heard_ns: int) -> None:
        """Decode datagrams and store their records.

        Raises
        ------
        Stopped
            The stop signal came while PostgreSQL was away: none of them is stored.
        """
        datagrams = batch or ()
        self.counters.received += len(datagrams)
        records = self.decoder.records(datagrams) if datagrams else None
        if records is not None:
            self._store(records)
            self._alert(records)
            self.counters.messages += 1
        else:
            self._heartbeat()
        if datagrams and self.decoder.interfaces:
            self._write(pa.Table.from_batches(self.decoder.interfaces), _interfaces, INTERFACE_COUNTERS.key)
        if (dead := self.decoder.dead.rows()) is not None:
            self._write(dead, lambda some: ((self._own.dead_letters, some),), "id")
        self.tally.read(self.decoder.sessions)
        self.counters.sent += len(datagrams)
        self.counters.bytes += sum(len(d.payload) for d in datagrams)

    def _store(self, records: pa.Table) -> None:
        """Store records, those that break a rule apart."""
        good, odd = self.quality.sift(records)
        if good.num_rows:
            self._write(good, self._flows, EXPORTED_FLOWS.key)
            self.tally.stored(good)
        if odd is not None:
            self._write(odd, lambda some: ((self._own.quarantine, some),), "flow_id")
            _LOG.warning("records break a rule", records=odd.num_rows, reason=odd["reason"][0].as_py(), flow_id=odd["flow_id"][0].as_py())

    def _alert(self, records: pa.Table) -> None:
        """Raise alerts about records, which are stored by now."""
        if pc.any(pc.equal(records["predicted_label"], 1)).as_py():
            evidence: list[Evidence] = []
            self._patiently(lambda: evidence.extend(self.alerts.found(records)))
            self._patiently(lambda: self.alerts.apply(evidence))

    def _flows(self, some: pa.Table) -> Placed:
        exports, raw = stored_rows(some)
        return (EXPORTED_FLOWS_TABLE, exports), (self._own.raw, raw)

    def _write(self, some: pa.Table, place: Callable[[pa.Table], Placed], key: str) -> None:
        """Store rows, all that PostgreSQL will have; ``key`` tells them apart."""
        try:
            self._until_done(lambda connection: self._insert(connection, place(some)))
        except RefusedData as e:
            if some.num_rows > 1:
                middle = some.num_rows // 2
                self._write(some.slice(0, middle), place, key)
                self._write(some.slice(middle), place, key)
                return
            self.rows_refused += 1
            _LOG.warning("a record was refused", cause=str(e), **{key: some[key][0].as_py()})

    def _insert(self, connection: Any, placed: Placed) -> None:
        for table, rows in placed:
            placing.ready(connection, self._settings, table, rows[table.time])
        due = self._due()
        with connection, connection.cursor() as cursor:
            new = {table.name: hot.put(cursor, rows, table) for table, rows in placed}
            if due:
                self._save(cursor)
        self.rows += new.get(EXPORTED_FLOWS_TABLE.name, 0)

    def remember(self) -> bool:
        """Write what is known of exporters now, if PostgreSQL is there; whether it was."""
        self._saved = -math.inf
        return self._heartbeat()

    def _heartbeat(self) -> bool:
        """Ask whether PostgreSQL is there, once; write what is known of exporters where that is due."""

        def ask(connection: Any) -> None:
            with connection, connection.cursor() as cursor:
                cursor.execute("SELECT 1")
                if self._due():
                    self._save(cursor)

        try:
            self._once(ask)
            self.counters.messages += 1
            return True
        except (StoreUnavailable, StoreError, RefusedData) as e:
            _LOG.debug("no answer", cause=str(e))
            return False

    def _once(self, work: Work) -> None:
        """Do something with the connection; StoreUnavailable, StoreError or RefusedData: what became of it otherwise."""
        connection = postgres.kept(self._settings, _APPLICATION)
        try:
            self._lock(connection)
            work(connection)
        except psycopg2.Error as e:
            postgres.discard(connection)
            raise hot.meant(e, self._settings) from e
        except RefusedData:
            postgres.discard(connection)
            raise

    def _until_done(self, work: Work) -> None:
        """Do something with the connection, again while PostgreSQL is away or refuses to work."""
        self._patiently(lambda: self._once(work))

    def _patiently(self, step: Callable[[], None]) -> None:
        pause, told = _FIRST_PAUSE_S, False
        while True:
            try:
                return step()
            except (StoreUnavailable, StoreError) as e:
                if not told:
                    _LOG.warning("waiting for PostgreSQL; datagrams wait in memory", cause=str(e))
                    told = True
            if self._stop.wait(pause):
                raise Stopped
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _due(self) -> bool:
        return time.monotonic() - self._saved >= max(_SAVE_S, _SHARE * self._save_took)

    def _save(self, cursor: Any) -> None:
        began = time.monotonic()
        directstate.save(cursor, self._name, self.decoder.sessions, self.way)
        self._saved = time.monotonic()
        self._save_took = self._saved - began

    def drop(self, datagrams: int) -> None:
        """Count datagrams given up in front of it."""
        self.counters.received += datagrams
        self.counters.dropped += datagrams

    def end(self) -> None:
        """Write what is known of exporters, for the next start."""
        self.tally.read(self.decoder.sessions, now=True)

        def save(connection: Any) -> None:
            with connection, connection.cursor() as cursor:
                self._save(cursor)
                directstate.save_owners(cursor, self._name, self.decoder.owners)

        self._until_done(save)

    def flush(self, _timeout_s: float | None = None) -> bool:
        """All that was sent is stored already."""
        return True

    def close(self, _timeout_s: float = 10.0) -> int:
        """Let go of PostgreSQL; number of datagrams that were not stored."""
        self._models.close()
        self._keeper.stop()
        return self.counters.received - self.counters.sent - self.counters.dropped


def _interfaces(some: pa.Table) -> Placed:
    return ((hot.table_of(INTERFACE_COUNTERS), hot.hot_rows(some, INTERFACE_COUNTERS)),)
