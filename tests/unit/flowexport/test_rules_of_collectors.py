"""Rules for collectors that no other test of this folder is about; the sheet of all: ``docs/reference/flow-export-compliance.md``."""

from __future__ import annotations

import struct

import pytest

from jobs.flowexport.columns import FlowMark
from tests.unit.flowexport.wire import (
    NOW,
    PLAIN,
    VARIABLE,
    Collector,
    data,
    flow_sample,
    ip,
    ipfix,
    options10,
    plain,
    sflow,
    template,
    templates9,
    templates10,
    text,
    v9,
    variable,
)


def test_template_ids_follow_no_order() -> None:
    bench = Collector()
    for number in (65_535, 300, 40_000, 256):
        bench.feed(v9(templates9(template(number, PLAIN))), ipfix(templates10(template(number, PLAIN))))
    for number in (256, 65_535, 40_000, 300):
        assert len(bench.feed(v9(data(number, plain())), ipfix(data(number, plain())))) == 2


def test_an_id_may_be_of_flows_and_then_of_options() -> None:
    bench = Collector()
    bench.feed(ipfix(templates10(template(256, PLAIN)), data(256, plain())))
    bench.feed(ipfix(options10(256, ((302, 4),), ((305, 4), (306, 4))), data(256, struct.pack(">III", 1, 1, 9))))
    assert bench.session.options.samplers == {1: 10}
    assert len(bench.feed(ipfix(templates10(template(256, PLAIN)), data(256, plain())))) == 1


def test_several_template_sets_in_one_datagram() -> None:
    one, other = templates9(template(256, PLAIN)), templates9(template(257, ((8, 4), (1, 4))))
    flows = Collector().feed(v9(one, data(257, ip("1.1.1.1") + b"\0\0\0\7"), other, data(256, plain())))
    assert sorted(flows["template"].tolist()) == [256, 257]


@pytest.mark.parametrize("scope", [149, 144, 143, 145, 141, 130])
def test_scopes_of_options(scope: int) -> None:
    bench = Collector()
    bench.feed(ipfix(options10(300, ((scope, 4),), ((305, 4), (306, 4))), data(300, struct.pack(">III", 5, 1, 99))))
    flows = bench.feed(ipfix(templates10(template(256, PLAIN)), data(256, plain()), sequence=1))
    assert flows["rate"].tolist() == [100]


def test_a_scope_of_ipv6() -> None:
    bench = Collector()
    bench.feed(ipfix(options10(300, ((131, 16),), ((305, 4), (306, 4))), data(300, ip("2001:db8::1") + struct.pack(">II", 1, 99))))
    assert bench.session.options.rate == 100


def test_a_scope_of_an_interface() -> None:
    bench = Collector()
    bench.feed(ipfix(options10(300, ((10, 4),), ((305, 4), (306, 4))), data(300, struct.pack(">III", 7, 1, 99))))
    fields = templates10(template(256, (*PLAIN, (10, 4))))
    flows = bench.feed(ipfix(fields, data(256, *(plain() + struct.pack(">I", i) for i in (7, 8))), sequence=1))
    assert flows["rate"].tolist() == [100, 1]


def test_statistics_of_the_exporter_say_nothing_of_flows() -> None:
    """Options that state counts, keys or timeouts are told from those that state a rate by their elements."""
    bench = Collector()
    before = bench.feed(ipfix(templates10(template(256, PLAIN)), data(256, plain())))
    stated = options10(300, ((149, 4), (145, 2)), ((40, 8), (41, 8), (42, 8), (173, 8), (36, 2)))
    bench.feed(ipfix(stated, data(300, struct.pack(">IHQQQQH", 1, 256, 10**9, 5, 6, 7, 60)), sequence=1))
    after = bench.feed(ipfix(data(256, plain()), sequence=2))
    assert bench.account["options_records"] == 1
    assert all((before[c] == after[c]).all() for c in ("rate", "rate_source", "bytes", "scaled_bytes"))


def test_seconds_after_2106() -> None:
    """The 32 bits of seconds begin anew; the date of the receipt says which round it is."""
    later = 2**32 + 1000
    fields = (*PLAIN[:8], (150, 4), (151, 4))
    record = plain()[:-8] + struct.pack(">II", 995, 999)
    flows = Collector().feed(ipfix(templates10(template(256, fields)), data(256, record), now=1000), received=later)
    assert (flows["start_us"][0], flows["end_us"][0]) == ((later - 5) * 1_000_000, (later - 1) * 1_000_000)
    assert flows["marks"][0] == FlowMark.CLOCK_WRONG


def test_a_template_that_is_sent_again_is_nothing_to_tell() -> None:
    bench = Collector()
    for i in range(3):
        bench.feed(v9(templates9(template(256, PLAIN)), sequence=i))
    assert "templates_changed" not in bench.account
    assert bench.rejected == []


def test_what_is_kept_of_a_template() -> None:
    bench = Collector(by_port=True)
    bench.feed(v9(templates9(template(256, PLAIN)), domain=9), port=1234, received=NOW + 5)
    key = bench.session.key
    kept = bench.session.templates[256]
    assert (text(key.sender), key.port, key.domain, kept.number) == ("192.0.2.1", 1234, 9, 256)
    assert [(f.element, f.length) for f in kept.fields] == list(PLAIN)
    assert kept.learned_us == (NOW + 5) * 1_000_000


def test_an_expired_template_decodes_nothing() -> None:
    bench = Collector(template_lifetime_us=60_000_000)
    bench.feed(v9(templates9(template(256, PLAIN))))
    assert len(bench.feed(v9(data(256, plain()), sequence=1), received=NOW + 61)) == 0
    changed = templates9(template(256, (PLAIN[1], PLAIN[0], *PLAIN[2:])))
    assert text(bench.feed(v9(changed, sequence=2), received=NOW + 62)["src"][0]) == "10.0.0.2"


def test_messages_of_65535_bytes() -> None:
    fields = templates10(template(256, ((8, 4), (96, VARIABLE))))
    room = 65_535 - 16 - len(fields) - 4 - 4 - 3
    message = ipfix(fields, data(256, ip("1.1.1.1") + variable(b"x" * room), pad=False))
    assert len(message) == 65_535
    flows = Collector().feed(message)
    assert flows.extras.sizes.tolist() == [room]


def test_data_may_come_in_a_datagram_without_templates() -> None:
    bench = Collector()
    bench.feed(ipfix(templates10(template(256, PLAIN))))
    assert len(bench.feed(ipfix(data(256, plain())))) == 1


def test_bounds_can_be_set() -> None:
    assert len(Collector(most_records=5).feed(v9(templates9(template(256, ((4, 1),))), data(256, bytes(6))))) == 0


def test_structures_that_have_grown_are_read_as_far_as_they_are_known() -> None:
    """A structure of sFlow may have more behind what is known of it: its length says where the next one begins."""
    bench = Collector()
    grown = struct.pack(">II", 1001, 24) + struct.pack(">IIIIII", 10, 0, 20, 0, 99, 98)
    flows = bench.feed(sflow(flow_sample(grown), flow_sample(number=2)))
    assert (flows["vlan"].tolist(), flows["post_vlan"].tolist()) == ([10, 0], [20, 0])
    assert bench.rejected == []
