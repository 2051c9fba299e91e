"""One run: servers, stream and collector started, the capture exported, everything watched until it is in the stores, and stopped."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow as pa
from deltalake.exceptions import DeltaError
from kafka import KafkaConsumer, TopicPartition

from infra import files
from infra.config import Settings
from infra.errors import StackError
from infra.kafka.client import client_options
from jobs.runtime import lake
from ops.harness import driver
from ops.harness.accounts import Check
from ops.harness.exported import account
from ops.harness.exported.routers import Router
from ops.harness.parts import START_S, Parts
from ops.harness.place import Place, write_conf
from ops.harness.servers import Servers
from ops.harness.stores import Stores
from schemas.exportedflows import EXPORTED_FLOWS, FLOW_ACCOUNTS, FLOWS_ENRICHED, TABLE
from sensors.netflow.sensor import FlowExportSensor
from sensors.netflow.settings import ExporterSensorSettings

Say = Callable[[str], None]
#: Nothing arriving for so long means that a part is stuck, seconds.
STALL_S = 120.0


@dataclass
class ExportOutcome:
    """What a run came to."""

    capture: str
    routers: list[Router]
    collected: dict[str, int]
    rows: pa.Table
    checks: list[Check]
    seconds: float
    sums: dict[str, int] = field(default_factory=dict)

    @property
    def closes(self) -> bool:
        """Whether all accounts close."""
        return all(check.closes for check in self.checks)


class ExportTrial:
    """One run. :meth:`run` does everything; :meth:`stop` ends what was started, whatever state it is in.

    Parameters
    ----------
    settings, where
        The demo's settings and folders (:mod:`ops.harness.place`).
    routers
        Who exports.
    capture
        What they see.
    say
        Told what happens, one line at a time.
    """

    def __init__(self, settings: Settings, where: Place, routers: list[Router], capture: Callable[[], Path], say: Say) -> None:
        self.settings, self.place, self.routers, self.say = settings, where, routers, say
        self._make = capture
        self.capture = where.base
        self.servers, self.parts = Servers(settings, where), Parts(where)
        self._stores = Stores(settings)
        self._stop = threading.Event()
        self._began = time.monotonic()
        self._collector: FlowExportSensor | None = None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def run(self) -> ExportOutcome:
        """Everything up to the checked accounts.

        Raises
        ------
        FlowlakeError
            A part did not start, or ended.
        """
        collected, behind, _ = self.measured()
        return self._account(collected, behind)

    def measured(self) -> tuple[dict[str, int], str, float]:
        """Everything up to the stores: the collector's account, what is behind, and when the last record was stored (monotonic seconds)."""
        self._prepare()
        self.capture = self._make()
        self._start()
        ports = self.settings.section(ExporterSensorSettings).ports
        for router, port in zip(self.routers, ports, strict=False):
            router.export(self.capture, self.settings, port, self._stop)
            self.say(f"{router.name}: {account.exported(router)} exported as {router.protocol}, 1 of {router.sampling} packets")
        collected = self._collected()
        behind = self._arrived()
        return collected, behind, time.monotonic()

    def _prepare(self) -> None:
        self.parts.stop(20)
        self.place.clear()
        write_conf(self.settings, self.place.conf)
        self.servers.start(self.say)
        queries = [query.name for query in self.settings.catalogue.source("netflow").queries]
        files.replace(self.parts.file(driver.MODEL), json.dumps({"state": "ready"}))
        self.parts.spawn("stream", "ops.harness.driver", str(self.place.run), *queries)

    def _start(self) -> None:
        """Wait for servers and Spark, then start queries and collector."""
        self.servers.wait()
        deadline = time.monotonic() + START_S
        while self.parts.state("stream").get("state") != "warm":
            self.parts.must_run("stream")
            self.parts.in_time(deadline, "Spark")
            time.sleep(0.1)
        self.say("Spark is up")
        self.parts.file(driver.GO).touch()
        self._collector = FlowExportSensor(self.settings, "collector")
        self._thread = threading.Thread(target=self._collect, args=(self._collector,), name="collector", daemon=True)
        self._thread.start()
        while not self._collector.listener.sockets:
            self._must_collect()
            time.sleep(0.05)
        ports = ", ".join(str(port) for port in self.settings.section(ExporterSensorSettings).ports)
        self.say(f"the collector listens on UDP ports {ports} of this machine")

    def _collect(self, sensor: FlowExportSensor) -> None:
        try:
            sensor.run()
        except BaseException as e:
            self._failure = e

    def _must_collect(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _collected(self) -> dict[str, int]:
        """Let the collector send what it has, and end; its account."""
        assert self._collector is not None
        assert self._thread is not None
        wanted = sum(int(router.summary["datagrams"]) for router in self.routers)
        deadline = time.monotonic() + 10
        while self._collector.account().received < wanted and time.monotonic() < deadline:
            time.sleep(0.05)
        self._collector.stop()
        self._thread.join(30)
        self._must_collect()
        return asdict(self._collector.account())

    def _arrived(self) -> str:
        """Wait until every store has as many records as were exported; which one has not, or nothing."""
        wanted = sum(account.exported(router).records for router in self.routers)
        have, moved = {"hot": 0, "lake": 0}, time.monotonic()
        while True:
            self.parts.must_run("stream")
            now = {"hot": self._hot_rows(), "lake": self._lake_rows()}
            if now != have:
                have, moved = now, time.monotonic()
                self.say("  ".join(f"{name} {n:,} of {wanted:,} records" for name, n in have.items()))
            if all(n >= wanted for n in have.values()):
                return ""
            if time.monotonic() - moved > STALL_S:
                return "; ".join(f"{name} has {n:,} of {wanted:,} records" for name, n in have.items() if n < wanted)
            time.sleep(0.5)

    def _account(self, collected: dict[str, int], behind: str) -> ExportOutcome:
        topic = [pa.ipc.open_stream(value).read_all().select(account.COLUMNS) for value in self.messages(FLOWS_ENRICHED.name)]
        rows = pa.concat_tables(topic) if topic else EXPORTED_FLOWS.schema.empty_table().select(account.COLUMNS)
        stores = {"the topic": rows, "the lake": self._lake_table(), "the hot store": self._hot_table()}
        found = account.checks(self.routers, stores, collected, account.lost(self.messages(FLOW_ACCOUNTS.name)))
        if behind:
            found.append(Check("stores", False, behind))
        seconds = round(time.monotonic() - self._began, 1)
        return ExportOutcome(str(self.capture), self.routers, collected, rows, found, seconds, account.once(rows))

    def messages(self, topic: str) -> list[bytes]:
        """Values of all messages of a topic, each content once."""
        name = self.settings.topic(topic)
        found: dict[bytes, bytes] = {}
        with closing(KafkaConsumer(group_id=None, enable_auto_commit=False, **client_options(self.settings.kafka))) as consumer:
            lanes = [TopicPartition(name, p) for p in consumer.partitions_for_topic(name) or ()]
            consumer.assign(lanes)
            consumer.seek_to_beginning()
            ends = consumer.end_offsets(lanes)
            while any(consumer.position(lane) < ends[lane] for lane in lanes):
                for messages in consumer.poll(timeout_ms=500).values():
                    for message in messages:
                        found[dict(message.headers).get("message-id") or message.value] = message.value
        return list(found.values())

    def _hot_rows(self) -> int:
        rows = self._stores.rows(f"SELECT count(*) FROM {TABLE}")
        return int(rows[0][0]) if rows else 0

    def _hot_table(self) -> pa.Table:
        of = {"flow_id": "flow_id::text", "exporter_ip": "host(exporter_ip)", "start_time": "timestamp"}
        columns = ", ".join(of.get(name, name) for name in account.COLUMNS)
        rows = self._stores.rows(f"SELECT {columns} FROM {TABLE}")
        schema = pa.schema([EXPORTED_FLOWS.schema.field(name) for name in account.COLUMNS])
        return pa.Table.from_pylist([dict(zip(account.COLUMNS, row, strict=True)) for row in rows], schema)

    def _lake_rows(self) -> int:
        try:
            return int(lake.dataset(lake.location(self.settings, EXPORTED_FLOWS), self.settings.lake).count_rows())
        except (DeltaError, OSError):  # not made yet
            return 0

    def _lake_table(self) -> pa.Table:
        try:
            found = lake.dataset(lake.location(self.settings, EXPORTED_FLOWS), self.settings.lake)
        except (DeltaError, OSError) as e:
            raise StackError(f"the lake has no table of exported flows: {e}", f"the stream's log: {self.place.logs}") from e
        return found.to_table(columns=list(account.COLUMNS))

    def stop(self, *, keep: bool = False) -> list[str]:
        """End exporters, collector and stream and, unless ``keep``, the servers that were started; those that were stopped."""
        self._stop.set()
        if self._collector is not None:
            self._collector.stop()
        if self._thread is not None:
            self._thread.join(30)
        self.parts.stop(30)
        self._stores.close()
        return self.servers.stop(keep=keep)
