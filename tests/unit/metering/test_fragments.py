"""Fragments belong to the flow of their first fragment in whatever order they come, for a time and up to a number."""

from __future__ import annotations

import tempfile
from itertools import pairwise, permutations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.metering import segments
from jobs.metering.batch import Accounts, meter_captures
from jobs.metering.envelope import Envelope
from jobs.metering.features import records
from jobs.metering.settings import MeterSettings
from schemas.flows import RECORD_SCHEMA
from schemas.wire import CLOCK_END, KIND_END, KIND_PACKETS
from sensors.packets.decode import decode
from tests.oracle import meter as oracle
from tests.oracle.capture import read, write_pcap
from tests.oracle.compare import differences
from tests.oracle.craft import ethernet, icmp, ip, tcp, udp
from tests.oracle.meter import Frame
from tests.oracle.parse import ACK, RST, TCP, UDP
from tests.unit.metering.cases import at
from tests.unit.metering.conftest import Metered
from tests.unit.metering.test_invariance import Store

V4, V6 = ("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")


def pieces(ends: tuple[str, str], *, ident: int = 7, proto: int = UDP, body: bytes | None = None, size: int = 1008) -> list[bytes]:
    """A datagram (3,000 bytes of UDP payload by default) as frames of ``size`` bytes of IP payload, first piece first."""
    whole = udp(1111, 2222, 3000) if body is None else body
    cuts = [whole[k : k + size] for k in range(0, len(whole), size)]
    return [
        ethernet(ip(*ends, proto, cut, ident=ident, offset=k * size // 8, more=k + 1 < len(cuts)), pad=False) for k, cut in enumerate(cuts)
    ]


@pytest.mark.parametrize("ends", [V4, V6])
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_any_order_of_arrival_gives_the_same_flow(metered: Metered, ends: tuple[str, str], order: tuple[int, ...]) -> None:
    parts = pieces(ends)
    (record,) = metered(Frame(at(i / 1000), parts[k]) for i, k in enumerate(order))
    assert (record["src_port"], record["dst_port"], record["protocol"]) == (1111, 2222, UDP)
    assert (record["total_fwd_packets"], record["total_length_fwd_packets"]) == (3, 3000)
    assert (record["start_time"].timestamp(), record["flow_duration"]) == (at(0) / 1e9, 2000)


def test_a_message_is_named_by_its_first_fragment(metered: Metered) -> None:
    """Community id and type of an ICMP message are those of its first fragment, which came last."""
    parts = pieces(V4, proto=1, body=icmp(8, 0, 2000))
    (forward,) = metered(Frame(at(i), part) for i, part in enumerate(parts))
    (backward,) = metered(Frame(at(i), part) for i, part in enumerate(reversed(parts)))
    assert forward["icmp_type"] == backward["icmp_type"] == 8
    assert forward["community_id"] == backward["community_id"]


def test_the_window_is_that_of_the_segment(metered: Metered) -> None:
    parts = pieces(V4, proto=TCP, body=tcp(1111, 2222, ACK, 2000, window=777))
    (record,) = metered(Frame(at(i), part) for i, part in enumerate(reversed(parts)))
    assert record["fwd_init_win_bytes"] == 777
    assert record["ack_flag_count"] == 1


def test_fragments_wait_thirty_seconds_and_no_longer(metered: Metered) -> None:
    one, two = pieces(V4, ident=1, size=2008), pieces(V4, ident=2, size=2008)
    frames = [Frame(at(0), one[1]), Frame(at(0.5), two[1]), Frame(at(30), one[0]), Frame(at(30.500001), two[0])]
    (record,) = metered(frames)
    assert record["total_fwd_packets"] == 3
    assert record["start_time"].timestamp() == at(0) / 1e9


def test_packets_of_the_flow_in_between_keep_their_times(metered: Metered) -> None:
    """What waited is put behind them: time does not go back within a flow."""
    parts = pieces(V4, size=2008)
    plain = ethernet(ip(*V4, UDP, udp(1111, 2222, 10)))
    (record,) = metered([Frame(at(0), plain), Frame(at(1), parts[1]), Frame(at(2), plain), Frame(at(3), parts[0])])
    assert record["total_fwd_packets"] == 4
    assert (record["flow_iat_max"], record["flow_iat_min"], record["flow_duration"]) == (2_000_000, 0, 3_000_000)


def test_a_flow_that_ended_while_its_fragment_waited_is_not_woken(metered: Metered) -> None:
    """The fragment came in time for the flow, but it is metered when its first one comes, and the flow was idle by then."""
    parts = pieces(V4, size=2008)
    plain = ethernet(ip(*V4, UDP, udp(1111, 2222, 10)))
    found = metered([Frame(at(0), plain), Frame(at(50), parts[1]), Frame(at(70), parts[0])])
    assert [(r["total_fwd_packets"], r["end_reason"]) for r in found] == [(1, "idle"), (2, "forced")]
    assert found[1]["start_time"].timestamp() == at(50) / 1e9


def test_a_short_idle_timeout_does_not_tear_a_datagram(tmp_path: Path) -> None:
    """Eight seconds between two fragments are no idle gap of ten, though both waited twenty for their first one."""
    parts = pieces(V4)
    path = write_pcap(tmp_path / "x.pcap", [Frame(at(0), parts[2]), Frame(at(8), parts[1]), Frame(at(20), parts[0])])
    (batch,) = meter_captures([path], settings=MeterSettings(idle_timeout_s=10))
    assert batch["total_fwd_packets"].to_pylist() == [3]
    assert batch["flow_duration"].to_pylist() == [10_000_000]


def test_ids_differ_where_key_start_and_part_would_be_the_same(tmp_path: Path) -> None:
    """A flow that ended at once, and a fragment of the same microsecond that waited for its first one until then."""
    rst = ethernet(ip(*V4, TCP, tcp(1111, 2222, RST)))
    parts = pieces(V4, proto=TCP, body=tcp(1111, 2222, ACK, 2000), size=1008)
    path = write_pcap(tmp_path / "x.pcap", [Frame(at(0), rst), Frame(at(0) + 1, parts[1]), Frame(at(4), parts[0])])
    records = pa.Table.from_batches(meter_captures([path]), RECORD_SCHEMA)
    assert records.num_rows == len(set(records["flow_id"].to_pylist())) == 2


def test_the_timeout_is_told_in_whole_microseconds(metered: Metered) -> None:
    one, two = pieces(V4, ident=1, size=2008), pieces(V4, ident=2, size=2008)
    frames = [Frame(at(0), one[0]), Frame(at(0), two[1]), Frame(at(30) + 1, one[1]), Frame(at(30) + 999, two[0])]
    (record,) = metered(frames)
    assert record["total_fwd_packets"] == 4


def test_orphans_are_counted_at_the_end(tmp_path: Path) -> None:
    frames = [Frame(at(0), pieces(V4)[2]), Frame(at(1), pieces(V6)[1]), Frame(at(40), ethernet(ip(*V4, UDP, udp(5, 6, 1))))]
    accounts = Accounts()
    batches = list(meter_captures([write_pcap(tmp_path / "x.pcap", frames)], accounts=accounts))
    assert sum(b.num_rows for b in batches) == 1
    assert accounts.rejected == {"fragment_orphan": 2}
    assert accounts.balanced
    assert oracle.meter(frames)[1] == accounts.rejected


def test_what_waits_is_bounded(tmp_path: Path) -> None:
    """The oldest give way: of ten datagrams without a first fragment so far, three may wait."""
    last, first = [pieces(V4, ident=i, size=2008)[1] for i in range(10)], [pieces(V4, ident=i, size=2008)[0] for i in range(10)]
    frames = [Frame(at(i / 10), f) for i, f in enumerate([*last, *first])]
    accounts = Accounts()
    rules = MeterSettings(max_waiting_fragments=3)
    (batch,) = meter_captures([write_pcap(tmp_path / "x.pcap", frames)], accounts=accounts, settings=rules)
    assert batch["total_fwd_packets"].to_pylist() == [13]
    assert accounts.rejected == {"fragment_orphan": 7}
    assert accounts.balanced


@st.composite
def datagrams(draw: st.DrawFn) -> list[Frame]:
    """Fragments of a few datagrams and whole packets between two hosts, in any order, around the timeouts."""
    found: list[bytes] = [ethernet(ip(*V4, UDP, udp(1111, 2222, draw(st.integers(0, 9))))) for _ in range(draw(st.integers(1, 6)))]
    for _ in range(draw(st.integers(1, 4))):
        ends, ident = draw(st.sampled_from([V4, V4[::-1], V6])), draw(st.integers(1, 2))
        parts = pieces(ends, ident=ident, size=draw(st.sampled_from([1008, 2008])))
        found += [p for p in parts if draw(st.integers(0, 9)) > 0]
    gap = st.sampled_from([0, 1000, 10**6, 10**9, 15 * 10**9, 29 * 10**9, 30 * 10**9, 30 * 10**9 + 1000, 61 * 10**9])
    ns, out = at(0), []
    for frame in draw(st.permutations(found)):
        ns += draw(gap)
        out.append(Frame(ns, frame))
    return out


@given(datagrams())
@settings(max_examples=150, deadline=None)
def test_against_the_oracle(frames: list[Frame]) -> None:
    expected, rejected = oracle.meter(frames)
    accounts = Accounts()
    with tempfile.TemporaryDirectory() as folder:
        batches = meter_captures([write_pcap(Path(folder) / "x", frames)], sensor_id="oracle", accounts=accounts)
        assert differences(expected, [row for batch in batches for row in batch.to_pylist()]) == []
    assert accounts.rejected == +rejected


def metered_in_cuts(frames: list[Frame], cuts: list[int], reload: bool) -> tuple[pa.Table, list[dict]]:
    """Through one bucket, whose state is stored and loaded between the cuts when ``reload``."""
    data = np.frombuffer(b"".join(f.data for f in frames), np.uint8)
    offsets = np.concatenate([[0], np.cumsum([len(f.data) for f in frames])])
    times = np.array([f.ns for f in frames])
    packets, bad = decode(data, offsets, times, np.diff(offsets).astype(np.uint32), np.ones(len(frames), np.uint16))
    assert not bad.any()
    store, meta, out = Store(), None, []
    rules = MeterSettings(buckets=1)
    segments.clear_cache()
    for seq, (a, b) in enumerate(pairwise([0, *cuts, len(packets)])):
        if reload:
            segments.clear_cache()
        handle = segments.load("fragments", 0, 1, rules, meta, store)
        last = b == len(packets)
        clock = CLOCK_END if last else int(packets["ts"][b])
        e = Envelope("s", "s", 1, 0, 1, seq, KIND_END if last else KIND_PACKETS, clock, 0, packets=b - a)
        e.max_ts = int(packets["ts"][a:b].max(initial=0))
        part = packets[a:b].copy()
        part["msg"] = 0
        emission = handle.meter.ingest_decoded([([e], part)], 0)
        accounts = handle.meter.account_rows()[0]
        assert accounts["packets"] == accounts.get("metered", 0) + accounts.get("rejected", 0) + accounts["waiting"]
        out.append(records(emission.closed, emission.domains, emission.sensors))
        meta = segments.save("fragments", handle, emission, store)
    return pa.Table.from_batches(out, RECORD_SCHEMA).sort_by("flow_id"), [
        {name: n for name, n in row.items() if name != "messages"} for row in handle.meter.account_rows()
    ]


@pytest.mark.slow
@given(datagrams())
@settings(max_examples=40, deadline=None)
def test_the_input_may_be_cut_at_every_place(frames: list[Frame]) -> None:
    whole = metered_in_cuts(frames, [], reload=False)
    for cut in range(1, len(frames)):
        assert metered_in_cuts(frames, [cut], reload=True) == whole
    assert metered_in_cuts(frames, list(range(1, len(frames))), reload=True) == whole


def test_the_reversed_datagrams_of_a_real_stack(flowlake_data: Path) -> None:
    path = flowlake_data / "cases" / "fragrev.pcap"
    (batch,) = meter_captures([path], sensor_id="oracle")
    assert (batch["total_fwd_packets"][0].as_py(), batch["total_length_fwd_packets"][0].as_py()) == (3, 3000)
    assert differences(oracle.meter(read(path))[0], batch.to_pylist()) == []
