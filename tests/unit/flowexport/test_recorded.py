"""Datagrams recorded from exporters of some twenty vendors, against what another decoder made of them; and real exporters of one capture.

Names and forms of the expected values are those of that decoder: this file says how ours correspond.
"""

from __future__ import annotations

import ipaddress
import json
import os
import struct
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from jobs.flowexport.columns import FlowMark
from tests.unit.flowexport.wire import Collector

DATA = Path(os.environ.get("FLOWLAKE_DATA", "")) / "netflow"
there = DATA.is_dir() and "FLOWLAKE_DATA" in os.environ
pytestmark = pytest.mark.skipif(not there, reason="FLOWLAKE_DATA is not set")
CASES = json.loads((DATA / "expected.json").read_text(encoding="utf-8")) if there else []
WRAP_US = 2**32 * 1000

Row = dict[str, Any]
Check = Callable[[Row, Any], bool]


def same(column: str) -> Check:
    return lambda row, value: row[column] == value


def address(column: str) -> Check:
    def check(row: Row, value: str) -> bool:
        wanted, found = ipaddress.ip_address(value), ipaddress.IPv6Address(row[column])
        return found in (ipaddress.IPv6Address(wanted.packed.rjust(16, b"\0")), _mapped(wanted))

    return check


def _mapped(wanted: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv6Address:
    return ipaddress.IPv6Address(wanted.packed if wanted.version == 6 else bytes(10) + b"\xff\xff" + wanted.packed)


def mac(column: str) -> Check:
    return lambda row, value: row[column] == int(value.replace(":", ""), 16)


def moment(column: str) -> Check:
    """Times to the second, since the last digits of some were cut, and the other decoder forgets to borrow one.

    Uptimes that it took for the next round of 32 bits are the same time in ours.
    """

    def check(row: Row, value: str) -> bool:
        wanted = int(datetime.fromisoformat(value).timestamp() * 1_000_000)
        found = int(row[column].timestamp() * 1_000_000)
        away = (wanted - found) % WRAP_US
        return min(away, WRAP_US - away) <= 1_000_999 or bool(row["marks"] & FlowMark.TIME_REPLACED)

    return check


def kept(element: int | str) -> Check:
    """A number among the extras."""
    return lambda row, value: int.from_bytes(row["extra"][str(element)], "big") == value


def words(element: int | str) -> Check:
    return lambda row, value: row["extra"].get(str(element), b"").rstrip(b"\0").decode() == value


SAID: dict[str, Check] = {
    # NetFlow
    "version": same("version"),
    "flow_seq_num": same("sequence"),
    "flowset_id": same("template"),
    "ipv4_src_addr": address("src"),
    "ipv4_dst_addr": address("dst"),
    "ipv4_next_hop": address("next_hop"),
    "bgp_ipv4_next_hop": address("bgp_next_hop"),
    "l4_src_port": same("sport"),
    "l4_dst_port": same("dport"),
    "protocol": same("proto"),
    "tcp_flags": same("tcp_flags"),
    "src_tos": same("tos"),
    "input_snmp": same("input"),
    "output_snmp": same("output"),
    "src_as": same("src_as"),
    "dst_as": same("dst_as"),
    "src_mask": same("src_mask"),
    "dst_mask": same("dst_mask"),
    "in_src_mac": mac("src_mac"),
    "in_dst_mac": mac("dst_mac"),
    "out_src_mac": mac("src_mac"),
    "out_dst_mac": mac("dst_mac"),
    "direction": same("direction"),
    "first_switched": moment("start"),
    "last_switched": moment("end"),
    "xlate_src_addr_ipv4": address("nat_src"),
    "xlate_dst_addr_ipv4": address("nat_dst"),
    "xlate_src_port": same("nat_sport"),
    "xlate_dst_port": same("nat_dport"),
    "fw_event": same("firewall_event"),
    "ingressVRFID": same("vrf_in"),
    "egressVRFID": same("vrf_out"),
    "flow_sampler_id": same("sampler"),
    "conn_id": kept(148),
    "fw_ext_event": kept(33002),
    "app_id": words(56701),
    "user_id": words(56702),
    "flow_start_msec": lambda row, value: int(row["start"].timestamp() * 1000) == value,
    "event_time_msec": lambda row, value: int(row["end"].timestamp() * 1000) == value,
    "in_permanent_bytes": same("bytes"),
    "out_pkts": kept(24),
    "out_bytes": kept(23),
    "flow_end_reason": same("end_reason"),
    "forwarding_status": lambda row, value: row["forwarding"] == value["status"] << 6 | value["reason"],
    "icmp_code": lambda row, value: row["icmp_code"] == value,
    # IPFIX
    "sourceIPv4Address": address("src"),
    "destinationIPv4Address": address("dst"),
    "sourceTransportPort": same("sport"),
    "destinationTransportPort": same("dport"),
    "protocolIdentifier": same("proto"),
    "tcpControlBits": same("tcp_flags"),
    "octetDeltaCount": same("bytes"),
    "packetDeltaCount": same("packets"),
    "ingressInterface": same("input"),
    "egressInterface": same("output"),
    "ipClassOfService": same("tos"),
    "ipNextHopIPv4Address": address("next_hop"),
    "postNATSourceIPv4Address": address("nat_src"),
    "postNATDestinationIPv4Address": address("nat_dst"),
    "bgpSourceAsNumber": same("src_as"),
    "bgpDestinationAsNumber": same("dst_as"),
    "vlanId": same("vlan"),
    "flowDirection": same("direction"),
    "flowEndReason": same("end_reason"),
    "flowStartSeconds": moment("start"),
    "flowEndSeconds": moment("end"),
    "flowStartMilliseconds": moment("start"),
    "flowEndMilliseconds": moment("end"),
    "reverseOctetTotalCount": same("reverse_bytes"),
    "reversePacketTotalCount": same("reverse_packets"),
    "silkAppLabel": kept("6871:33"),
    "maximumTTL": kept(53),
    "minimumIpTotalLength": kept(25),
    "maximumIpTotalLength": kept(26),
    "layer2SegmentId": kept(351),
    "proceraBaseService": words("15397:1"),
    "proceraService": words("15397:2"),
    "proceraIncomingOctets": kept("15397:3"),
    "proceraOutgoingOctets": kept("15397:4"),
    "proceraFlowBehavior": words("15397:15"),
    "proceraTemplateName": words("15397:47"),
    "flow_records": lambda row, value: value > 0,
    "engine_type": lambda row, value: row["domain"] >> 8 == value if row["version"] == 5 else True,
    "engine_id": lambda row, value: row["domain"] & 255 == value if row["version"] == 5 else True,
    "sampling_interval": lambda row, value: row["rate"] == max(value, 1),
    "in_bytes": lambda row, value: row["bytes"] == value or value == 0,
    "in_pkts": lambda row, value: row["packets"] == value or value == 0,
    "ip_protocol_version": lambda row, value: row["ip_version"] == value,
    "ipVersion": lambda row, value: row["ip_version"] == value,
    "octetTotalCount": lambda row, value: value in (row["bytes"], int.from_bytes(row["extra"].get("85", b""), "big")),
    "packetTotalCount": lambda row, value: value in (row["packets"], int.from_bytes(row["extra"].get("86", b""), "big")),
    "sourceIPv6Address": lambda row, value: value == "::" or address("src")(row, value),
    "destinationIPv6Address": lambda row, value: value == "::" or address("dst")(row, value),
}


def seconds(payload: bytes) -> int:
    """Export time of a header."""
    return int.from_bytes(payload[4:8] if payload[1] == 10 else payload[8:12], "big")


def decoded(case: dict[str, Any]) -> tuple[list[Row], Collector]:
    """Records of a case, each datagram received when it was exported."""
    bench, rows = Collector(), []
    for name in case["datagrams"]:
        payload = (DATA / name).read_bytes()
        rows += bench.feed(payload, received=seconds(payload)).to_arrow().to_pylist()
    for row in rows:
        row["extra"] = dict(row["extra"])
    return rows, bench


def disagreements(row: Row, event: dict[str, Any]) -> list[str]:
    """Names of the expected values that a record says otherwise, of those that it can say."""
    return [name for name, check in SAID.items() if name in event and not check(row, event[name])]


def of_flows(case: dict[str, Any]) -> list[dict[str, Any]]:
    """Expected records that are no options."""
    ends = ("ipv4_src_addr", "sourceIPv4Address", "sourceIPv6Address")
    return [event for event in case["events"] if any(end in event for end in ends)]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["name"].strip())
def test_as_many_records(case: dict[str, Any]) -> None:
    rows, bench = decoded(case)
    options = sum(account.get("options_records", 0) for _, account in bench.sessions.accounts())
    if case["records"] is not None:
        assert len(rows) + options == case["records"]
    assert bench.sessions.counts == {}
    assert all(whole is False for _, whole in bench.rejected)


@pytest.mark.parametrize("case", [c for c in CASES if of_flows(c)], ids=lambda c: c["name"].strip())
def test_as_the_other_decoder_read_them(case: dict[str, Any]) -> None:
    rows, _ = decoded(case)
    for event in of_flows(case):
        nearest = min((disagreements(row, event) for row in rows), key=len)
        assert nearest == [], f"{event}"
        assert sum(name in SAID for name in event) >= 8


def test_most_expected_values_are_compared() -> None:
    names = [name for case in CASES for event in of_flows(case) for name in event if name != "@timestamp"]
    assert sum(name in SAID for name in names) / len(names) > 0.8


def test_a_rate_in_options() -> None:
    (case,) = [c for c in CASES if "JunOS 15.1" in c["name"]]
    _, bench = decoded(case)
    assert bench.session.options.rate == 1000
    assert bench.session.options.boot_ms == 1_262_761_598_000


# ---- the recordings of real exporters


def recording(name: str) -> Iterator[tuple[float, int, bytes]]:
    """Time of receipt, port and payload of each datagram."""
    content, at = (DATA / "exporters" / name).read_bytes(), 0
    while at < len(content):
        received, port, size = struct.unpack_from("<dHH", content, at)
        at += 12
        yield received, port, content[at : at + size]
        at += size


def played(name: str) -> tuple[list[Row], Collector]:
    bench, rows = Collector(), []
    for received, port, payload in recording(name):
        rows += bench.feed(payload, received=received, port=port).to_arrow().to_pylist()
    return rows, bench


def total(rows: list[Row], column: str) -> int:
    return sum(row[column] for row in rows)


def ends(row: Row) -> tuple[Any, ...]:
    return (row["src"], row["dst"], row["sport"], row["dport"], row["proto"])


def test_one_capture_by_three_protocols_is_the_same_traffic() -> None:
    five, nine, ten = (played(f"softflowd-v{v}.bin")[0] for v in (5, 9, 10))
    flows = [{ends(row): (row["bytes"], row["packets"], row["tcp_flags"]) for row in rows} for rows in (five, nine, ten)]
    assert flows[1] == flows[2]
    assert flows[0] == {key: value for key, value in flows[1].items() if key in flows[0]}
    assert len(five) == sum(row["ip_version"] == 4 for row in nine)
    lasted = [sorted((row["end"] - row["start"]).total_seconds() for row in rows) for rows in (nine, ten)]
    assert lasted[0] == pytest.approx(lasted[1], abs=0.002)


def test_samples_of_every_packet_are_the_packets() -> None:
    """pmacctd sampled the capture that softflowd metered, each packet."""
    samples, bench = played("pmacct-sflow.bin")
    nine, _ = played("softflowd-v9.bin")
    assert bench.account["lost"] == bench.account["lost_samples"] == 0
    assert {row["rate"] for row in samples} == {1.0}
    by_flow: dict[tuple[Any, ...], int] = {}
    for row in samples:
        by_flow[ends(row)] = by_flow.get(ends(row), 0) + 1
    agree = sum(by_flow.get(ends(row)) == row["packets"] for row in nine)
    assert agree >= 0.7 * len(nine)  # each of the two leaves out some that the other has
    assert total(samples, "packets") == pytest.approx(total(nine, "packets"), rel=0.03)
    assert total(samples, "bytes") == pytest.approx(total(nine, "bytes"), rel=0.03)


def test_ipfix_of_pmacct_is_the_same_traffic() -> None:
    rows, _ = played("pmacct-ipfix.bin")
    nine, _ = played("softflowd-v9.bin")
    assert total(rows, "packets") == total(nine, "packets")


def test_open_vswitch_counts_and_samples() -> None:
    five, bench = played("ovs-nf5.bin")
    assert (bench.account["lost"], len(five)) == (0, 40)
    assert (total(five, "packets"), total(five, "bytes")) == (1000, 92_000)
    samples, bench = played("ovs-sflow.bin")
    assert bench.account["lost"] == bench.account["lost_samples"] == 0
    assert {row["rate"] for row in samples} == {4.0}
    assert bench.account["counter_samples"] == 33
    # a quarter of a thousand UDP packets and their answers; by the confidence of such a sample
    assert total([r for r in samples if r["proto"] == 17], "scaled_packets") == pytest.approx(1000, rel=0.2)


def test_templates_that_were_not_recorded_are_waited_for() -> None:
    rows, bench = played("ovs-ipfix.bin")
    assert rows == []
    assert bench.account["waiting_sets"] == bench.account["waited"] == 2029
    assert bench.account["lost"] == 0
