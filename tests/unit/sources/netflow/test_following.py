"""A collector that sends datagrams on undecoded knows what it would have learnt by decoding them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from jobs.flowexport.datagrams import address16
from jobs.flowexport.rules import DecodeRules
from jobs.flowexport.session import ExportSession, ExportSessions
from jobs.sources.netflow.following import TemplateFollower
from schemas.rawflows import RawDatagram
from sensors.netflow.streams import raw_datagram, stream_of
from tests.unit.flowexport.test_state import messages
from tests.unit.flowexport.wire import (
    NOW,
    PLAIN,
    Collector,
    data,
    flow_sample,
    ipfix,
    plain,
    sflow,
    template,
    templates9,
    v5,
    v5_record,
    v9,
)

SENDER = address16("192.0.2.1")


def came(payloads: Sequence[bytes], kept_of: int = 1) -> list[RawDatagram]:
    return [raw_datagram(payload, SENDER, 2055, 2055, NOW * 1_000_000, kept_of) for payload in payloads]


def known(sessions: ExportSessions) -> dict[tuple[int, int], tuple[object, object]]:
    return {(s.key.version, s.key.domain): (s.templates, s.options) for s in sessions.known.values() if s.templates}


def only(sessions: ExportSessions) -> ExportSession:
    (session,) = sessions.known.values()
    return session


def test_templates_and_what_exporters_say_of_themselves_are_learnt_and_nothing_is_counted() -> None:
    decoding, sessions = Collector(), ExportSessions()
    decoding.feed(*messages())
    follower = TemplateFollower(sessions, DecodeRules())
    for message in messages():
        follower.follow(came([message]))
    assert known(sessions) == known(decoding.sessions)
    assert known(sessions)
    assert {name for s in sessions.known.values() for name in s.counts} == set()
    assert all(s.sequence.expected < 0 for s in sessions.known.values())


def test_data_without_their_template_leave_a_mark_until_it_comes() -> None:
    sessions = ExportSessions()
    follower = TemplateFollower(sessions, DecodeRules())
    follower.follow(came([v9(data(256, plain())), v9(data(256, plain()))]))
    ((mark,),) = only(sessions).room.sets.values()
    assert (mark.template, mark.body) == (256, b"")
    follower.follow(came([v9(templates9(template(256, PLAIN)), data(257, plain()))]))
    assert set(only(sessions).room.sets) == {257}
    assert {w.body for some in only(sessions).room.sets.values() for w in some} == {b""}


@pytest.mark.parametrize(
    ("payload", "records"),
    [
        (v5([v5_record()] * 7), 7),
        (v5([v5_record()] * 2, count=30), 2),
        (v9(data(256, *[plain()] * 5)), 5),
        (ipfix(data(300, *[plain()] * 4), domain=5), 2),  # nobody knows: of 48 bytes
        (sflow(*(flow_sample(number=n) for n in range(3))), 3),
        (b"\0\x63nothing", 0),
        (b"", 0),
    ],
)
def test_records_are_counted_by_headers_and_templates(payload: bytes, records: int) -> None:
    follower = TemplateFollower(ExportSessions(), DecodeRules())
    follower.follow(came([v9(templates9(template(256, PLAIN)))]))
    assert follower.follow(came([payload])) == records
    assert follower.follow(came([payload], kept_of=3)) == 3 * records


def test_exporters_that_only_flood_are_forgotten() -> None:
    sessions = ExportSessions()
    follower = TemplateFollower(sessions, DecodeRules(most_bytes=100_000))
    follower.follow(came([v9(data(256 + n % 7, plain()), domain=n) for n in range(1000)]))
    assert len(sessions.known) < 60


def test_streams_are_the_same_by_what_a_decoder_knows() -> None:
    collector = Collector()
    every = [*messages(), sflow(agent="2001:db8::7", sub_agent=9), v5([v5_record()], engine=0x0203), v9(domain=0xFFFFFFFF)]
    collector.feed(*every)
    keys = [s.key for s in collector.sessions.known.values()]
    assert {stream_of(key.sender, key.agent, key.version, key.domain) for key in keys} == {one.stream for one in came(every)}
    assert len(keys) == 7
