"""NetFlow v5: values, mode bits, clocks, damage."""

from __future__ import annotations

import pytest

from jobs.flowexport.columns import FlowMark, RateSource
from tests.unit.flowexport.wire import NOW, Collector, text, v5, v5_record


def test_values_of_a_record() -> None:
    flows = Collector().feed(v5([v5_record(), v5_record("10.0.0.9", 5, 1)], 7, engine=0x0102))
    assert len(flows) == 2
    said = {name: flows[name][0] for name in flows.columns}
    assert (text(said["src"]), text(said["dst"]), text(said["next_hop"])) == ("10.0.0.1", "10.0.0.2", "10.0.0.254")
    assert (said["sport"], said["dport"], said["proto"], said["tcp_flags"], said["tos"]) == (1234, 80, 6, 0x1B, 0x48)
    assert (said["bytes"], said["packets"], said["input"], said["output"]) == (1000, 10, 3, 4)
    assert (said["src_as"], said["dst_as"], said["src_mask"], said["dst_mask"]) == (64500, 64501, 24, 16)
    assert (said["ip_version"], said["version"], said["domain"], said["sequence"]) == (4, 5, 0x0102, 7)
    assert (said["icmp_type"], said["direction"], said["marks"]) == (-1, 255, 0)
    assert [text(a) for a in flows["src"]] == ["10.0.0.1", "10.0.0.9"]
    assert flows["position"].tolist() == [24, 72]
    assert flows.extras.counts.tolist() == [0, 0]


def test_times_are_counted_back_from_the_export() -> None:
    flows = Collector().feed(v5([v5_record()]))
    exported = NOW * 1_000_000 + 250_000
    assert flows["exported_us"][0] == exported
    assert flows["start_us"][0] == exported - 5_000_000
    assert flows["end_us"][0] == exported - 1_000_000


def test_uptime_that_has_begun_anew() -> None:
    """The flow began before the 32 bits of milliseconds were full, and ended after."""
    flows = Collector().feed(v5([v5_record(first=2**32 - 3000, last=500)], uptime=2000))
    exported = NOW * 1_000_000 + 250_000
    assert flows["start_us"][0] == exported - 5_000_000
    assert flows["end_us"][0] == exported - 1_500_000


@pytest.mark.parametrize(("bits", "rate"), [(0, 1), (100, 100), (0x4000 | 100, 100), (0xC000 | 0x3FFF, 0x3FFF), (0x8000, 1)])
def test_mode_bits_are_no_interval(bits: int, rate: int) -> None:
    flows = Collector().feed(v5([v5_record()], sampling=bits))
    assert flows["rate"][0] == rate
    assert flows["rate_source"][0] == RateSource.HEADER
    assert flows["scaled_bytes"][0] == 1000 * rate
    assert flows["scaled_packets"][0] == 10 * rate


def test_a_count_beyond_the_datagram_costs_what_is_not_there() -> None:
    bench = Collector()
    flows = bench.feed(v5([v5_record()], count=3))
    assert len(flows) == 1
    assert bench.rejected == [("short_records", False)]
    assert bench.account["short_records"] == 1


def test_records_beyond_the_count_are_none() -> None:
    assert len(Collector().feed(v5([v5_record(), v5_record()], count=1))) == 1


def test_icmp_is_where_the_destination_port_would_be() -> None:
    record = bytearray(v5_record())
    record[34:36] = (3 << 8 | 1).to_bytes(2, "big")
    record[38] = 1
    flows = Collector().feed(v5([bytes(record)]))
    assert (flows["icmp_type"][0], flows["icmp_code"][0]) == (3, 1)


def test_a_clock_that_is_wrong_is_not_followed() -> None:
    flows = Collector().feed(v5([v5_record()], now=86_400), received=NOW)
    assert flows["marks"][0] == FlowMark.CLOCK_WRONG
    assert flows["start_us"][0] == (NOW - 5) * 1_000_000
    assert flows["end_us"][0] == (NOW - 1) * 1_000_000


def test_engines_are_domains() -> None:
    bench = Collector()
    bench.feed(v5([v5_record()], 0, engine=1), v5([v5_record()], 500, engine=2))
    assert [account["lost"] for _, account in bench.sessions.accounts()] == [0, 0]


def test_lost_records_are_counted() -> None:
    bench = Collector()
    bench.feed(v5([v5_record()] * 3, 100), v5([v5_record()] * 2, 103), v5([v5_record()], 112))
    assert bench.account["lost"] == 7


def test_numbers_of_the_last_record_are_no_loss() -> None:
    """Open vSwitch sends the number of a datagram's last record."""
    bench = Collector()
    for count, last in ((2, 1), (13, 14), (15, 29), (10, 39), (10, 59)):
        bench.feed(v5([v5_record()] * count, last))
    assert bench.account["lost"] == 10
    assert bench.account["restarts"] == 0


@pytest.mark.parametrize("size", [1, 2, 3, 23])
def test_less_than_a_header(size: int) -> None:
    bench = Collector()
    assert len(bench.feed(v5([])[:size])) == 0
    ((reason, whole),) = bench.rejected
    assert whole
    assert reason == ("unknown_version" if size < 2 else "short_header")
