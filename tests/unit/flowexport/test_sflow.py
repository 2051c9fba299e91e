"""sFlow v5: samples, records, interfaces, rates, headers that the packet decoder reads, counts of what is lost."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from jobs.flowexport import state
from jobs.flowexport.columns import FlowMark, RateSource
from jobs.flowexport.datagrams import DatagramBatch, address16
from jobs.flowexport.decoder import decode
from jobs.flowexport.interfacetable import interface_rows
from jobs.flowexport.recordtable import FlowCollector
from jobs.flowexport.samples import COUNTER_DTYPE
from sensors.packets.decode import tunnel_name
from tests.unit.flowexport.wire import (
    EXPORTER,
    NOW,
    UPTIME,
    Collector,
    ethernet,
    expanded_sample,
    extra,
    flow_sample,
    ip,
    ipv4,
    ipv6,
    raw_header,
    sflow,
    sflow_record,
    text,
    udp,
    xdr_address,
)

FRAME = ethernet(ipv4(udp(), tos=0x20))


def one(*records: bytes, **head: int) -> Collector:
    """A decoder that is to be given one sample of these records."""
    bench = Collector()
    bench.flows = bench.feed(sflow(flow_sample(*records, **head)))  # type: ignore[attr-defined]
    return bench


def row(*records: bytes, **head: int) -> dict[str, object]:
    """The record of one sample."""
    (found,) = one(*records, **head).flows.to_arrow().to_pylist()  # type: ignore[attr-defined]
    return found


def test_a_raw_header() -> None:
    said = row(raw_header(FRAME, length=1000 + 18))
    assert (text(said["src"]), text(said["dst"]), said["sport"], said["dport"]) == ("10.0.0.1", "10.0.0.2", 1111, 2222)
    assert (said["proto"], said["ip_version"], said["tos"], said["packets"]) == (17, 4, 0x20, 1)
    assert (said["src_mac"], said["dst_mac"]) == (0x020000000001, 0x020000000002)
    assert (said["input"], said["output"], said["version"]) == (7, 8, 105)
    assert (said["bytes"], said["scaled_bytes"]) == (40, 4000)  # of layer 3, by its header, not the frame's 1014
    assert said["start"] == said["end"] == said["received"]


@pytest.mark.parametrize(
    ("frame", "vlan", "tunnel"),
    [
        (ethernet(ipv4(udp()), tags=((0x8100, 42),)), 42, ""),
        (ethernet(ipv4(udp()), tags=((0x88A8, 7), (0x8100, 42))), 7, ""),
        (ethernet(struct.pack(">I", 100 << 12 | 1 << 8 | 64) + ipv4(udp()), kind=0x8847), 0, "mpls"),
        (ethernet(ipv4(struct.pack(">HH", 0, 0x0800) + ipv4(udp()), 47, "1.1.1.1", "2.2.2.2")), 0, "gre"),
        (
            ethernet(ipv4(udp(b"\x08\0\0\0\0\0\x05\0" + ethernet(ipv4(udp())), 5000, 4789), source="1.1.1.1", target="2.2.2.2")),
            0,
            "vxlan",
        ),
    ],
)
def test_tags_labels_and_tunnels(frame: bytes, vlan: int, tunnel: str) -> None:
    said = row(raw_header(frame))
    assert (text(said["src"]), said["dport"], said["bytes"]) == ("10.0.0.1", 2222, 40)
    assert (said["vlan"], tunnel_name(int(str(said["tunnel"])))) == (vlan, tunnel)


@pytest.mark.parametrize(
    ("protocol", "packet"),
    [
        (11, ipv4(udp())),
        (12, ipv6(udp(), label=77)),
        (13, struct.pack(">I", 100 << 12 | 1 << 8 | 64) + ipv4(udp())),
        (7, b"\x00\x21" + ipv4(udp())),
    ],
)
def test_headers_that_are_no_ethernet(protocol: int, packet: bytes) -> None:
    said = row(raw_header(packet, protocol=protocol, stripped=0))
    assert (said["dport"], said["proto"]) == (2222, 17)
    assert said["bytes"] == (60 if protocol == 12 else 40)
    assert said["flow_label"] == (77 if protocol == 12 else 0)


def test_a_header_that_is_no_ip_is_kept_and_marked() -> None:
    said = row(raw_header(ethernet(b"x" * 46, kind=0x0806, tags=((0x8100, 9),)), length=68))
    assert (said["marks"], said["packets"], said["bytes"]) == (FlowMark.PARTIAL_FRAME, 1, 46)
    assert said["src_mac"] == 0x020000000001


def test_a_header_of_an_unknown_protocol_is_counted() -> None:
    said = row(raw_header(b"x" * 60, protocol=99, length=500, stripped=0))
    assert (said["packets"], said["bytes"]) == (1, 500)


def test_ipv4_and_ipv6_records() -> None:
    four = sflow_record(3, struct.pack(">II4s4sIIII", 1500, 6, ip("1.1.1.1"), ip("2.2.2.2"), 80, 443, 0x18, 0x10))
    said = row(four)
    assert (text(said["src"]), said["dport"], said["tcp_flags"], said["tos"], said["bytes"]) == ("1.1.1.1", 443, 0x18, 0x10, 1500)
    six = sflow_record(4, struct.pack(">II16s16sIIII", 900, 17, ip("2001:db8::1"), ip("2001:db8::2"), 53, 54, 0, 3))
    said = row(six)
    assert (text(said["dst"]), said["sport"], said["ip_version"], said["bytes"]) == ("2001:db8::2", 53, 6, 900)


def test_an_ethernet_record() -> None:
    said = row(sflow_record(2, struct.pack(">I6s2x6s2xI", 114, b"\x02" * 6, b"\x04" * 6, 0x0806)))
    assert (said["bytes"], said["src_mac"], said["dst_mac"]) == (100, 0x020202020202, 0x040404040404)


def test_switch_router_and_gateway() -> None:
    path = struct.pack(">IIIII", 1, 2, 3, 64_501, 64_502) + struct.pack(">I", 64_503)
    gateway = xdr_address("3.3.3.3") + struct.pack(">III", 64_496, 64_497, 64_498) + path + struct.pack(">II", 0, 100)
    said = row(
        raw_header(FRAME),
        sflow_record(1001, struct.pack(">IIII", 10, 0, 20, 0)),
        sflow_record(1002, xdr_address("4.4.4.4") + struct.pack(">II", 24, 16)),
        sflow_record(1003, gateway),
    )
    assert (said["vlan"], said["post_vlan"], said["src_mask"], said["dst_mask"]) == (10, 20, 24, 16)
    assert (text(said["next_hop"]), text(said["bgp_next_hop"])) == ("4.4.4.4", "3.3.3.3")
    assert (said["src_as"], said["dst_as"]) == (64_497, 64_503)


def test_translation() -> None:
    addresses = sflow_record(1007, xdr_address("5.5.5.5") + xdr_address("2001:db8::9"))
    said = row(raw_header(FRAME), addresses, sflow_record(1020, struct.pack(">II", 40_000, 443)))
    assert (text(said["nat_src"]), text(said["nat_dst"]), said["nat_sport"], said["nat_dport"]) == ("5.5.5.5", "2001:db8::9", 40_000, 443)


def test_records_without_a_column_are_handed_on() -> None:
    flows = one(raw_header(FRAME), sflow_record(1021, b"abcd"), sflow_record(5, b"efgh", enterprise=4413)).flows  # type: ignore[attr-defined]
    assert extra(flows) == {"sflow:0:1021": b"abcd", "sflow:4413:5": b"efgh"}


def test_a_sample_without_a_record_is_a_packet() -> None:
    said = row()
    assert (said["packets"], said["scaled_packets"], said["bytes"]) == (1, 100, 0)


@pytest.mark.parametrize(
    ("went", "output", "marks", "reason"),
    [
        (8, 8, 0, 0),
        (0x3FFFFFFF, 0x3FFFFFFF, 0, 0),
        (1 << 30 | 258, 0, FlowMark.DISCARDED, 258),
        (2 << 30 | 5, 0, FlowMark.MANY_OUTPUTS, 0),
    ],
)
def test_formats_of_interfaces(went: int, output: int, marks: int, reason: int) -> None:
    said = row(raw_header(FRAME), went=went)
    assert (said["output"], said["marks"], said["drop_reason"]) == (output, marks, reason)


def test_expanded_samples() -> None:
    bench = Collector()
    flows = bench.feed(sflow(expanded_sample(raw_header(FRAME)), expanded_sample(raw_header(FRAME), number=2, went=(1, 3))))
    assert flows["output"].tolist() == [8, 0]
    assert flows["drop_reason"].tolist() == [0, 3]
    assert flows["position"].tolist() == [36, 36 + 8 + 44 + 8 + 16 + 56]


def test_discarded_packets() -> None:
    body = struct.pack(">IIIIIIII", 1, 0, 7, 0, 7, 8, 300, 1) + raw_header(FRAME)
    bench = Collector()
    flows = bench.feed(sflow(struct.pack(">II", 5, len(body)) + body))
    assert flows["marks"][0] == FlowMark.DISCARDED | FlowMark.DROP_REPORT
    assert (flows["drop_reason"][0], flows["input"][0], flows["output"][0], flows["rate"][0]) == (300, 7, 8, 1)
    assert text(flows["src"][0]) == "10.0.0.1"
    assert bench.account["drop_samples"] == 1


def counters(kind: int = 2, number: int = 1) -> bytes:
    numbers = struct.pack(">IIQIIQIIIIIIQIIIIII", 7, 6, 10**9, 1, 3, 2**40, 1, 2, 3, 4, 5, 6, 2**41, 7, 8, 9, 10, 11, 1)
    source = struct.pack(">I", 7) if kind == 2 else struct.pack(">II", 0, 7)
    body = struct.pack(">I", number) + source + struct.pack(">I", 2) + sflow_record(1, numbers) + sflow_record(2, b"\0" * 52)
    return struct.pack(">II", kind, len(body)) + body


@pytest.mark.parametrize("kind", [2, 4])
def test_counters_of_interfaces(kind: int) -> None:
    bench = Collector()
    (found,) = bench.decoded(sflow(counters(kind)))
    assert len(found.flows) == 0
    (said,) = found.counters
    assert (said["interface"], said["speed"], said["status"]) == (7, 10**9, 3)
    assert (said["in_bytes"], said["out_bytes"], said["in_errors"], said["promiscuous"]) == (2**40, 2**41, 5, 1)
    assert found.exporters == [address16(EXPORTER)]
    assert bench.account["counter_samples"] == 1


def test_what_an_agent_does_not_count_is_null() -> None:
    unknown = np.zeros(1, COUNTER_DTYPE)
    unknown["speed"], unknown["in_errors"], unknown["out_bytes"], unknown["direction"] = 2**64 - 1, 2**32 - 1, 2**64 - 1, 9
    (said,) = interface_rows(unknown, [address16("2001:db8::7")], [1], FlowCollector("c", "d")).to_pylist()
    assert [said[name] for name in ("speed", "in_errors", "out_bytes", "in_bytes")] == [None, None, None, 0]
    assert (said["exporter_ip"], said["duplex"], said["oper_up"]) == ("2001:db8::7", "", False)


# ---- whose it is


def test_the_agent_is_the_exporter_or_the_sender_is() -> None:
    flows = Collector().feed(sflow(flow_sample(), agent="10.9.9.9"))
    assert (text(flows["exporter"][0]), text(flows["sender"][0])) == ("10.9.9.9", EXPORTER)
    flows = Collector(agent_is_exporter=False).feed(sflow(flow_sample(), agent="10.9.9.9"))
    assert text(flows["exporter"][0]) == EXPORTER


def test_an_agent_without_an_address_is_known_by_its_sender() -> None:
    assert text(Collector().feed(sflow(flow_sample(), agent="0.0.0.0"))["exporter"][0]) == EXPORTER


def test_no_next_router_is_no_address() -> None:
    said = row(raw_header(FRAME), sflow_record(1002, xdr_address("0.0.0.0") + struct.pack(">II", 24, 16)))
    assert (said["next_hop"], said["src_mask"]) == (bytes(16), 24)


def test_an_agent_of_ipv6() -> None:
    assert text(Collector().feed(sflow(flow_sample(), agent="2001:db8::7"))["exporter"][0]) == "2001:db8::7"


# ---- what is lost


def kept(every: int, *payloads: bytes) -> DatagramBatch:
    """Datagrams of which the collector kept one in so many."""
    made = DatagramBatch.of((payload, address16(EXPORTER), 2055, NOW * 1_000_000) for payload in payloads)
    made.kept_of = [every] * len(payloads)
    return made


def test_samples_that_the_collector_left_out_are_not_lost() -> None:
    bench = Collector()
    list(decode(kept(1, sflow(flow_sample(number=10), sequence=1)), bench.sessions))
    list(decode(kept(4, sflow(flow_sample(number=25), sequence=5)), bench.sessions))  # three datagrams with 14 samples
    assert (bench.account["lost"], bench.account["spared"]) == (0, 3)
    assert (bench.account["lost_samples"], bench.account["spared_samples"]) == (0, 14)
    list(decode(kept(4, sflow(flow_sample(number=38), sequence=12)), bench.sessions))  # six datagrams, of which three were lost
    assert (bench.account["lost"], bench.account["spared"]) == (3, 6)
    assert (bench.account["lost_samples"], bench.account["spared_samples"]) == (6, 20)
    list(decode(kept(1, sflow(flow_sample(number=40), sequence=14)), bench.sessions))
    assert (bench.account["lost"], bench.account["lost_samples"]) == (4, 7)
    again = state.decode(state.encode(bench.sessions))
    list(decode(kept(1, sflow(flow_sample(number=42), sequence=16)), again))
    assert [account["lost_samples"] for _, account in again.accounts()] == [8]


def test_lost_datagrams_and_samples() -> None:
    bench = Collector()
    bench.feed(sflow(flow_sample(number=10), sequence=1), sflow(flow_sample(number=11), flow_sample(number=14), sequence=4))
    bench.feed(sflow(flow_sample(number=15), flow_sample(number=1, source=9), counters(number=3), sequence=5))
    assert (bench.account["lost"], bench.account["lost_samples"]) == (2, 2)


def test_samples_that_the_agent_had_no_room_for() -> None:
    bench = Collector()
    bench.feed(sflow(flow_sample(drops=3), flow_sample(number=2, drops=5), flow_sample(source=8, drops=2)))
    assert bench.account["agent_drops"] == 7


def test_agents_and_sub_agents_count_for_themselves() -> None:
    bench = Collector()
    bench.feed(sflow(sequence=1), sflow(sequence=100, sub_agent=1), sflow(sequence=500, agent="10.9.9.9"))
    bench.feed(sflow(sequence=2), sflow(sequence=101, sub_agent=1), sflow(sequence=501, agent="10.9.9.9"))
    assert [account["lost"] for _, account in bench.sessions.accounts()] == [0, 0, 0]


def test_a_late_datagram_and_a_restart() -> None:
    bench = Collector()
    for sequence, up in ((10, 0), (12, 200), (11, 100), (13, 300)):
        bench.feed(sflow(sequence=sequence, uptime=UPTIME + up), received=NOW + up / 1000)
    assert (bench.account["lost"], bench.account["late"], bench.account["restarts"]) == (0, 1, 0)
    bench.feed(sflow(sequence=1, uptime=1000), received=NOW + 60)
    assert (bench.account["lost"], bench.account["restarts"]) == (0, 1)


# ---- rates


def samples(numbers: range, told: int, every: int) -> bytes:
    return b"".join(flow_sample(number=n, rate=told, pool=n * every % 2**32) for n in numbers)


def sampled(numbers: range, told: int, every: int, sequence: int) -> bytes:
    return sflow(samples(numbers, told, every), sequence=sequence, count=len(numbers))


def test_the_rate_told_holds_at_first() -> None:
    flows = Collector().feed(sampled(range(1, 9), 100, 400, 1))
    assert flows["rate"].tolist() == [100] * 8
    assert set(flows["rate_source"].tolist()) == {RateSource.HEADER}


def test_the_rate_is_that_of_the_pool() -> None:
    """A busy agent that was told 1:100 takes one packet of 400."""
    bench = Collector()
    first = bench.feed(sampled(range(1, 101), 100, 400, 1))
    assert first["rate"].tolist() == [100] * 16 + [400] * 84
    assert first["rate_source"][-1] == RateSource.POOL
    later = [bench.feed(sampled(range(n, n + 100), 100, 50, 2 + n // 100)) for n in range(101, 3001, 100)]
    assert later[-1]["rate"].tolist() == [50] * 100


def test_lost_samples_do_not_raise_the_rate() -> None:
    bench = Collector()
    bench.feed(sampled(range(1, 40), 100, 100, 1))
    assert set(bench.feed(sampled(range(1000, 1040), 100, 100, 2))["rate"].tolist()) == {100.0}


def test_a_pool_that_wraps_or_begins_anew() -> None:
    bench = Collector()
    near = 2**32 // 1000 - 20
    assert bench.feed(sampled(range(near, near + 60), 1000, 1000, 1))["rate"].tolist() == [1000] * 60
    anew = b"".join(flow_sample(number=near + 60 + n, rate=1000, pool=7 * n) for n in range(20))
    again = bench.feed(sflow(anew, sequence=2, count=20))
    assert again["rate"][0] == 1000
    assert again["rate"][-1] == 7


def test_a_rate_that_nobody_tells_is_marked() -> None:
    said = row(raw_header(FRAME), rate=0)
    assert (said["rate"], said["rate_source"], said["scaled_packets"]) == (1.0, RateSource.UNKNOWN, 1)


# ---- two ways


def rows_of(bench: Collector, *payloads: bytes) -> list[dict[str, object]]:
    found = [row for piece in bench.decoded(*payloads) for row in piece.flows.to_arrow().to_pylist()]
    return sorted(found, key=lambda r: (r["datagram"], r["position"]))


def test_the_kernel_comes_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Datagrams of flow samples with the usual records are read by a kernel, others sample by sample."""
    router = sflow_record(1002, xdr_address("4.4.4.4") + struct.pack(">II", 24, 300))
    six = sflow_record(1002, xdr_address("2001:db8::9") + struct.pack(">II", 64, 48))
    nobody = sflow_record(1002, struct.pack(">III", 0, 8, 9))
    switch = sflow_record(1001, struct.pack(">IIII", 10, 0, 20, 0))
    kinds = [
        (),
        (raw_header(FRAME),),
        (switch, raw_header(FRAME[:17], length=1518), router),
        (six, raw_header(ipv6(udp(), label=5), protocol=12, stripped=0), switch),
        (raw_header(ethernet(b"x" * 46, kind=0x0806)), nobody),
        (raw_header(b"", length=100),),
    ]
    messages, number = [], 0
    for k, records in enumerate(kinds):
        for went in (8, 0x3FFFFFFF, 1 << 30 | 300, 2 << 30 | 5, 3 << 30):
            number += 3
            plain = flow_sample(*records, number=number, source=1 << 24 | 7, pool=50 * number, went=went, came=k % 4 << 30 | 7, drops=k)
            more = expanded_sample(*reversed(records), number=number + 1, source=9, pool=70 * number, went=(went >> 30, went & 0xFFFFFF))
            messages.append(sflow(plain, more, sequence=number))
    swift, slow = Collector(), Collector()
    found = rows_of(swift, *messages)
    assert len(found) == 2 * len(messages)
    calls = []
    monkeypatch.setattr("jobs.flowexport.sflow._plain", lambda *given: bool(calls.append(given)))
    assert rows_of(slow, *messages) == found
    assert len(calls) == len(messages)
    assert slow.sessions.known == swift.sessions.known


def test_what_the_kernel_leaves_to_others() -> None:
    """A datagram with anything else in it is read sample by sample, and nothing of it twice."""
    bench = Collector()
    flows = bench.feed(sflow(flow_sample(raw_header(FRAME)), flow_sample(sflow_record(1021, b"abcd"), number=2)))
    assert flows["packets"].tolist() == [1, 1]
    assert (bench.account["records"], bench.account["repeated"]) == (2, 0)


# ---- damage


def test_a_record_that_goes_beyond_its_sample_costs_no_packet() -> None:
    bench = Collector()
    bad = struct.pack(">II", 1, 500) + b"x" * 8
    flows = bench.feed(sflow(flow_sample(bad), flow_sample(raw_header(FRAME), number=2)))
    assert flows["packets"].tolist() == [1, 1]
    assert text(flows["src"][1]) == "10.0.0.1"
    assert bench.rejected == [("bad_sample", False)]


def test_a_header_longer_than_its_record() -> None:
    bench = Collector()
    bench.feed(sflow(flow_sample(sflow_record(1, struct.pack(">IIII", 1, 100, 0, 2**31) + FRAME))))
    assert bench.rejected == [("bad_sample", False)]


def test_a_path_longer_than_its_record() -> None:
    bench = Collector()
    gateway = xdr_address("3.3.3.3") + struct.pack(">IIIIII", 1, 2, 3, 2**32 - 1, 2, 2**30)
    bench.feed(sflow(flow_sample(sflow_record(1003, gateway))))
    assert bench.account["bad_sample"] == 1


@pytest.mark.parametrize("cut", [1, 7, 30, 60])
def test_a_datagram_cut_short(cut: int) -> None:
    bench = Collector()
    whole = sflow(flow_sample(raw_header(FRAME)), flow_sample(raw_header(FRAME), number=2))
    flows = bench.feed(whole[:-cut])
    assert len(flows) == 1
    assert bench.rejected == [("bad_sample", False)]


def test_a_count_beyond_the_samples_is_told() -> None:
    bench = Collector()
    assert len(bench.feed(sflow(flow_sample(), count=2**32 - 1))) == 1
    assert bench.rejected == [("bad_sample", False)]


def test_samples_of_unknown_kinds_are_passed_over() -> None:
    bench = Collector()
    assert len(bench.feed(sflow(struct.pack(">II", 77, 4) + b"abcd", flow_sample()))) == 1
    assert bench.account["unknown_samples"] == 1


@pytest.mark.parametrize("size", [4, 7, 11, 20, 27])
def test_less_than_a_header(size: int) -> None:
    bench = Collector()
    bench.feed(sflow()[:size])
    assert bench.rejected == [("short_header", True)]
