"""What a hostile or broken exporter can ask for: no loop, bounded memory, everything counted, others unharmed."""

from __future__ import annotations

import struct

import pytest

from jobs.flowexport import state
from jobs.flowexport.layouts import compiled
from tests.unit.flowexport.wire import (
    NOW,
    PLAIN,
    VARIABLE,
    Collector,
    a_set,
    data,
    ip,
    ipfix,
    options9,
    options10,
    plain,
    specifiers,
    template,
    templates9,
    templates10,
    v9,
    variable,
)

T256 = templates9(template(256, PLAIN))


@pytest.mark.slow
def test_a_million_template_ids() -> None:
    bench = Collector(most_bytes=2 << 20)
    one = specifiers(((8, 4), (12, 4)))
    sent = 0
    for domain in range(20):
        for first in range(256, 256 + 50_000, 5000):
            body = b"".join(struct.pack(">HH", number, 2) + one for number in range(first, first + 5000))
            bench.feed(v9(struct.pack(">HH", 0, len(body) + 4) + body, domain=domain)[:65_000])
            sent += 5000
    assert sent == 1_000_000
    assert max(len(s.templates) for s in bench.sessions.known.values()) <= bench.rules.most_templates
    assert bench.sessions.held <= (2 << 20) + 8 * 4096 * 2000
    assert bench.sessions.counts["forgotten"] > 10


def test_templates_beyond_the_bound_are_refused_and_counted() -> None:
    bench = Collector(most_templates=3)
    flows = bench.feed(v9(templates9(*(template(256 + i, PLAIN) for i in range(5))), data(256, plain()), data(260, plain())))
    assert len(flows) == 1
    assert (bench.account["too_many_templates"], bench.account["templates_known"], bench.account["waiting_sets"]) == (2, 3, 1)


def test_fields_of_all_templates_are_bounded() -> None:
    bench = Collector(most_template_fields=25)
    bench.feed(v9(templates9(*(template(256 + i, PLAIN) for i in range(5)))))
    assert (bench.account["too_many_templates"], bench.account["templates_known"]) == (3, 2)


def test_a_template_of_too_many_fields() -> None:
    bench = Collector(most_fields=9)
    assert len(bench.feed(v9(T256, data(256, plain())))) == 0
    assert bench.account["bad_template"] == 1


def test_what_two_thousand_exporters_need_is_within_the_bound() -> None:
    bench = Collector()
    fields = tuple((element, 4) for element in range(1, 31))
    bench.feed(v9(templates9(*(template(256 + i, fields) for i in range(10)))))
    assert bench.session.fields == 300
    assert 2000 * bench.session.weight() < bench.rules.most_bytes


def test_layouts_are_compiled_anew_when_they_were_forgotten() -> None:
    bench = Collector()
    bench.feed(v9(T256, data(256, plain())))
    compiled.cache_clear()
    assert len(bench.feed(v9(data(256, plain()), sequence=1))) == 1
    bench.feed(v9(templates9(*(template(300 + i, ((8, 4), (1, 1 + i % 8))) for i in range(8)))))
    assert bench.account["lost"] == 0


def test_exporters_beyond_the_bound_are_forgotten_the_silent_ones_first() -> None:
    bench = Collector(most_bytes=30_000)
    bench.feed(v9(T256), sender="10.0.0.1")
    for i in range(50):
        bench.feed(v9(T256), sender=f"10.1.0.{i}")
        bench.feed(v9(sequence=i + 1), sender="10.0.0.1")
    assert bench.sessions.held <= 30_000
    assert bench.sessions.counts["forgotten"] == 51 - len(bench.sessions.known)
    assert len(bench.feed(v9(data(256, plain()), sequence=51), sender="10.0.0.1")) == 1


def test_records_of_one_byte() -> None:
    bench = Collector(most_records=1000)
    tiny = templates9(template(256, ((4, 1),)))
    assert len(bench.feed(v9(tiny, data(256, b"\x06" * 1000)))) == 1000
    assert len(bench.feed(v9(data(256, b"\x06" * 60_000), data(256, b"\x06" * 8)))) == 8
    assert bench.account["too_many_records"] == 1


def test_tiny_records_that_waited() -> None:
    bench = Collector(most_records=1000, most_late_records=2500)
    bench.feed(*(v9(data(256, b"\x06" * 1000), sequence=i) for i in range(5)))
    assert len(bench.feed(v9(templates9(template(256, ((4, 1),)))))) == 2000
    assert bench.account["too_many_records"] == 3


def test_variable_records_of_one_byte() -> None:
    bench = Collector(most_records=1000)
    bench.feed(ipfix(templates10(template(256, ((96, VARIABLE),)))))
    assert len(bench.feed(ipfix(data(256, bytes(30_000))))) == 0
    assert bench.rejected == [("too_many_records", True)]


def test_options_of_one_byte() -> None:
    bench = Collector(most_records=1000)
    bench.feed(v9(options9(300, ((1, 0),), ((48, 1),)), data(300, bytes(50_000))))
    assert bench.account["too_many_records"] == 1


def test_names_are_bounded_the_oldest_makes_room() -> None:
    bench = Collector(most_names=100)
    bench.feed(v9(options9(300, ((2, 4),), ((82, 8),)), data(300, *(struct.pack(">I8s", i, b"if") for i in range(1000)))))
    assert sorted(bench.session.options.interfaces) == list(range(900, 1000))


def test_what_waits_is_bounded_over_all_exporters() -> None:
    bench = Collector(most_bytes=1 << 20)
    for i in range(200):
        bench.feed(*(v9(data(300, bytes(1000)), sequence=k) for k in range(20)), sender=f"10.2.0.{i}")
    assert bench.sessions.held <= 1 << 20


def test_a_flood_of_data_and_templates_takes_no_time_of_its_square() -> None:
    """A template looks only at the data that wait for it."""
    bench = Collector()
    bench.feed(*(v9(data(60_000, bytes(4)), sequence=i) for i in range(5000)))
    body = b"".join(template(number, ((8, 4),)) for number in range(256, 256 + 3000))
    for i in range(20):
        bench.feed(v9(a_set(0, body), sequence=5000 + i))
    assert bench.account["waiting_sets"] == 5000


def test_lists_in_lists_are_not_gone_into() -> None:
    """A basicList of basicLists of ..., as deep as a datagram is long."""
    nested = b""
    for _ in range(4000):
        nested = struct.pack(">BHH", 0xFF, 291, VARIABLE) + variable(nested)
    bench = Collector()
    flows = bench.feed(ipfix(templates10(template(256, ((8, 4), (291, VARIABLE)))), data(256, ip("1.1.1.1") + variable(nested))))
    assert len(flows) == 1
    assert flows.extras.sizes.tolist() == [len(nested)]


def test_an_exporter_that_started_after_the_end_of_time() -> None:
    bench = Collector()
    bench.feed(ipfix(options10(300, ((144, 4),), ((160, 8),)), data(300, b"\0\0\0\1" + b"\xff" * 8)))
    flows = bench.feed(ipfix(templates10(template(256, PLAIN)), data(256, plain()), sequence=1))
    assert (flows["end_us"] <= flows["received_us"] + bench.rules.clock_tolerance_us).all()


def test_large_fields_are_given_in_pieces() -> None:
    bench = Collector(chunk_bytes=300_000)
    bench.feed(ipfix(templates10(template(256, ((8, 4), (96, VARIABLE))))))
    messages = [ipfix(data(256, ip("1.1.1.1") + variable(bytes(60_000))), sequence=i) for i in range(12)]
    found = bench.decoded(*messages)
    assert [len(piece.flows) for piece in found] == [5, 5, 2]
    assert [n for piece in found for n in piece.flows["datagram"].tolist()] == list(range(12))


@pytest.mark.parametrize(
    "payload", [b"", b"\0", b"\0\x09", b"\0\x0a", b"\0\x05", b"\0\0\0\x05", b"\xff" * 1500, bytes(1500), b"\0\x07" * 400]
)
def test_nothing_of_sense(payload: bytes) -> None:
    bench = Collector()
    assert len(bench.feed(payload)) == 0
    ((_, whole),) = bench.rejected
    assert whole
    assert sum(bench.sessions.counts.values()) == 1


def test_zeros_where_sets_should_be() -> None:
    bench = Collector()
    assert len(bench.feed(v9() + bytes(1400))) == 0
    assert len(bench.feed(ipfix(bytes(1400)))) == 0
    assert [reason for reason, _ in bench.rejected] == ["bad_set"]


def test_state_stays_small_with_a_template_of_every_id() -> None:
    bench = Collector()
    for first in range(256, 65_536, 4000):
        body = b"".join(template(number, ((8, 4), (12, 4))) for number in range(first, min(first + 4000, 65_536)))
        bench.feed(v9(a_set(0, body)), received=NOW)
    assert len(state.encode(bench.sessions)) < 1 << 20
