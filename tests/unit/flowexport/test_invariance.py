"""Where a batch is cut, in how many pieces it is given back, with whom an exporter shares it: no record changes."""

from __future__ import annotations

import random
from typing import Any

import pytest

from jobs.flowexport import state
from jobs.flowexport.columns import FlowMark
from jobs.flowexport.datagrams import DatagramBatch, address16
from jobs.flowexport.decoder import decode
from jobs.flowexport.rules import DecodeRules
from jobs.flowexport.session import ExportSessions
from tests.unit.flowexport.test_state import messages
from tests.unit.flowexport.wire import (
    NOW,
    PLAIN,
    Collector,
    a_set,
    data,
    flow_sample,
    ipfix,
    plain,
    sflow,
    template,
    templates10,
    v5,
    v5_record,
    v9,
)

One = tuple[bytes, bytes, int, int]


def rows(batches: list[list[One]], **rules: Any) -> list[dict[str, Any]]:
    """Records of batches, in an order that does not depend on how they were given back."""
    sessions, found = ExportSessions(), []
    for batch in batches:
        for piece in decode(DatagramBatch.of(batch), sessions, DecodeRules(**rules)):
            found += piece.flows.to_arrow().to_pylist()
    for row in found:
        del row["datagram"]
        row["marks"] &= ~16  # DELAYED says from an earlier batch, or datagram
    return sorted(found, key=name)


def name(row: dict[str, Any]) -> tuple[Any, ...]:
    """What tells a record from every other one."""
    return tuple(row[part] for part in ("sender", "exporter", "version", "domain", "sequence", "position"))


def stream() -> list[One]:
    """Datagrams of three exporters, mixed, each one's in order."""
    r = random.Random(7)
    queues = [[(m, address16(f"192.0.2.{i}"), 2055, NOW * 1_000_000) for m in messages()] for i in range(1, 4)]
    mixed = []
    while any(queues):
        mixed.append(r.choice([q for q in queues if q]).pop(0))
    return mixed


@pytest.mark.parametrize("size", [1, 2, 5, 100])
@pytest.mark.parametrize("chunk_rows", [1, 7, 32_768])
def test_cuts_change_nothing(size: int, chunk_rows: int) -> None:
    whole = stream()
    wanted = rows([whole])
    assert len(wanted) == 3 * (5 + 1 + 3 + 30)
    assert rows([whole[i : i + size] for i in range(0, len(whole), size)], chunk_rows=chunk_rows) == wanted


def test_a_layout_of_two_protocols_keeps_the_clock_of_each() -> None:
    """IPFIX has no uptime in its header: of the same fields in one batch, NetFlow's times are known and its are not."""
    nine = v9(a_set(0, template(256, PLAIN)), data(256, plain()))
    ten = ipfix(templates10(template(256, PLAIN)), data(256, plain()))
    flows = Collector().feed(nine, ten)
    assert flows["start_us"].tolist() == [(NOW - 5) * 1_000_000, (NOW - 4) * 1_000_000]
    assert flows["marks"].tolist() == [0, FlowMark.TIME_RELATIVE]


def test_the_shorter_way_comes_to_the_same() -> None:
    """Datagrams of one set are taken in a way of their own; an empty set of a reserved id leads them the longer one."""
    short, long = Collector(), Collector()
    empty = a_set(5, b"")
    fields = template(256, PLAIN)
    for bench in (short, long):
        bench.feed(v9(a_set(0, fields)), ipfix(templates10(fields)))
    for number, gap in ((1, 0), (2, 5), (3, 0), (4, 2)):
        sets = data(256, *[plain()] * number)
        some = [v9(sets, sequence=number + gap), ipfix(sets, sequence=10 * number + gap)]
        more = [v9(sets, empty, sequence=number + gap), ipfix(sets, empty, sequence=10 * number + gap)]
        assert short.feed(*some).to_arrow() == long.feed(*more).to_arrow()
    for key, account in long.sessions.accounts():
        assert account.pop("reserved_sets") == 4
        assert account == short.sessions.known[key].account()
        assert account["lost"] > 0


def test_records_have_names_of_their_own() -> None:
    names = [name(row) for row in rows([stream()])]
    assert len(set(names)) == len(names)


def test_what_was_kept_of_several_stands_for_them() -> None:
    """A collector under pressure keeps one datagram of some: totals are those of all, of data that waited for a template too."""
    nine, ten = template(256, PLAIN), template(257, PLAIN)
    messages = [
        v5([v5_record()], sampling=10),
        v9(a_set(0, nine), data(256, plain())),
        v9(data(256, plain()), sequence=1),
        ipfix(data(257, plain())),
        sflow(flow_sample(rate=7)),
    ]
    batch = DatagramBatch.of((m, address16("192.0.2.1"), 2055, NOW * 1_000_000) for m in messages)
    batch.kept_of = [4, 3, 3, 2, 5]
    sessions = ExportSessions()
    (found,) = decode(batch, sessions)
    assert sorted(found.flows["scaled_packets"].tolist()) == [30, 30, 35, 400]
    assert sorted(found.flows["kept_of"].tolist()) == [3, 3, 4, 5]
    later = DatagramBatch.of([(ipfix(templates10(ten), sequence=1), address16("192.0.2.1"), 2055, NOW * 1_000_000)])
    (found,) = decode(later, state.decode(state.encode(sessions)))
    assert found.flows["scaled_bytes"].tolist() == [2000]


def test_an_empty_batch_gives_nothing() -> None:
    assert list(decode(DatagramBatch.of([]), ExportSessions())) == []
