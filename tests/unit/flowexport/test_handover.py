"""Another decoder goes on where one left off: nothing is lost, nothing is missed, whatever waits."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.flowexport import handover, state
from jobs.flowexport.handover import adopt, let_go, packed
from jobs.flowexport.rules import DecodeRules
from tests.unit.flowexport.test_state import messages
from tests.unit.flowexport.wire import NOW, PLAIN, Collector, data, ipfix, plain, template, templates9, templates10, v9

Rows = list[dict[str, Any]]
#: Which datagram of a batch a record is of says nothing.
_PLACE = "datagram"


def rows(flows: Any) -> Rows:
    return [{name: value for name, value in row.items() if name != _PLACE} for row in flows.to_arrow().to_pylist()]


def in_order(found: Rows) -> Rows:
    return sorted(found, key=repr)


def hand_over(one: Collector, other: Collector) -> Rows:
    """By messages, as a collector and the stream do; records of what had waited."""
    found: Rows = []
    for piece in packed(one.sessions.known.values()):
        given = state.decode(state.encode(piece))
        found += [row for part in adopt(given, other.sessions, DecodeRules()) for row in rows(part.flows)]
    for session in one.sessions.known.values():
        let_go(session)
    return found


def counted(*collectors: Collector) -> dict[str, int]:
    """Sums of their accounts."""
    every = [account for one in collectors for _, account in one.sessions.accounts()]
    return {name: sum(account.get(name, 0) for account in every) for name in ("lost", "records", "datagrams", "restarts", "repeated")}


@pytest.mark.parametrize("piece_bytes", [handover.PIECE_BYTES, 1])
def test_handed_over_between_any_two_datagrams(piece_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "PIECE_BYTES", piece_bytes)
    straight = Collector()
    wanted = in_order([row for message in messages() for row in rows(straight.feed(message))])
    for at in range(len(messages()) + 1):
        one, other = Collector(), Collector()
        found = [row for message in messages()[:at] for row in rows(one.feed(message))]
        found += hand_over(one, other)
        found += [row for message in messages()[at:] for row in rows(other.feed(message))]
        assert in_order(found) == wanted
        assert counted(one, other) == counted(straight)


def test_what_is_handed_over_twice_is_there_once() -> None:
    one, other = Collector(), Collector()
    for message in messages():
        one.feed(message)
    again = state.decode(state.encode(one.sessions))
    hand_over(one, other)
    before = state.encode(other.sessions)
    assert not list(adopt(again, other.sessions, DecodeRules()))
    assert state.encode(other.sessions) == before


def test_what_was_let_go_takes_nothing_from_the_other() -> None:
    one, other = Collector(), Collector()
    for message in messages():
        one.feed(message)
    hand_over(one, other)
    other.feed(*messages()[:2])
    before = state.encode(other.sessions)
    assert hand_over(one, other) == []
    assert {s.key: s for s in other.sessions.known.values()} == {s.key: s for s in state.decode(before).known.values()}


def test_older_knowledge_changes_nothing_but_what_waits_is_decoded() -> None:
    one, other = Collector(), Collector()
    wide = ((*PLAIN, (5, 1)),)
    one.feed(v9(templates9(template(256, *wide)), sequence=1))
    one.feed(v9(data(300, plain(size=77)), sequence=2))
    other.feed(v9(templates9(template(256, PLAIN), template(300, PLAIN)), sequence=7), received=NOW + 60)
    (released,) = hand_over(one, other)
    assert released["bytes"] == 77
    (session,) = other.sessions.known.values()
    assert len(session.templates[256].fields) == len(PLAIN)
    assert session.sequence.newest == 7
    assert not session.room.sets


def test_what_was_let_go_is_kept_as_a_mark() -> None:
    one = Collector()
    one.feed(v9(data(256, plain()), sequence=1))
    one.feed(v9(data(256, plain()), sequence=2))
    (session,) = one.sessions.known.values()
    let_go(session)
    ((mark,),) = session.room.sets.values()
    assert (mark.template, mark.body) == (256, b"")
    assert session.room.size < 200
    assert len(one.feed(v9(templates9(template(256, PLAIN)), sequence=3))) == 0
    assert not session.room.sets


def test_that_domains_count_together_is_handed_over() -> None:
    """As Open vSwitch's do: whoever goes on would take the first change of the domain for a loss."""
    one, other = Collector(), Collector()
    learnt = templates10(template(300, PLAIN))
    one.feed(*(ipfix(learnt, sequence=1, domain=domain) for domain in (1, 2)))
    first, n = 1, 5
    for domain in (1, 2, 1, 2):
        one.feed(ipfix(data(300, *[plain()] * n), sequence=first, domain=domain))
        first += n
    hand_over(one, other)
    for domain in (1, 2, 1):
        other.feed(ipfix(data(300, *[plain()] * n), sequence=first, domain=domain))
        first += n
    assert counted(one, other)["lost"] == 0
    assert [session.sequence.lost for session in other.sessions.known.values()] == [0, 0]
