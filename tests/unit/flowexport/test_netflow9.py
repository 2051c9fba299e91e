"""NetFlow v9: templates, options, data before templates, padding, damage (RFC 3954)."""

from __future__ import annotations

import struct

import pytest

from jobs.flowexport.columns import FlowMark, RateSource
from tests.unit.flowexport.wire import (
    EXPORTER,
    NOW,
    PLAIN,
    Collector,
    a_set,
    data,
    extra,
    ip,
    options9,
    plain,
    template,
    templates9,
    text,
    v9,
)

T256 = templates9(template(256, PLAIN))


def test_values_of_a_record() -> None:
    flows = Collector().feed(v9(T256, data(256, plain(), plain("10.0.0.3"))))
    assert [text(a) for a in flows["src"]] == ["10.0.0.1", "10.0.0.3"]
    assert (flows["bytes"][0], flows["packets"][0], flows["sport"][0], flows["dport"][0]) == (1000, 10, 1234, 80)
    assert (flows["version"][0], flows["template"][0], flows["domain"][0]) == (9, 256, 1)
    assert flows["start_us"][0] == (NOW - 5) * 1_000_000
    assert flows["end_us"][0] == (NOW - 1) * 1_000_000


def test_a_template_serves_later_datagrams() -> None:
    bench = Collector()
    bench.feed(v9(T256))
    assert len(bench.feed(v9(data(256, plain()), sequence=1))) == 1


def test_domains_and_senders_have_templates_of_their_own() -> None:
    bench = Collector()
    other = templates9(template(256, ((12, 4), (8, 4))))
    bench.feed(v9(T256, domain=1), v9(other, domain=2))
    bench.feed(v9(templates9(template(256, ((8, 4), (1, 4))))), sender="192.0.2.2")
    assert text(bench.feed(v9(data(256, plain()), domain=1))["src"][0]) == "10.0.0.1"
    assert text(bench.feed(v9(data(256, ip("1.1.1.1") + ip("2.2.2.2")), domain=2))["src"][0]) == "2.2.2.2"
    assert bench.feed(v9(data(256, ip("3.3.3.3") + struct.pack(">I", 77))), sender="192.0.2.2")["bytes"][0] == 77


def test_ports_of_one_address_can_be_told_apart() -> None:
    bench = Collector(by_port=True)
    bench.feed(v9(T256), port=1000)
    bench.feed(v9(templates9(template(256, ((12, 4), (8, 4))))), port=2000)
    assert text(bench.feed(v9(data(256, plain()), sequence=1), port=1000)["src"][0]) == "10.0.0.1"
    assert text(bench.feed(v9(data(256, ip("1.1.1.1") + ip("2.2.2.2")), sequence=1), port=2000)["src"][0]) == "2.2.2.2"


def test_ports_of_one_address_are_one_exporter_otherwise() -> None:
    bench = Collector()
    bench.feed(v9(T256), port=1000)
    flows = bench.feed(v9(data(256, plain()), sequence=1), port=2000)
    assert flows["port"].tolist() == [2000]


def test_data_before_their_template_wait_for_it() -> None:
    bench = Collector()
    assert len(bench.feed(v9(data(256, plain(), plain()), sequence=5), received=NOW)) == 0
    assert bench.account["waiting_sets"] == 1
    flows = bench.feed(v9(T256, data(256, plain("10.0.0.9")), sequence=6, now=NOW + 60), received=NOW + 60)
    assert [text(a) for a in flows["src"]] == ["10.0.0.9", "10.0.0.1", "10.0.0.1"]
    assert flows["sequence"].tolist() == [6, 5, 5]
    assert flows["datagram"].tolist() == [0, -1, -1]
    assert (flows["marks"] & FlowMark.DELAYED > 0).tolist() == [False, True, True]
    assert flows["end_us"].tolist() == [(NOW + 60) * 1_000_000 - 1_000_000, (NOW - 1) * 1_000_000, (NOW - 1) * 1_000_000]
    assert (bench.account["waiting_sets"], bench.account["waited_decoded"], bench.account["records"]) == (0, 1, 3)


def test_a_template_behind_its_data_in_one_datagram() -> None:
    bench = Collector()
    flows = bench.feed(v9(data(256, plain()), T256))
    assert len(flows) == 1
    assert flows["datagram"].tolist() == [0]
    assert bench.account["waiting_sets"] == 0


def test_an_unknown_set_costs_no_other() -> None:
    bench = Collector()
    flows = bench.feed(v9(T256, data(300, b"x" * 40), data(256, plain()), data(301, b"y" * 40), data(256, plain())))
    assert len(flows) == 2
    assert bench.account["waited"] == 2


def test_what_waits_is_bounded_and_what_is_given_up_is_counted() -> None:
    bench = Collector(waiting_bytes=250)
    bench.feed(v9(data(256, plain(), plain())), v9(data(256, plain()), sequence=1), v9(data(256, plain()), sequence=2))
    assert bench.account["waiting_sets"] == 1
    assert bench.account["no_template"] == 2
    assert bench.rejected == [("no_template", False)] * 2
    bench.feed(v9(sequence=3), received=NOW + 2 * 3600)
    assert (bench.account["waiting_sets"], bench.account["no_template"]) == (0, 3)


def test_a_new_definition_replaces_the_old_at_once() -> None:
    bench = Collector()
    swapped = template(256, ((12, 4), (8, 4), *PLAIN[2:]))
    flows = bench.feed(v9(T256, data(256, plain()), templates9(swapped), data(256, plain())))
    assert sorted(text(a) for a in flows["src"]) == ["10.0.0.1", "10.0.0.2"]
    assert bench.account["templates_changed"] == 1


def test_a_template_that_is_not_sent_again_expires() -> None:
    bench = Collector(template_lifetime_us=600_000_000)
    bench.feed(v9(T256))
    assert len(bench.feed(v9(data(256, plain()), sequence=1), received=NOW + 600)) == 1
    assert len(bench.feed(v9(data(256, plain()), sequence=2), received=NOW + 601)) == 0
    assert bench.account["templates_expired"] == 1
    assert bench.account["waiting_sets"] == 1


def test_a_lifetime_is_three_times_the_interval_seen() -> None:
    bench = Collector(template_lifetime_us=600_000_000)
    bench.feed(v9(T256), received=NOW)
    bench.feed(v9(T256, sequence=1), received=NOW + 500)
    assert len(bench.feed(v9(data(256, plain()), sequence=2), received=NOW + 500 + 1500)) == 1
    assert len(bench.feed(v9(data(256, plain()), sequence=3), received=NOW + 500 + 1501)) == 0


def test_several_templates_in_one_set_and_padding_behind() -> None:
    body = template(256, PLAIN) + template(257, ((8, 4), (12, 4))) + bytes(8)
    flows = Collector().feed(v9(a_set(0, body), data(257, ip("1.1.1.1") + ip("2.2.2.2"))))
    assert text(flows["dst"][0]) == "2.2.2.2"


def test_padding_behind_records_is_none() -> None:
    fields = ((8, 4), (12, 4), (4, 1), (7, 2))
    record = ip("1.1.1.1") + ip("2.2.2.2") + struct.pack(">BH", 6, 53)
    assert len(Collector().feed(v9(templates9(template(256, fields)), data(256, record, record, record)))) == 3


def test_zeros_up_to_the_end_of_a_datagram_are_padding() -> None:
    bench = Collector()
    assert len(bench.feed(v9(T256, data(256, plain())) + bytes(1200))) == 1
    assert bench.rejected == []


def test_the_count_of_the_header_is_not_trusted() -> None:
    bench = Collector()
    for count in (0, 1, 500):
        assert len(bench.feed(v9(T256, data(256, plain(), plain()), count=count))) == 2
    assert bench.rejected == []


def test_a_set_that_goes_beyond_costs_only_itself() -> None:
    bench = Collector()
    flows = bench.feed(v9(T256, data(256, plain())) + struct.pack(">HH", 256, 5000) + plain())
    assert len(flows) == 1
    assert bench.rejected == [("bad_set", False)]


@pytest.mark.parametrize("length", [1, 3])
def test_a_set_shorter_than_its_header(length: int) -> None:
    bench = Collector()
    assert len(bench.feed(v9(T256, data(256, plain()), struct.pack(">HH", 256, length)))) == 1
    assert bench.account["bad_set"] == 1


def test_a_template_cut_short_costs_only_its_set() -> None:
    bench = Collector()
    short = a_set(0, struct.pack(">HH", 300, 20) + bytes(8))
    flows = bench.feed(v9(T256, short, data(256, plain())))
    assert len(flows) == 1
    assert bench.rejected == [("bad_template", False)]


@pytest.mark.parametrize("number", [1, 255])
def test_template_ids_begin_at_256(number: int) -> None:
    bench = Collector()
    bench.feed(v9(templates9(template(number, PLAIN))))
    assert bench.account["bad_template"] == 1
    assert bench.session.templates == {}


@pytest.mark.parametrize("fields", [(), ((1, 0), (2, 0))])
def test_records_without_bytes_are_refused(fields: tuple[tuple[int, int], ...]) -> None:
    bench = Collector()
    assert len(bench.feed(v9(templates9(template(256, fields)), data(256, bytes(64))))) == 0
    assert bench.account["empty_template"] == 1


def test_reserved_sets_are_passed_over() -> None:
    bench = Collector()
    assert len(bench.feed(v9(a_set(2, b"abcd"), a_set(255, b"abcd"), T256, data(256, plain())))) == 1
    assert bench.account["reserved_sets"] == 2


def test_fields_of_no_length_are_none() -> None:
    fields = ((8, 4), (12, 4), (1, 0), (85, 4), (2, 0))
    flows = Collector().feed(v9(templates9(template(256, fields)), data(256, ip("1.1.1.1") + ip("2.2.2.2") + struct.pack(">I", 9))))
    assert flows["bytes"][0] == 9
    assert extra(flows) == {}


def test_numbers_may_be_shorter_or_longer() -> None:
    fields = ((8, 4), (1, 3), (2, 1), (10, 2), (16, 2), (7, 4), (4, 2), (56, 6))
    record = ip("1.1.1.1") + b"\x01\x00\x00" + b"\x05" + b"\x00\x07" + b"\xfb\xf0" + struct.pack(">IH", 70_000, 17) + b"\x02\0\0\0\0\x01"
    flows = Collector().feed(v9(templates9(template(256, fields)), data(256, record)))
    assert (flows["bytes"][0], flows["packets"][0], flows["input"][0], flows["src_as"][0]) == (65_536, 5, 7, 64_496)
    assert (flows["sport"][0], flows["proto"][0], flows["src_mac"][0]) == (65_535, 17, 0x020000000001)


def test_fields_without_a_column_are_handed_on() -> None:
    fields = ((8, 4), (148, 4), (33_002, 2), (70, 3), (71, 3))
    record = ip("1.1.1.1") + b"abcd" + b"\x07\xe9" + b"\x00\x06\x41" + b"\x00\x07\x41"
    flows = Collector().feed(v9(templates9(template(256, fields)), data(256, record, record)))
    assert extra(flows, 1) == {"148": b"abcd", "33002": b"\x07\xe9", "70": b"\x00\x06\x41", "71": b"\x00\x07\x41"}
    assert flows["mpls_label"].tolist() == [100, 100]


def test_bgp_next_hop_is_another_column() -> None:
    fields = ((15, 4), (18, 4), (63, 16))
    record = ip("1.1.1.1") + ip("2.2.2.2") + bytes(16)
    flows = Collector().feed(v9(templates9(template(256, fields)), data(256, record)))
    assert text(flows["next_hop"][0]) == "1.1.1.1"
    assert text(flows["bgp_next_hop"][0]) == "2.2.2.2"


def test_no_next_router_is_no_address() -> None:
    fields = ((15, 4), (18, 4), (8, 4), (225, 4))
    flows = Collector().feed(v9(templates9(template(256, fields)), data(256, bytes(16))))
    assert [bytes(flows[name][0]) for name in ("next_hop", "bgp_next_hop", "nat_src")] == [bytes(16)] * 3
    assert text(flows["src"][0]) == "0.0.0.0"


def test_ipv6_and_a_template_of_both_versions() -> None:
    fields = ((27, 16), (28, 16), (31, 3), (8, 4), (12, 4))
    six = ip("2001:db8::1") + ip("2001:db8::2") + b"\x01\x23\x45" + bytes(8)
    four = bytes(35) + ip("1.1.1.1") + ip("2.2.2.2")
    flows = Collector().feed(v9(templates9(template(256, fields)), data(256, six, four)))
    assert flows["ip_version"].tolist() == [6, 4]
    assert [text(a) for a in flows["dst"]] == ["2001:db8::2", "2.2.2.2"]
    assert flows["flow_label"].tolist() == [0x12345, 0]


def test_what_left_counts_where_nothing_came() -> None:
    fields = ((1, 4), (2, 4), (23, 4), (24, 4))
    rows = struct.pack(">IIII", 0, 0, 32, 1), struct.pack(">IIII", 100, 2, 90, 2)
    flows = Collector().feed(v9(templates9(template(256, fields)), data(256, *rows)))
    assert flows["bytes"].tolist() == [32, 100]
    assert flows["packets"].tolist() == [1, 2]


def test_a_template_without_counters_is_marked() -> None:
    flows = Collector().feed(v9(templates9(template(256, ((8, 4), (230, 1)))), data(256, ip("1.1.1.1") + b"\x01")))
    assert flows["marks"][0] & FlowMark.NO_COUNTERS
    assert flows["nat_event"][0] == 1


def test_translation_and_direction() -> None:
    fields = ((225, 4), (226, 4), (227, 2), (228, 2), (233, 1), (61, 1), (234, 4), (235, 4), (58, 2), (59, 2))
    record = ip("1.1.1.1") + ip("2.2.2.2") + struct.pack(">HHBBIIHH", 1, 2, 3, 1, 10, 20, 30, 40)
    flows = Collector().feed(v9(templates9(template(256, fields)), data(256, record)))
    assert (text(flows["nat_src"][0]), text(flows["nat_dst"][0])) == ("1.1.1.1", "2.2.2.2")
    names = ("nat_sport", "nat_dport", "firewall_event", "direction", "vrf_in", "vrf_out", "vlan", "post_vlan")
    assert [int(flows[name][0]) for name in names] == [1, 2, 3, 1, 10, 20, 30, 40]


# ---- options

SAMPLERS = options9(300, ((1, 4),), ((48, 1), (49, 1), (50, 4)))


def sampler(number: int, rate: int) -> bytes:
    return data(300, struct.pack(">IBBI", 0, number, 2, rate))


def sampled(number: int) -> bytes:
    return plain() + bytes([number])


T_SAMPLED = templates9(template(256, (*PLAIN, (48, 1))))


def test_samplers_have_rates_of_their_own() -> None:
    bench = Collector()
    bench.feed(v9(SAMPLERS, sampler(1, 100), sampler(2, 1000)))
    flows = bench.feed(v9(T_SAMPLED, data(256, sampled(1), sampled(2), sampled(3)), sequence=1))
    assert flows["rate"].tolist() == [100, 1000, 1]
    assert flows["rate_source"].tolist() == [RateSource.OPTIONS, RateSource.OPTIONS, RateSource.UNKNOWN]
    assert flows["scaled_bytes"].tolist() == [100_000, 1_000_000, 1000]
    assert flows["sampler"].tolist() == [1, 2, 3]


def test_a_later_option_holds_from_there_on() -> None:
    bench = Collector()
    flows = bench.feed(v9(SAMPLERS, sampler(1, 100), T_SAMPLED, data(256, sampled(1)), sampler(1, 10), data(256, sampled(1))))
    assert sorted(flows["rate"].tolist()) == [10, 100]


def test_a_flow_of_unknown_rate_is_kept_and_marked() -> None:
    flows = Collector().feed(v9(T256, data(256, plain())))
    assert (flows["rate"][0], flows["rate_source"][0], flows["scaled_bytes"][0]) == (1, RateSource.UNKNOWN, 1000)


def test_the_only_sampler_holds_of_records_that_name_none() -> None:
    bench = Collector()
    bench.feed(v9(SAMPLERS, sampler(1, 100), T256))
    assert bench.feed(v9(data(256, plain()), sequence=1))["rate"][0] == 100
    bench.feed(v9(sampler(2, 10), sequence=2))
    assert bench.feed(v9(data(256, plain()), sequence=3))["rate_source"][0] == RateSource.UNKNOWN


def test_a_rate_of_the_whole_exporter() -> None:
    bench = Collector()
    bench.feed(v9(options9(300, ((1, 4),), ((34, 4), (35, 1))), data(300, struct.pack(">IIB", 0, 500, 1)), T256))
    assert bench.feed(v9(data(256, plain()), sequence=1))["rate"][0] == 500


def test_a_rate_in_the_record_itself() -> None:
    flows = Collector().feed(v9(templates9(template(256, (*PLAIN, (34, 4)))), data(256, plain() + struct.pack(">I", 64))))
    assert (flows["rate"][0], flows["rate_source"][0], flows["scaled_packets"][0]) == (64, RateSource.RECORD, 640)


def test_a_rate_of_an_interface() -> None:
    bench = Collector()
    bench.feed(v9(options9(300, ((2, 4),), ((34, 4),)), data(300, struct.pack(">II", 7, 20))))
    flows = bench.feed(v9(templates9(template(256, (*PLAIN, (10, 4)))), data(256, *(plain() + struct.pack(">I", i) for i in (7, 8)))))
    assert flows["rate"].tolist() == [20, 1]


def test_names_of_interfaces_and_vrfs() -> None:
    bench = Collector()
    names = options9(300, ((2, 4),), ((82, 8),))
    vrfs = options9(301, ((1, 4),), ((234, 4), (236, 6)))
    bench.feed(v9(names, data(300, struct.pack(">I8s", 3, b"eth0"), struct.pack(">I8s", 4, b"old"))))
    bench.feed(v9(vrfs, data(301, struct.pack(">II6s", 0, 9, b"blue")), data(300, struct.pack(">I8s", 4, b"new")), sequence=1))
    fields = (*PLAIN, (10, 4), (14, 4), (234, 4), (235, 4))
    flows = bench.feed(v9(templates9(template(256, fields)), data(256, plain() + struct.pack(">IIII", 3, 4, 9, 8)), sequence=2))
    row = flows.to_arrow().to_pylist()[0]
    assert (row["input_name"], row["output_name"], row["vrf_in_name"], row["vrf_out_name"]) == ("eth0", "new", "blue", "")


def test_names_of_applications() -> None:
    bench = Collector()
    bench.feed(v9(options9(300, ((1, 4),), ((95, 4), (96, 8))), data(300, struct.pack(">I4s8s", 0, b"\x05\0\0\x26", b"snmp"))))
    fields = (*PLAIN, (95, 4))
    flows = bench.feed(v9(templates9(template(256, fields)), data(256, plain() + b"\x05\0\0\x26", plain() + b"\x05\0\0\x27"), sequence=1))
    assert [row["application_name"] for row in flows.to_arrow().to_pylist()] == ["snmp", ""]
    assert extra(flows) == {"95": b"\x05\0\0\x26"}


def test_options_may_come_before_their_template() -> None:
    bench = Collector()
    bench.feed(v9(sampler(1, 100)), v9(SAMPLERS, sequence=1))
    assert bench.session.options.samplers == {1: 100}


def test_text_that_is_none_is_replaced() -> None:
    bench = Collector()
    bench.feed(v9(options9(300, ((2, 4),), ((82, 4),)), data(300, struct.pack(">I4s", 3, b"a\xff\0z"))))
    assert bench.session.options.interfaces == {3: "a�"}


def test_lengths_of_an_options_template_are_whole_fields() -> None:
    bench = Collector()
    bench.feed(v9(a_set(1, struct.pack(">HHH", 300, 3, 4) + bytes(8))))
    assert bench.account["bad_template"] == 1


# ---- what is lost


def test_lost_datagrams_are_counted() -> None:
    bench = Collector()
    bench.feed(v9(T256, sequence=10), v9(sequence=11), v9(sequence=15))
    assert bench.account["lost"] == 3


def test_a_restart_is_no_loss() -> None:
    bench = Collector()
    bench.feed(v9(T256, sequence=10_000))
    bench.feed(v9(T256, sequence=0, uptime=1000, now=NOW + 5), received=NOW + 5)
    bench.feed(v9(T256, sequence=1, uptime=2000, now=NOW + 6), received=NOW + 6)
    assert (bench.account["lost"], bench.account["restarts"]) == (0, 1)


@pytest.mark.parametrize("size", [2, 10, 19])
def test_less_than_a_header(size: int) -> None:
    bench = Collector()
    bench.feed(v9()[:size])
    assert bench.rejected == [("short_header", True)]
    assert bench.sessions.counts["short_header"] == 1
    assert bench.sessions.known == {}


def test_faults_leave_other_exporters_alone() -> None:
    bench = Collector()
    bench.feed(v9(T256))
    bench.feed(b"\0\x09garbage", sender="192.0.2.99")
    assert len(bench.feed(v9(data(256, plain()), sequence=1), sender=EXPORTER)) == 1
