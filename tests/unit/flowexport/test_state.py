"""What is known of exporters goes to bytes and back, and nobody can tell the difference."""

from __future__ import annotations

import struct

import pytest

from jobs.flowexport import state
from jobs.flowexport.rules import DecodeRules
from tests.unit.flowexport.wire import (
    NOW,
    PLAIN,
    Collector,
    data,
    flow_sample,
    ipfix,
    options9,
    options10,
    plain,
    sflow,
    template,
    templates9,
    templates10,
    v5,
    v5_record,
    v9,
)


def messages() -> list[bytes]:
    """Datagrams of every kind, with gaps, data before templates, options."""
    names = options9(300, ((2, 4),), ((82, 8),))
    apps = options9(301, ((1, 4),), ((95, 4), (96, 8)))
    rates = options10(300, ((302, 4),), ((305, 4), (306, 4)))
    fields = templates10(template(257, (*PLAIN, (302, 4), (96, 0xFFFF))))
    record = plain() + struct.pack(">I", 1) + b"\x02ab"
    return [
        v5([v5_record()] * 3, 0),
        v5([v5_record()] * 2, 9),
        v9(data(256, plain()), sequence=3),
        v9(names, data(300, struct.pack(">I8s", 3, b"eth0"))),
        v9(apps, data(301, struct.pack(">I4s8s", 0, b"\x05\0\0\x26", b"snmp")), sequence=5),
        v9(templates9(template(256, PLAIN)), sequence=6),
        ipfix(data(257, record, record, pad=False), sequence=0),
        ipfix(rates, data(300, struct.pack(">III", 1, 1, 99)), sequence=2),
        ipfix(fields, data(257, record, pad=False), data(400, record), sequence=3),
        sflow(*(flow_sample(number=n, pool=70 * n) for n in range(1, 30)), sequence=1),
        sflow(flow_sample(number=40, pool=2800), sequence=3),
    ]


def test_state_can_be_put_away_between_any_two_datagrams() -> None:
    straight, parted = Collector(), Collector()
    for message in messages():
        wanted, found = straight.feed(message), parted.feed(message)
        assert wanted.to_arrow() == found.to_arrow()
        blob = state.encode(parted.sessions)
        parted.sessions = state.decode(blob)
        assert state.encode(parted.sessions) == blob
    assert parted.sessions.known == straight.sessions.known
    assert list(parted.sessions.known) == list(straight.sessions.known)
    assert dict(parted.sessions.accounts()) == dict(straight.sessions.accounts())


def test_templates_survive_a_restart() -> None:
    before, after = Collector(), Collector()
    before.feed(v9(templates9(template(256, PLAIN))))
    after.sessions = state.decode(state.encode(before.sessions))
    assert len(after.feed(v9(data(256, plain()), sequence=1), received=NOW + 60)) == 1


def test_data_that_wait_survive_a_restart() -> None:
    before, after = Collector(), Collector()
    before.feed(v9(data(256, plain(), plain())))
    after.sessions = state.decode(state.encode(before.sessions))
    assert len(after.feed(v9(templates9(template(256, PLAIN)), sequence=1))) == 2


def test_what_is_held_is_weighed_again() -> None:
    bench = Collector()
    for message in messages():
        bench.feed(message)
    again = state.decode(state.encode(bench.sessions))
    assert again.held == sum(s.weight() for s in bench.sessions.known.values())
    assert again.held < DecodeRules().most_bytes


def test_damage_is_told() -> None:
    bench = Collector()
    for message in messages()[:9]:
        bench.feed(message)
    blob = state.encode(bench.sessions)
    said = []
    for i in range(len(blob)):
        try:
            state.decode(blob[:i] + bytes([blob[i] ^ 0x55]) + blob[i + 1 :])
        except state.ExportStateError as e:
            said.append(str(e))
    assert len(said) > len(blob) // 2
    assert max(map(len, said)) < 500
    for i in range(0, len(blob), 3):
        with pytest.raises(state.ExportStateError):
            state.decode(blob[:i])


@pytest.mark.parametrize("blob", [b"", b"FX", b"FL" + bytes(20), b"FX\x02\x00" + bytes(20), b"FX\x01\x00\0\0\0\0" + b"\xff" * 8 + b"abc"])
def test_other_bytes_are_no_state(blob: bytes) -> None:
    with pytest.raises(state.ExportStateError):
        state.decode(blob)
