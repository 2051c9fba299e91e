"""What the collector decodes itself is what the stream makes of the same datagrams."""

from __future__ import annotations

import pyarrow as pa

from jobs.enriching.settings import EnrichmentSettings, GeoIpSettings
from jobs.flowexport.datagrams import address16
from jobs.flowexport.duplicates import FlowOwners
from jobs.flowexport.flowbatch import by_flow, marked, read
from jobs.flowexport.recordtable import FlowCollector, numbers
from jobs.flowexport.session import ExportSessions
from jobs.sources.netflow.decoding import RawRow, Taken
from jobs.sources.netflow.directrows import DirectDecoder, stored_rows
from jobs.sources.netflow.lookups import Lookups
from jobs.sources.netflow.publish import made, unscored
from jobs.sources.netflow.settings import ExportedFlowSettings
from jobs.sources.netflow.warm import datagrams
from schemas import rawflows
from schemas.rawflows import CONTENT_RAW_FLOWS
from sensors.netflow.streams import raw_datagram

EDGE = FlowCollector("edge", "site")
NOW_US = 1_700_000_000_000_000


def from_exporters() -> list[rawflows.RawDatagram]:
    """Two exporters that see the same flows, and a datagram that is none."""
    every = [raw_datagram(p, address16(f"192.0.2.{n}"), 40_000, 2055, NOW_US + n) for n in (1, 2) for p in datagrams()]
    return [*every, raw_datagram(b"\0\x63nothing", address16("192.0.2.9"), 40_000, 2055, NOW_US)]


def test_rows_are_those_of_the_stream() -> None:
    given, settings = from_exporters(), ExportedFlowSettings()
    lookups = Lookups(EnrichmentSettings(geoip=GeoIpSettings(enabled=False)))
    direct = DirectDecoder(settings, EDGE, lookups)
    found = direct.records(given)
    taken = Taken("netflow")
    row = RawRow("flows.raw", 0, 0, CONTENT_RAW_FLOWS, EDGE, rawflows.encode(given))
    pieces = [read(stream) for _, flows in taken.records([row], ExportSessions(), settings.rules()) for _, stream in by_flow(flows, 1)]
    whose = FlowOwners(round(settings.duplicates_s * 1e6), settings.max_claims).mark([numbers(piece) for piece in pieces])
    expected = [unscored(made(marked(piece, of), EDGE, lookups)) for piece, of in zip(pieces, whose, strict=True)]
    assert found is not None
    assert found.num_rows == 6
    assert found.equals(pa.Table.from_batches(expected))
    assert found["duplicate_of"].null_count < 6
    assert direct.refused == {"unknown_version": 1}
    assert len(taken.letters) == 1


def test_ids_are_those_of_the_flows_and_fit_a_bigint() -> None:
    direct = DirectDecoder(ExportedFlowSettings(), EDGE, Lookups(EnrichmentSettings(geoip=GeoIpSettings(enabled=False))))
    found = direct.records(from_exporters())
    assert found is not None
    exports, raw = stored_rows(found)
    assert raw["flow_id"].equals(exports["flow_id"])
    ids = raw["id"].to_pylist()
    assert len(set(ids)) == 6
    assert all(0 <= one < 1 << 63 for one in ids)
