"""Our own exporter: what is decoded is what was metered, of generated traffic and of captures from outside."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest

from jobs.flowexport.columns import FlowMark, RateSource
from jobs.flowexport.exporting.flowrows import OUT_DTYPE
from jobs.flowexport.exporting.netflow5out import Netflow5Encoder
from jobs.flowexport.exporting.outgoing import ExportRules
from jobs.flowexport.exporting.setsout import SetsEncoder
from jobs.metering.batch import meter_captures
from sensors.generate import TrafficGenerator, preset
from sensors.packets.pcapwriter import PcapWriter
from tests.unit.flowexport.exported import RoundTrip, metered, of_version

DATA = os.environ.get("FLOWLAKE_DATA", "")
PCAPS = sorted(Path(DATA, "pcaps").glob("*.*cap*")) if DATA else []


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "made.pcap"
    with PcapWriter(path) as writer:
        for frames in TrafficGenerator(preset("demo", seed=11, duration_s=8)):
            writer.write(frames)
    return path


def check(trip: RoundTrip) -> None:
    """Nothing is refused or lost, and the exporter's accounts are the collector's."""
    assert trip.rejected == []
    assert trip.lost == 0
    assert len(trip.column("packets")) == trip.summary["records"]
    for name in ("packets", "bytes"):
        assert trip.total(name) + trip.total(f"reverse_{name}") == trip.summary[name]


@pytest.mark.parametrize(("kind", "biflow"), [("v9", False), ("ipfix", False), ("ipfix", True)])
def test_flows_come_back(capture: Path, kind: str, biflow: bool) -> None:
    trip = RoundTrip(capture, kind, biflow=biflow)
    check(trip)
    assert trip.by_key() == metered(capture)
    marks = trip.column("marks")
    assert ((marks & FlowMark.BIFLOW) > 0).all() == biflow
    assert not (marks & (FlowMark.CLOCK_WRONG | FlowMark.TIME_REPLACED | FlowMark.TIME_MISSING)).any()


def test_biflows_have_the_times_flags_and_ends_of_the_meter(capture: Path) -> None:
    trip = RoundTrip(capture, "ipfix", biflow=True)
    rows = [row for batch in meter_captures([capture]) for row in batch.to_pylist()]
    names = ("fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr")
    reasons = {"idle": 1, "active": 2, "fin": 3, "rst": 3, "forced": 4, "evicted": 5}
    wanted = sorted(
        (
            int(row["start_time"].timestamp() * 1000 + 1e-4),
            int(row["end_time"].timestamp() * 1000 + 1e-4),
            row["protocol"],
            sum((row[f"{name}_flag_count"] > 0) << bit for bit, name in enumerate(names)) if row["protocol"] == 6 else 0,
            reasons[row["end_reason"]],
        )
        for row in rows
    )
    columns = [
        trip.column(name).astype(np.int64) for name in ("start_us", "end_us", "proto", "tcp_flags", "reverse_tcp_flags", "end_reason")
    ]
    found = sorted((s // 1000, e // 1000, p, f | r, why) for s, e, p, f, r, why in zip(*(c.tolist() for c in columns), strict=True))
    assert found == wanted


def test_netflow_v5_says_ipv4_and_counts_the_rest(capture: Path) -> None:
    trip = RoundTrip(capture, "v5")
    check(trip)
    truth = metered(capture)
    assert trip.by_key() == of_version(truth, 4)
    left = of_version(truth, 6)
    unsaid = trip.summary["unsaid"]["IPv6"]
    assert unsaid["packets"] == sum(n for (_, what), n in left.items() if what == "packets") > 0
    assert unsaid["bytes"] == sum(n for (_, what), n in left.items() if what == "bytes")


def test_times_of_v5_and_v9_are_those_of_ipfix_to_the_millisecond(capture: Path) -> None:
    four = {}
    for kind in ("v5", "v9", "ipfix"):
        trip = RoundTrip(capture, kind)
        is_four = trip.column("ip_version") == 4
        names = ("start_us", "end_us", "packets", "bytes", "sport", "dport", "tcp_flags", "proto", "input", "output")
        four[kind] = sorted(zip(*(trip.column(name)[is_four].tolist() for name in names), strict=True))
    assert four["v5"] == four["v9"] == four["ipfix"]


@pytest.mark.parametrize(("kind", "told"), [("v5", RateSource.HEADER), ("v9", RateSource.OPTIONS), ("ipfix", RateSource.OPTIONS)])
def test_sampled_flows_say_their_rate(capture: Path, kind: str, told: RateSource) -> None:
    trip = RoundTrip(capture, kind, sampling=10)
    check(trip)
    assert set(trip.column("rate").tolist()) == {10.0}
    assert set(trip.column("rate_source").tolist()) == {int(told)}
    scaled = trip.total("scaled_packets") + 10 * sum(t["packets"] for t in trip.summary["unsaid"].values())
    assert scaled == 10 * trip.summary["packets_taken"]
    assert abs(scaled - trip.summary["packets_seen"]) <= 10
    assert trip.summary["packets_seen"] == sum(n for (_, what), n in metered(capture).items() if what == "packets")


def test_sflow_has_every_packet(capture: Path) -> None:
    trip = RoundTrip(capture, "sflow")
    check(trip)
    truth = metered(capture)
    assert trip.by_key() == truth
    assert trip.summary["packets_seen"] == trip.summary["packets"] == len(trip.column("packets"))


def test_sampled_sflow_says_its_rate_and_its_pool(capture: Path) -> None:
    trip = RoundTrip(capture, "sflow", sampling=20)
    check(trip)
    assert trip.summary["packets_taken"] == len(trip.column("rate"))
    sources = set(trip.column("rate_source").tolist())
    assert sources <= {int(RateSource.HEADER), int(RateSource.POOL)}
    estimate, seen = float(trip.column("rate").sum()), trip.summary["packets_seen"]
    assert abs(estimate / seen - 1) < 0.1


@pytest.mark.parametrize("kind", ["v5", "v9", "ipfix", "sflow"])
def test_each_file_is_a_domain_with_numbers_of_its_own(capture: Path, tmp_path: Path, kind: str) -> None:
    again = tmp_path / "again.pcap"
    again.write_bytes(capture.read_bytes())
    once, twice = RoundTrip(capture, kind), RoundTrip([capture, again], kind)
    check(twice)
    assert set(twice.column("domain").tolist()) == {1, 2}
    assert twice.summary["packets"] == 2 * once.summary["packets"]


def test_templates_come_first_and_again(capture: Path) -> None:
    trip = RoundTrip(capture, "v9", refresh=2, sampling=2)
    firsts = [struct.unpack_from(">H", payload, 20)[0] for payload, _ in trip.datagrams]
    assert firsts[:4] == [0, 256, 256, 0]
    assert [struct.unpack_from(">I", payload, 12)[0] for payload, _ in trip.datagrams] == list(range(len(firsts)))
    assert max(len(payload) for payload, _ in trip.datagrams) <= 1400


def test_templates_come_again_after_a_minute_of_the_exporters_clock() -> None:
    flows = np.zeros(60, OUT_DTYPE)
    flows["ip_version"], flows["packets"] = 4, 1
    flows["start_us"] = flows["end_us"] = 1_767_225_600_000_000 + np.arange(60) * 10_000_000
    encoder = SetsEncoder(10, ExportRules(refresh=1000, room=200))
    sets = [struct.unpack_from(">H", d.payload, 16)[0] for d in [*encoder.feed(flows), *encoder.finish()]]
    assert sets.count(2) == 10
    assert sets[:2] == [2, 256]


def test_datagrams_are_in_the_order_of_their_export(capture: Path) -> None:
    for kind in ("v5", "v9", "ipfix", "sflow"):
        moments = [exported for _, exported in RoundTrip(capture, kind).datagrams]
        assert moments == sorted(moments)


def test_what_no_protocol_says_is_refused() -> None:
    with pytest.raises(ValueError, match="sampling 20000"):
        Netflow5Encoder(ExportRules(sampling=20_000))
    with pytest.raises(ValueError, match="no biflows"):
        SetsEncoder(9, ExportRules(biflow=True))
    with pytest.raises(ValueError, match="no flow fits into 60 bytes"):
        SetsEncoder(10, ExportRules(room=60))


@pytest.mark.slow
@pytest.mark.skipif(not PCAPS, reason="FLOWLAKE_DATA is not set")
@pytest.mark.parametrize("path", PCAPS, ids=lambda p: p.name)
def test_real_captures(path: Path) -> None:
    truth = metered(path)
    for kind in ("v5", "v9", "ipfix"):
        trip = RoundTrip(path, kind)
        check(trip)
        unsaid = trip.summary["unsaid"]
        assert trip.by_key() == (of_version(truth, 4) if kind == "v5" else truth)
        assert trip.summary["packets"] + sum(t["packets"] for t in unsaid.values()) == sum(
            n for (_, what), n in truth.items() if what == "packets"
        )
    trip = RoundTrip(path, "ipfix", biflow=True)
    check(trip)
    assert trip.by_key() == truth


@pytest.mark.slow
@pytest.mark.skipif(not PCAPS, reason="FLOWLAKE_DATA is not set")
@pytest.mark.parametrize("path", PCAPS, ids=lambda p: p.name)
def test_packets_of_real_captures(path: Path) -> None:
    trip = RoundTrip(path, "sflow")
    assert trip.rejected == []
    assert trip.lost == 0
    assert len(trip.column("packets")) == trip.summary["packets"]
    unsaid = sum(t["packets"] for t in trip.summary["unsaid"].values())
    assert trip.summary["packets"] + unsaid == trip.summary["packets_seen"]
