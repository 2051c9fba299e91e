"""IPFIX: lengths, enterprises, variable fields, both directions, times, link frames, structured data (RFC 7011, 5103, 6313, 7133)."""

from __future__ import annotations

import struct

import pytest

from jobs.flowexport.columns import FlowMark, RateSource
from tests.unit.flowexport.wire import (
    NOW,
    PLAIN,
    VARIABLE,
    Collector,
    a_set,
    data,
    ethernet,
    extra,
    ip,
    ipfix,
    ipv4,
    ipv6,
    options10,
    plain,
    template,
    templates10,
    text,
    udp,
    v9,
    variable,
)

BASE = ((8, 4), (12, 4), (1, 8), (2, 8))
T256 = templates10(template(256, BASE))


def base(source: str = "10.0.0.1", size: int = 1000, packets: int = 10) -> bytes:
    return ip(source) + ip("10.0.0.2") + struct.pack(">QQ", size, packets)


def test_values_of_a_record() -> None:
    flows = Collector().feed(ipfix(T256, data(256, base(), base("10.0.0.7", 2**40, 2**33))))
    assert flows["bytes"].tolist() == [1000, 2**40]
    assert flows["packets"].tolist() == [10, 2**33]
    assert text(flows["src"][1]) == "10.0.0.7"
    assert flows["version"].tolist() == [10, 10]


def test_versions_have_templates_of_their_own() -> None:
    bench = Collector()
    bench.feed(ipfix(T256))
    assert len(bench.feed(v9(data(256, base())))) == 0


# ---- the length of the message


def test_a_message_ends_where_it_says() -> None:
    bench = Collector()
    message = ipfix(T256, data(256, base()))
    assert len(bench.feed(message + data(256, base()))) == 1
    assert bench.account["bytes_behind_message"] == 28


@pytest.mark.parametrize("length", [0, 15, 5000])
def test_a_length_that_cannot_be_costs_the_message(length: int) -> None:
    bench = Collector()
    assert len(bench.feed(ipfix(T256, data(256, base()), length=length))) == 0
    assert bench.rejected == [("wrong_length", True)]
    assert bench.session.templates == {}


def test_a_set_beyond_the_message_costs_the_message_and_what_it_defined() -> None:
    bench = Collector()
    bench.feed(ipfix(T256))
    other = templates10(template(256, tuple(reversed(BASE))))
    assert len(bench.feed(ipfix(other, data(256, base()), struct.pack(">HH", 256, 400), sequence=0))) == 0
    assert bench.rejected == [("bad_set", True)]
    assert len(bench.feed(ipfix(data(256, base()), sequence=0))) == 1
    assert text(bench.feed(ipfix(data(256, base()), sequence=1))["src"][0]) == "10.0.0.1"


def test_books_are_right_after_a_message_that_cannot_be_read() -> None:
    bench = Collector(template_lifetime_us=60_000_000)
    bench.feed(ipfix(T256))
    late = ipfix(data(256, base()), templates10(template(257, BASE)), struct.pack(">HH", 256, 3))
    bench.feed(ipfix(data(256, base()), struct.pack(">HH", 256, 3)), late, received=NOW + 100)
    assert bench.session.fields == sum(len(t.fields) for t in bench.session.templates.values())


def test_a_variable_length_beyond_its_set_costs_the_message() -> None:
    bench = Collector()
    fields = templates10(template(257, ((8, 4), (96, VARIABLE))))
    whole = ip("1.1.1.1") + variable(b"name")
    assert len(bench.feed(ipfix(fields, T256, data(256, base()), data(257, whole, ip("1.1.1.1") + b"\xf0ab", pad=False)))) == 0
    assert bench.rejected == [("bad_record", True)]


def test_options_of_a_message_that_cannot_be_read_are_not_taken() -> None:
    bench = Collector()
    stated = options10(300, ((302, 4),), ((305, 4), (306, 4)))
    record = struct.pack(">III", 1, 1, 99)
    bench.feed(ipfix(stated, data(300, record)))
    assert bench.session.options.samplers == {1: 100}
    bench.feed(ipfix(data(300, struct.pack(">III", 1, 1, 9)), struct.pack(">HH", 256, 3), sequence=1))
    assert bench.session.options.samplers == {1: 100}


# ---- templates


def test_a_withdrawal_is_ignored() -> None:
    bench = Collector()
    bench.feed(ipfix(T256))
    bench.feed(ipfix(a_set(2, struct.pack(">HH", 256, 0)), a_set(2, struct.pack(">HH", 2, 0)), a_set(3, struct.pack(">HH", 3, 0))))
    assert bench.account["withdrawals_ignored"] == 3
    assert len(bench.feed(ipfix(data(256, base())))) == 1
    assert bench.rejected == []


def test_a_new_definition_replaces_the_old_at_once() -> None:
    bench = Collector()
    swapped = templates10(template(256, ((12, 4), (8, 4), *BASE[2:])))
    flows = bench.feed(ipfix(T256, data(256, base()), swapped, data(256, base())))
    assert sorted(text(a) for a in flows["src"]) == ["10.0.0.1", "10.0.0.2"]


def test_data_wait_for_their_template_and_are_counted_in_the_sequence() -> None:
    bench = Collector()
    bench.feed(ipfix(T256, data(256, base()), sequence=0))
    bench.feed(ipfix(data(257, base(), base()), sequence=1))
    bench.feed(ipfix(data(256, base()), sequence=3))
    assert (bench.account["lost"], bench.account["undecided"]) == (0, 2)
    flows = bench.feed(ipfix(templates10(template(257, BASE)), data(256, base()), sequence=4))
    assert len(flows) == 3
    assert (bench.account["lost"], bench.account["undecided"], bench.account["waiting_sets"]) == (0, 0, 0)
    bench.feed(ipfix(data(256, base()), sequence=5))
    assert bench.account["lost"] == 0


def test_of_data_that_waited_in_vain_the_records_are_lost() -> None:
    bench = Collector(waiting_us=60_000_000)
    bench.feed(ipfix(T256, data(256, base()), sequence=0))
    bench.feed(ipfix(data(257, base(), base()), sequence=1))
    bench.feed(ipfix(data(256, base()), sequence=8), received=NOW + 1)
    assert (bench.account["lost"], bench.account["undecided"]) == (0, 7)
    bench.feed(ipfix(data(256, base()), sequence=9), received=NOW + 100)
    assert (bench.account["lost"], bench.account["undecided"], bench.account["no_template"]) == (7, 0, 1)


def test_a_template_right_behind_what_waits_for_it() -> None:
    bench = Collector()
    bench.feed(ipfix(data(256, base(), base()), sequence=0))
    bench.feed(ipfix(T256, sequence=2))
    bench.feed(ipfix(data(256, base()), sequence=2))
    assert (bench.account["lost"], bench.account["repeated"], bench.account["records"]) == (0, 0, 3)


def test_records_count_in_the_sequence_those_of_options_too() -> None:
    bench = Collector()
    stated = options10(300, ((302, 4),), ((305, 4), (306, 4)))
    record = struct.pack(">III", 1, 1, 99)
    bench.feed(ipfix(T256, stated, data(300, record), data(256, base(), base()), sequence=100))
    bench.feed(ipfix(data(256, base()), sequence=103))
    assert bench.account["lost"] == 0
    bench.feed(ipfix(data(256, base()), sequence=110))
    assert bench.account["lost"] == 6


@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize("with_own", [False, True])
def test_options_that_an_exporter_does_not_count(counted: bool, with_own: bool) -> None:
    """Softflowd counts flows alone, those of the message included; the standard counts options too, and not those of the message."""
    bench = Collector()
    stated = options10(300, ((302, 4),), ((305, 4), (306, 4)))
    option = data(300, struct.pack(">III", 1, 1, 99))
    bench.feed(ipfix(T256, stated))
    sent = 0
    for i, n in enumerate((5, 3, 4, 7, 2, 6)):
        with_options = i % 2 == 0
        sets = [option] * with_options + [data(256, *[base()] * n)]
        before, sent = sent, sent + n + with_options * counted
        bench.feed(ipfix(*sets, sequence=sent if with_own else before, now=NOW + i), received=NOW + i)
    assert [bench.account[name] for name in ("lost", "late", "repeated", "restarts")] == [0, 0, 0, 0]


def test_the_scope_count_is_not_nothing() -> None:
    bench = Collector()
    bench.feed(ipfix(a_set(3, struct.pack(">HHH", 300, 1, 0) + struct.pack(">HH", 305, 4))))
    assert bench.rejected == [("bad_template", True)]


def test_enterprise_fields_of_options_templates() -> None:
    bench = Collector()
    stated = options10(300, ((149, 4),), ((137, 4, 2636), (34, 4)))
    bench.feed(ipfix(stated, data(300, struct.pack(">III", 1, 2, 512)), T256))
    assert bench.feed(ipfix(data(256, base()), sequence=1))["rate"][0] == 512


def test_reserved_sets_are_passed_over() -> None:
    bench = Collector()
    assert len(bench.feed(ipfix(a_set(4, b"abcd"), a_set(255, b""), T256, data(256, base())))) == 1
    assert bench.account["reserved_sets"] == 2


# ---- fields


def test_variable_lengths_of_one_and_three_bytes() -> None:
    fields = ((8, 4), (96, VARIABLE), (7, 2), (82, VARIABLE), (1, 4))
    records = [
        ip("1.1.1.1") + variable(b"short") + struct.pack(">H", 5) + variable(b"y" * 300) + struct.pack(">I", 11),
        ip("2.2.2.2") + variable(b"as long", long=True) + struct.pack(">H", 6) + variable(b"") + struct.pack(">I", 12),
    ]
    flows = Collector().feed(ipfix(templates10(template(256, fields)), data(256, *records)))
    assert [text(a) for a in flows["src"]] == ["1.1.1.1", "2.2.2.2"]
    assert flows["sport"].tolist() == [5, 6]
    assert flows["bytes"].tolist() == [11, 12]
    assert extra(flows, 0) == {"96": b"short", "82": b"y" * 300}
    assert extra(flows, 1) == {"96": b"as long"}
    first = 16 + 4 + 4 + 20 + 4
    assert flows["position"].tolist() == [first, first + len(records[0])]


def test_padding_behind_records_of_variable_length() -> None:
    fields = ((8, 4), (96, VARIABLE))
    flows = Collector().feed(ipfix(templates10(template(256, fields)), data(256, ip("1.1.1.1") + variable(b"ab"))))
    assert len(flows) == 1


def test_enterprise_fields_are_handed_on() -> None:
    fields = (*BASE, (100, 4, 41916), (100, 2, 9), (110, VARIABLE, 35632))
    record = base() + struct.pack(">IH", 7, 8) + variable(b"http")
    flows = Collector().feed(ipfix(templates10(template(256, fields)), data(256, record)))
    assert extra(flows) == {"41916:100": b"\0\0\0\x07", "9:100": b"\0\x08", "35632:110": b"http"}


def test_of_identical_elements_the_first_is_the_column() -> None:
    fields = ((8, 4), (8, 4), (8, 4), (1, 4))
    record = ip("1.1.1.1") + ip("2.2.2.2") + ip("3.3.3.3") + struct.pack(">I", 9)
    flows = Collector().feed(ipfix(templates10(template(256, fields)), data(256, record)))
    assert text(flows["src"][0]) == "1.1.1.1"
    assert extra(flows) == {"8#1": ip("2.2.2.2"), "8#2": ip("3.3.3.3")}


def test_padding_octets_are_no_field() -> None:
    flows = Collector().feed(ipfix(templates10(template(256, (*BASE, (210, 4)))), data(256, base() + b"pad!")))
    assert extra(flows) == {}


def test_both_directions_in_one_record() -> None:
    fields = (*BASE, (1, 4, 29305), (2, 4, 29305), (6, 1, 29305), (239, 1), (136, 1, 29305))
    record = base() + struct.pack(">IIBBB", 500, 5, 0x12, 1, 3)
    flows = Collector().feed(ipfix(templates10(template(256, fields)), data(256, record)))
    names = ("bytes", "reverse_bytes", "packets", "reverse_packets", "reverse_tcp_flags", "biflow_direction")
    assert [int(flows[name][0]) for name in names] == [1000, 500, 10, 5, 0x12, 1]
    assert flows["marks"][0] & FlowMark.BIFLOW
    assert extra(flows) == {"29305:136": b"\x03"}


def test_flags_of_the_first_packet_and_of_the_others() -> None:
    fields = (*BASE, (14, 1, 6871), (15, 1, 6871), (14 | 0x4000, 1, 6871), (15 | 0x4000, 1, 6871))
    flows = Collector().feed(ipfix(templates10(template(256, fields)), data(256, base() + bytes([2, 0x18, 0x12, 0x10]))))
    assert (flows["tcp_flags"][0], flows["reverse_tcp_flags"][0]) == (0x1A, 0x12)


def test_initiator_and_responder() -> None:
    fields = ((231, 4), (232, 4), (298, 4), (299, 4))
    flows = Collector().feed(ipfix(templates10(template(256, fields)), data(256, struct.pack(">IIII", 1, 2, 3, 4))))
    assert [int(flows[n][0]) for n in ("bytes", "reverse_bytes", "packets", "reverse_packets")] == [1, 2, 3, 4]
    assert flows["marks"][0] & FlowMark.BIFLOW


def test_structured_data_are_skipped_and_handed_on() -> None:
    """basicList (291), subTemplateList (292) and subTemplateMultiList (293) of RFC 6313."""
    listed = b"\xff" + struct.pack(">HH", 8, 4) + ip("9.9.9.9") + ip("8.8.8.8")
    nested = b"\xff" + struct.pack(">HH", 291, VARIABLE) + variable(listed) * 3
    fields = (*BASE, (291, VARIABLE), (292, VARIABLE), (293, VARIABLE), (7, 2))
    record = base() + variable(nested) + variable(b"\xff\x01\x00") + variable(b"\xff", long=True) + struct.pack(">H", 99)
    flows = Collector().feed(ipfix(templates10(template(256, fields)), data(256, record, record)))
    assert flows["sport"].tolist() == [99, 99]
    assert extra(flows, 1) == {"291": nested, "292": b"\xff\x01\x00", "293": b"\xff"}


@pytest.mark.parametrize(
    ("fields", "record", "kind", "code"),
    [
        (((4, 1), (32, 2)), b"\x01\x03\x0d", 3, 13),
        (((4, 1), (139, 2)), b"\x3a\x80\x00", 128, 0),
        (((4, 1), (176, 1), (177, 1)), b"\x01\x0b\x01", 11, 1),
        (((4, 1), (178, 1), (179, 1)), b"\x3a\x87\x02", 135, 2),
        (((4, 1), (11, 2)), b"\x01\x08\x00", 8, 0),
        (((4, 1), (32, 2)), b"\x06\x03\x0d", -1, -1),
    ],
)
def test_type_and_code_of_icmp(fields: tuple[tuple[int, int], ...], record: bytes, kind: int, code: int) -> None:
    flows = Collector().feed(ipfix(templates10(template(256, fields)), data(256, record, pad=False)))
    assert (flows["icmp_type"][0], flows["icmp_code"][0]) == (kind, code)


@pytest.mark.parametrize(
    ("fields", "record", "rate"),
    [
        (((305, 4), (306, 4)), struct.pack(">II", 1, 99), 100),
        (((305, 4), (306, 4)), struct.pack(">II", 10, 90), 10),
        (((309, 4), (310, 4)), struct.pack(">II", 2, 100), 50),
        (((311, 8),), struct.pack(">d", 0.01), 100),
        (((311, 4),), struct.pack(">f", 0.25), 4),
        (((50, 4),), struct.pack(">I", 7), 7),
        # a Cisco router: one packet in a row by systematic sampling, which is not what it does, and 1 of 256 at random, which it does
        (((305, 4), (304, 2), (309, 4), (310, 4)), struct.pack(">IHII", 1, 3, 1, 256), 256),
        (((305, 4), (306, 4), (304, 2), (309, 4), (310, 4)), struct.pack(">IIHII", 1, 9, 3, 1, 256), 256),
        (((305, 4), (306, 4), (304, 2), (309, 4), (310, 4)), struct.pack(">IIHII", 1, 9, 1, 1, 256), 10),
        (((305, 4),), struct.pack(">I", 1), 1),
    ],
)
def test_ways_to_state_a_rate(fields: tuple[tuple[int, int], ...], record: bytes, rate: float) -> None:
    inside = Collector().feed(ipfix(templates10(template(256, (*BASE, *fields))), data(256, base() + record)))
    assert inside["rate"][0] == pytest.approx(rate)
    assert inside["rate_source"][0] == RateSource.RECORD
    bench = Collector()
    bench.feed(ipfix(options10(300, ((302, 8),), fields), data(300, struct.pack(">Q", 5) + record)))
    flows = bench.feed(ipfix(templates10(template(256, (*BASE, (302, 8)))), data(256, base() + struct.pack(">Q", 5)), sequence=1))
    assert flows["rate"][0] == pytest.approx(rate)
    assert flows["scaled_packets"][0] == round(10 * rate)


# ---- times

START, END = NOW - 5, NOW - 1
NTP = 2_208_988_800


@pytest.mark.parametrize(
    ("fields", "record"),
    [
        (((150, 4), (151, 4)), struct.pack(">II", START, END)),
        (((152, 8), (153, 8)), struct.pack(">QQ", START * 1000, END * 1000)),
        (((154, 8), (155, 8)), struct.pack(">IIII", START + NTP, 0, END + NTP, 0)),
        (((156, 8), (157, 8)), struct.pack(">IIII", START + NTP, 0, END + NTP, 0)),
        (((158, 4), (159, 4)), struct.pack(">II", 5_000_000, 1_000_000)),
        (((160, 8), (22, 4), (21, 4)), struct.pack(">QII", (NOW - 1000) * 1000, 995_000, 999_000)),
        (((152, 8), (161, 4)), struct.pack(">QI", START * 1000, 4000)),
        (((153, 8), (162, 4)), struct.pack(">QI", END * 1000, 4_000_000)),
        (((150, 4), (152, 8), (153, 8)), struct.pack(">IQQ", START - 1, START * 1000, END * 1000)),
    ],
)
def test_ways_to_state_times(fields: tuple[tuple[int, int], ...], record: bytes) -> None:
    flows = Collector().feed(ipfix(templates10(template(256, (*BASE, *fields))), data(256, base() + record)))
    assert flows["start_us"][0] == START * 1_000_000
    assert flows["end_us"][0] == END * 1_000_000
    assert flows["marks"][0] == 0


def test_fractions_of_seconds_and_the_second_era() -> None:
    later = 2**32 - NTP + 1000  # seconds of 2036, when NTP's 32 bits begin anew
    fields = (*BASE, (154, 8), (155, 8))
    record = base() + struct.pack(">IIII", 999, 2**31, 1000, 2**30)
    flows = Collector().feed(ipfix(templates10(template(256, fields)), data(256, record), now=later), received=later)
    assert flows["start_us"][0] == (later - 1) * 1_000_000 + 500_000
    assert flows["end_us"][0] == later * 1_000_000 + 250_000


def test_uptimes_without_a_start_have_only_their_difference() -> None:
    fields = (*BASE, (22, 4), (21, 4))
    flows = Collector().feed(ipfix(templates10(template(256, fields)), data(256, base() + struct.pack(">II", 2**32 - 1000, 3000))))
    assert flows["marks"][0] == FlowMark.TIME_RELATIVE
    assert flows["end_us"][0] == NOW * 1_000_000
    assert flows["start_us"][0] == (NOW - 4) * 1_000_000


def test_the_start_of_the_exporter_from_options() -> None:
    bench = Collector()
    bench.feed(ipfix(options10(300, ((144, 4),), ((160, 8),)), data(300, struct.pack(">IQ", 1, (NOW - 5_000_000) * 1000))))
    fields = (*BASE, (22, 4), (21, 4))
    up = 5_000_000_000 % 2**32  # has begun anew
    record = base() + struct.pack(">II", up - 5000, up - 1000)
    flows = bench.feed(ipfix(templates10(template(256, fields)), data(256, record), sequence=1))
    assert (flows["start_us"][0], flows["end_us"][0]) == (START * 1_000_000, END * 1_000_000)


def test_no_time_at_all_is_that_of_the_export() -> None:
    flows = Collector().feed(ipfix(T256, data(256, base()), now=NOW - 2))
    assert flows["start_us"][0] == flows["end_us"][0] == (NOW - 2) * 1_000_000
    assert flows["marks"][0] == FlowMark.TIME_MISSING


@pytest.mark.parametrize(("start", "end"), [(NOW + 10_000, NOW + 10_010), (NOW - 200_010, NOW - 200_000)])
def test_times_that_cannot_be_are_replaced(start: int, end: int) -> None:
    fields = (*BASE, (150, 4), (151, 4))
    flows = Collector().feed(ipfix(templates10(template(256, fields)), data(256, base() + struct.pack(">II", start, end))))
    assert flows["marks"][0] == FlowMark.TIME_REPLACED
    assert flows["end_us"][0] == NOW * 1_000_000
    assert flows["start_us"][0] == (NOW - 10) * 1_000_000


@pytest.mark.parametrize("start", [0, END + 100])
def test_a_start_that_cannot_be_is_the_end(start: int) -> None:
    fields = (*BASE, (150, 4), (151, 4))
    flows = Collector().feed(ipfix(templates10(template(256, fields)), data(256, base() + struct.pack(">II", start, END))))
    assert flows["start_us"][0] == flows["end_us"][0] == END * 1_000_000
    assert flows["marks"][0] == FlowMark.TIME_REPLACED


# ---- beginnings of packets


@pytest.mark.parametrize("length", [VARIABLE, 64])
def test_link_frames_are_read_by_the_packet_decoder(length: int) -> None:
    frame = ethernet(ipv4(udp(), tos=0xB8), tags=((0x8100, 42),))
    frame = frame.ljust(64, b"\0") if length == 64 else frame
    record = struct.pack(">I", 3) + (variable(frame) if length == VARIABLE else frame) + struct.pack(">H", 1000)
    flows = Collector().feed(ipfix(templates10(template(256, ((10, 4), (315, length), (312, 2)))), data(256, record)))
    assert (text(flows["src"][0]), text(flows["dst"][0])) == ("10.0.0.1", "10.0.0.2")
    names = ("sport", "dport", "proto", "bytes", "packets", "vlan", "tos", "input", "ip_version")
    assert [int(flows[name][0]) for name in names] == [1111, 2222, 17, 40, 1, 42, 0xB8, 3, 4]
    assert (flows["src_mac"][0], flows["dst_mac"][0]) == (0x020000000001, 0x020000000002)


def test_ip_packets_without_a_link() -> None:
    packet = ipv6(udp(), traffic=0x28, label=0xABCDE)
    flows = Collector().feed(ipfix(templates10(template(256, ((313, VARIABLE),))), data(256, variable(packet))))
    assert text(flows["src"][0]) == "2001:db8::1"
    assert (flows["bytes"][0], flows["proto"][0], flows["dport"][0]) == (60, 17, 2222)


def test_a_link_frame_that_is_no_ip_is_kept_and_marked() -> None:
    record = variable(ethernet(b"x" * 46, kind=0x0806))
    flows = Collector().feed(ipfix(templates10(template(256, ((315, VARIABLE),))), data(256, record)))
    assert (flows["marks"][0] & FlowMark.PARTIAL_FRAME) != 0
    assert (flows["bytes"][0], flows["packets"][0], flows["ip_version"][0]) == (46, 1, 0)


def test_what_a_record_says_itself_wins_over_its_frame() -> None:
    record = ip("9.9.9.9") + variable(ethernet(ipv4(udp())))
    flows = Collector().feed(ipfix(templates10(template(256, ((8, 4), (315, VARIABLE)))), data(256, record)))
    assert (text(flows["src"][0]), text(flows["dst"][0])) == ("9.9.9.9", "10.0.0.2")


def test_plain_is_of_both_protocols() -> None:
    nine = Collector().feed(v9(a_set(0, template(256, PLAIN)), data(256, plain())))
    ten = Collector().feed(ipfix(templates10(template(256, PLAIN)), data(256, plain())))
    same = ("src", "dst", "sport", "dport", "proto", "tcp_flags", "bytes", "packets")
    assert all((nine[name] == ten[name]).all() for name in same)
