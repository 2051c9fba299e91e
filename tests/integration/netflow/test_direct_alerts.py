"""A collector that stores flows itself scores them and raises the alerts that the stream would raise."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest

from infra.config import Settings
from jobs.enriching.settings import EnrichmentSettings, GeoIpSettings
from jobs.flowexport.flowbatch import by_flow, marked, read
from jobs.flowexport.recordtable import FlowCollector, numbers
from jobs.flowexport.session import ExportSessions
from jobs.runtime import outgoing
from jobs.scoring.modelset import ModelSet
from jobs.scoring.registry import load_champion
from jobs.sinks import alertbook, alerts
from jobs.sources.netflow.decoding import RawRow, Taken
from jobs.sources.netflow.directmetrics import DirectMaker
from jobs.sources.netflow.lookups import Lookups
from jobs.sources.netflow.publish import made
from jobs.sources.netflow.settings import ExportedFlowSettings
from schemas import rawflows
from schemas.exportedflows import EXPORTED_FLOWS
from schemas.rawflows import CONTENT_RAW_FLOWS
from sensors.netflow.sensor import FlowExportSensor
from sensors.netflow.streams import raw_datagram
from tests.champions import promote_any
from tests.integration.netflow.test_direct import rows
from tests.unit.flowexport import wire
from tests.unit.sensors.netflow.runningsensor import Start, port_of, starting
from tests.unit.sensors.netflow.senders import LOCAL, eventually, free_ports, send

pytestmark = pytest.mark.integration
EDGE = FlowCollector("edge", "edge")


@pytest.fixture
def start() -> Iterator[Start]:
    with starting() as start:
        yield start


def of_the_stream(own: Settings, payloads: list[bytes]) -> dict[str, int]:
    """Flows of each alert, by its id, as the stream finds them."""
    given = [raw_datagram(payload, LOCAL, 40_000, 2055, time.time_ns() // 1000) for payload in payloads]
    row = RawRow("flows.raw", 0, 0, CONTENT_RAW_FLOWS, EDGE, rawflows.encode(given))
    models, lookups = ModelSet(load_champion(own, EXPORTED_FLOWS)), Lookups(EnrichmentSettings(geoip=GeoIpSettings(enabled=False)))
    messages = []
    for _, flows in Taken("netflow").records([row], ExportSessions(), ExportedFlowSettings().rules()):
        for _, stream in by_flow(flows, 2):
            batch = read(stream)
            scored = models.score(made(marked(batch, numbers(batch)["src"] * 0), EDGE, lookups))
            messages.append(outgoing.records(EXPORTED_FLOWS, scored, "0", str(len(messages)), prefix=""))
    taken = [{**message, "partition": 0, "offset": n} for n, message in enumerate(messages)]
    kafka = pa.RecordBatch.from_pylist(taken, pa.schema([*outgoing.KAFKA_SCHEMA, ("partition", pa.int32()), ("offset", pa.int64())]))
    (report,) = alerts.task(own, EXPORTED_FLOWS)([kafka])
    found = alertbook.gather(alertbook.unpack(packed) for packed in report["partials"].to_pylist())
    return {str(one.id): len(one.flows) for one in found}


def test_alerts_are_those_of_the_stream(database: dict[str, Any], settings: Callable[..., Settings], start: Start) -> None:
    own = settings(
        hot=database,
        alerts={**database, "min_flows": 1},
        netflow_sensor={"ports": list(free_ports(1)), "mode": "direct"},
        enrichment={"geoip": {"enabled": False}},
    )
    promote_any(own, EXPORTED_FLOWS, ("duration", "scaled_bytes"))
    flows = [wire.v5_record(f"10.7.{n % 3}.1", size=n, first=wire.UPTIME - 1000 * n - 1000) for n in range(1, 31)]
    payloads = [wire.v5(flows[at : at + 10], at, now=int(time.time())) for at in range(0, 30, 10)]
    maker = DirectMaker(own)
    sensor = FlowExportSensor(own, "edge", outlet=maker, linger_s=30.0)
    running = start(sensor)
    send(payloads, port_of(sensor))
    assert eventually(lambda: sensor.account().sent == 3, 60)
    running.end()
    labels = rows(own, "SELECT predicted_label, count(*) FROM flow_exports WHERE model_version = '1' GROUP BY 1 ORDER BY 1")
    assert [label for label, _ in labels] == [0, 1]
    wanted = of_the_stream(own, payloads)
    assert dict(rows(own, "SELECT id::text, flow_count FROM alerts WHERE record_type = 'exported_flows'")) == wanted
    assert sum(wanted.values()) == dict(labels)[1]
    assert sum(maker.counts()["alerts"].values()) == len(wanted)  # type: ignore[union-attr]
