"""The collector that chooses its way: real datagrams, a real broker and PostgreSQL; every record in one of both, none lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from infra.config import Settings
from infra.errors import BrokerError
from jobs.enriching.settings import EnrichmentSettings, GeoIpSettings
from jobs.flowexport.flowbatch import by_flow, marked, read
from jobs.flowexport.recordtable import FlowCollector, numbers
from jobs.flowexport.session import ExportSessions
from jobs.sources.netflow import auto
from jobs.sources.netflow.auto import AutoOutlet
from jobs.sources.netflow.decoding import RawRow, Taken
from jobs.sources.netflow.directmetrics import DirectMaker
from jobs.sources.netflow.lookups import Lookups
from jobs.sources.netflow.publish import made
from jobs.sources.netflow.settings import ExportedFlowSettings
from jobs.sources.netflow.switching import FlowWay
from schemas.rawflows import CONTENT_EXPORTERS, CONTENT_RAW_FLOWS
from sensors.netflow import metrics
from sensors.netflow.publishing import RawFlowPublisher
from sensors.netflow.sensor import FlowExportSensor
from sensors.netflow.settings import ExporterSensorSettings
from tests.integration.netflow import flowtopic
from tests.integration.netflow.test_direct import rows
from tests.unit.flowexport import wire
from tests.unit.sensors.netflow.runningsensor import RunningSensor, Start, port_of, starting
from tests.unit.sensors.netflow.senders import eventually, free_ports, send

pytestmark = pytest.mark.integration
#: Records/s between a quiet time and a busy one.
_THRESHOLD = 400


@pytest.fixture
def start() -> Iterator[Start]:
    with starting() as start:
        yield start


def configured(settings: Callable[..., Settings], database: dict[str, Any], broker: str = "", **more: Any) -> Settings:
    """With a broker and its topic, or without one."""
    own: dict[str, Any] = {
        "ports": list(free_ports(1)),
        "mode": "auto",
        "heartbeat_ms": 100,
        "auto_threshold": _THRESHOLD,
        "auto_window_s": 1,
        "auto_hold_s": 0.3,
        **more,
    }
    kafka = {"bootstrap_servers": broker or "127.0.0.1:1"}
    made = settings(kafka=kafka, hot=database, netflow_sensor=own, enrichment={"geoip": {"enabled": False}})
    if broker:
        flowtopic.create(made, 4)
    return made


class Exporters:
    """Routers of each protocol that send without an end, few records or many; what they sent is noted.

    One of NetFlow v9 sends its template often; the template of the other comes when a test lets it.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.sent: dict[str, list[bytes]] = {}
        self.busy = threading.Event()
        self._stop = threading.Event()
        self._numbers = count(1)
        self._thread = threading.Thread(target=self._run)
        self._lock = threading.Lock()

    def __enter__(self) -> Exporters:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def send(self, source: str, *payloads: bytes) -> None:
        with self._lock:
            self.sent.setdefault(source, []).extend(payloads)
            send(payloads, self._port, source=source)

    @property
    def datagrams(self) -> int:
        return sum(map(len, self.sent.values()))

    def _run(self) -> None:
        template = wire.template(256, wire.PLAIN)
        flows = [wire.plain(f"10.1.0.{n}") for n in range(1, 21)]
        five = [wire.v5_record(f"10.2.0.{n}") for n in range(1, 21)]
        records = 0
        while not self._stop.is_set():
            n = next(self._numbers)
            now = {"now": int(time.time())}
            some = slice(0, 20 if self.busy.is_set() else 1)
            sets = [wire.data(256, *flows[some])]
            self.send("127.0.0.2", wire.v9(*([wire.templates9(template)] if n % 10 == 1 else []), *sets, sequence=n, **now))
            sets = [*([wire.templates10(template)] if n % 10 == 1 else []), *sets]
            self.send("127.0.0.3", wire.ipfix(*sets, sequence=records, **now))
            self.send("127.0.0.4", wire.v5(five[some], sequence=records, **now))
            self.send("127.0.0.5", wire.sflow(wire.flow_sample(number=n, pool=70 * n), sequence=n))
            records += len(flows[some])
            time.sleep(0.02)


def late(sequence: int, *sets: bytes) -> bytes:
    return wire.v9(*sets, sequence=sequence, domain=9, now=int(time.time()))


_KEY = ("export_protocol", "flow_id")
Records = list[tuple[Any, ...]]


def records_of(pieces: Iterator[tuple[FlowCollector, Any]]) -> Records:
    lookups = Lookups(EnrichmentSettings(geoip=GeoIpSettings(enabled=False)))
    found: Records = []
    for collector, flows in pieces:
        for _, stream in by_flow(flows, 1):
            batch = read(stream)
            table = made(marked(batch, numbers(batch)["src"] * 0), collector, lookups)
            found += zip(*(table[name].to_pylist() for name in _KEY), strict=True)
    return found


def in_kafka(own: Settings) -> tuple[Records, list[str], int]:
    """What the stream makes of the topic, partition by partition; kinds of messages; records lost by sequence numbers."""
    every = flowtopic.records(own)
    found: Records = []
    kinds: list[str] = []
    lost = 0
    for partition in {one.partition for one in every}:
        raw = []
        for one in every:
            if one.partition == partition:
                kind = dict(one.headers)["content-type"].decode()
                kinds.append(kind)
                raw.append(RawRow(one.topic, one.partition, one.offset, kind, FlowCollector("edge", "edge"), one.value))
        taken, sessions = Taken("netflow"), ExportSessions()
        found += records_of(taken.records(raw, sessions, ExportedFlowSettings().rules()))
        assert taken.letters == []
        lost += sum(account["lost"] for _, account in sessions.accounts())
    return found, kinds, lost


def expected(sent: dict[str, list[bytes]]) -> Records:
    """All records, decoded by one decoder."""
    collector = wire.Collector()
    pieces = (piece for source, payloads in sent.items() for piece in collector.decoded(*payloads, sender=source, received=time.time()))
    return records_of((FlowCollector("edge", "edge"), piece.flows) for piece in pieces if len(piece.flows))


def turned(outlet: AutoOutlet, exporters: Exporters, way: FlowWay) -> None:
    (exporters.busy.set if way is FlowWay.KAFKA else exporters.busy.clear)()
    assert eventually(lambda: outlet.way is way, 60)


def reached(sensor: FlowExportSensor) -> tuple[str, str]:
    checks = metrics.health(sensor).checks
    return checks["kafka"], checks["postgresql"]


def running(own: Settings, start: Start) -> tuple[FlowExportSensor, RunningSensor, AutoOutlet, int]:
    maker = DirectMaker(own)
    sensor = FlowExportSensor(own, "edge", outlet=maker, linger_s=30.0)
    thread = start(sensor)
    port = port_of(sensor)
    assert eventually(lambda: maker.auto is not None and maker.auto._kafka is not None, 60)
    assert maker.auto is not None
    return sensor, thread, maker.auto, port


@pytest.mark.timeout(300)
def test_every_record_is_in_one_place_however_often_it_switches(
    kafka_server: str, database: dict[str, Any], settings: Callable[..., Settings], start: Start
) -> None:
    own = configured(settings, database, kafka_server)
    sensor, thread, outlet, port = running(own, start)
    late_template = wire.templates9(wire.template(256, wire.PLAIN))
    with Exporters(port) as exporters:
        exporters.send("127.0.0.6", late(1, wire.data(256, wire.plain(size=1))))  # waits in the collector
        time.sleep(0.3)
        turned(outlet, exporters, FlowWay.KAFKA)
        exporters.send("127.0.0.6", late(2, wire.data(256, wire.plain(size=2))))  # waits in the stream, as the other does now
        turned(outlet, exporters, FlowWay.DIRECT)
        assert len(outlet.held) == 1
        exporters.send("127.0.0.6", late(3, wire.data(256, wire.plain(size=3))))  # still to the stream
        turned(outlet, exporters, FlowWay.KAFKA)
        turned(outlet, exporters, FlowWay.DIRECT)
        exporters.send("127.0.0.6", late(4, late_template))
        assert eventually(lambda: not outlet.held, 30)
        exporters.send("127.0.0.6", late(5, wire.data(256, wire.plain(size=5))))
        time.sleep(0.3)
        turned(outlet, exporters, FlowWay.KAFKA)
        exporters.send("127.0.0.6", late(6, wire.data(256, wire.plain(size=6))))
        assert eventually(lambda: reached(sensor) == ("ok", "standby"), 30)
    account = thread.end()
    assert min(outlet.turns[FlowWay.KAFKA], outlet.turns[FlowWay.DIRECT] + 1) >= 3
    assert (account.received, account.sent, account.lost, account.thinned) == (exporters.datagrams, exporters.datagrams, 0, 0)
    streamed, kinds, lost = in_kafka(own)
    direct = rows(own, f"SELECT {', '.join(_KEY)} FROM flow_exports")
    wanted, found = expected(exporters.sent), [*streamed, *((protocol, str(flow)) for protocol, flow in direct)]
    assert len(set(found)) == len(found)
    assert len(found) == len(wanted)
    assert sorted(one for one in found if one[0] != "sflow") == sorted(one for one in wanted if one[0] != "sflow")  # of receipt: its ids
    assert min(len(streamed), len(direct)) > 0
    assert rows(own, "SELECT count(*) FROM flow_raw") == [(len(direct),)]
    assert set(kinds) == {CONTENT_RAW_FLOWS, CONTENT_EXPORTERS}
    assert lost == 0
    assert all(not account["lost"] for _, account in outlet.direct.decoder.sessions.accounts())


def test_without_kafka_all_goes_into_postgresql(database: dict[str, Any], settings: Callable[..., Settings], start: Start) -> None:
    own = configured(settings, database, auto_threshold=1, auto_window_s=60)
    maker = DirectMaker(own)
    sensor = FlowExportSensor(own, "edge", outlet=maker, linger_s=30.0)
    thread = start(sensor)
    flows = [wire.v5_record(f"10.2.0.{n}") for n in range(1, 21)]
    send([wire.v5(flows, n * 20, now=int(time.time())) for n in range(100)], port_of(sensor))
    assert eventually(lambda: sensor.account().sent == 100, 60)
    assert maker.auto is not None
    assert maker.auto.switch.rate > own.section(ExporterSensorSettings).auto_threshold
    account = thread.end()
    assert (account.received, account.lost) == (100, 0)
    assert (maker.auto.way, sum(maker.auto.turns.values())) == (FlowWay.DIRECT, 0)
    assert rows(own, "SELECT count(*) FROM flow_raw") == [(2000,)]


@pytest.mark.timeout(300)
def test_nobody_waits_with_exporters_that_wait_for_kafka(
    kafka_server: str, database: dict[str, Any], settings: Callable[..., Settings], start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their data wait in the stream for a template, and Kafka is away after a restart: others' records are stored all the same."""
    own = configured(settings, database, kafka_server)
    _, thread, outlet, port = running(own, start)
    with Exporters(port) as exporters:
        turned(outlet, exporters, FlowWay.KAFKA)
        exporters.send("127.0.0.6", late(1, wire.data(256, wire.plain(size=1))))
    thread.end()

    there, make = threading.Event(), auto.raw_flow_publisher

    def away(*given: Any, **more: Any) -> RawFlowPublisher:
        if not there.is_set():
            raise BrokerError("kafka: away", "wait")
        return make(*given, **more)

    monkeypatch.setattr(auto, "raw_flow_publisher", away)
    monkeypatch.setattr(auto, "MOST_WAITING", 3)
    maker = DirectMaker(own)
    sensor = FlowExportSensor(own, "edge", outlet=maker, linger_s=30.0)
    thread = start(sensor)
    port = port_of(sensor)
    assert eventually(lambda: maker.auto is not None, 60)
    assert maker.auto is not None
    assert len(maker.auto.held) == 1
    (before,) = rows(own, "SELECT count(*) FROM flow_raw")[0]
    for n in range(2, 7):
        send([late(n, wire.data(256, wire.plain(size=n)))], port, source="127.0.0.6")
    send([wire.v5([wire.v5_record(f"10.2.9.{n}")], 10**6 + n, now=int(time.time())) for n in range(4)], port, source="127.0.0.7")
    assert eventually(lambda: rows(own, "SELECT count(*) FROM flow_raw") == [(before + 4,)], 60)
    assert eventually(lambda: len(maker.auto.waiting) == 3, 30)
    assert sensor.account().refused == 2, "five came, and three may wait"
    sent = len(in_kafka(own)[1])
    there.set()
    assert eventually(lambda: not maker.auto.waiting and sensor.account().sent == 7, 60)
    account = thread.end()
    assert (account.received, account.sent, account.refused) == (9, 7, 2)
    assert len(in_kafka(own)[1]) > sent


@pytest.mark.timeout(300)
def test_after_a_restart_it_goes_on_the_way_that_it_was_on(
    kafka_server: str, database: dict[str, Any], settings: Callable[..., Settings], start: Start
) -> None:
    own = configured(settings, database, kafka_server, auto_hold_s=3600)
    _, thread, outlet, port = running(own, start)
    with Exporters(port) as exporters:
        turned(outlet, exporters, FlowWay.KAFKA)
    thread.end()
    later, thread, again, port = running(own, start)
    assert again.way is FlowWay.KAFKA
    (before,) = rows(own, "SELECT count(*) FROM flow_raw")
    send([wire.v5([wire.v5_record()], 10**6)], port)
    assert eventually(lambda: later.account().sent == 1, 60)
    thread.end()
    assert rows(own, "SELECT count(*) FROM flow_raw") == [before]
    assert rows(own, "SELECT way FROM flow_raw_collectors") == [("kafka",)]
