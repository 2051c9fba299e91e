"""Damaged datagrams of flow export, and what must hold whatever they are."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from jobs.flowexport import state
from jobs.flowexport.columns import FlowMark
from jobs.flowexport.datagrams import DatagramBatch, address16
from jobs.flowexport.decoder import decode
from jobs.flowexport.faults import FaultReason
from jobs.flowexport.rules import DecodeRules
from jobs.flowexport.session import ExportSessions
from tests.unit.flowexport import wire
from tests.unit.flowexport.test_state import messages

#: Small bounds, so that they are met.
RULES = DecodeRules(
    most_templates=20,
    most_template_fields=300,
    most_names=10,
    most_sources=5,
    most_records=500,
    most_late_records=800,
    waiting_bytes=5000,
    most_bytes=200_000,
    chunk_rows=300,
    chunk_bytes=20_000,
)
_EDGES = (0, 1, 2, 3, 4, 5, 9, 10, 15, 16, 20, 24, 127, 128, 254, 255)


def seeds() -> list[bytes]:
    """Sound datagrams: made ones, and the recorded ones where there are any."""
    frame = wire.ethernet(wire.ipv4(wire.udp()), tags=((0x8100, 5),))
    framed = wire.templates10(wire.template(258, ((315, wire.VARIABLE), (312, 2), (95, 4))))
    routed = wire.sflow_record(1003, wire.xdr_address("1.1.1.1") + bytes(11) + b"\x01" + bytes(3) + b"\x02" + bytes(24))
    switched = wire.sflow_record(1001, bytes(3) + b"\x0a" + bytes(12))
    nexthop = wire.sflow_record(1002, wire.xdr_address("1.1.1.1") + bytes(8))
    made = [
        *messages(),
        wire.ipfix(framed, wire.data(258, wire.variable(frame) + b"\0\x80abcd")),
        wire.sflow(wire.flow_sample(wire.raw_header(frame)), wire.expanded_sample(wire.raw_header(frame), switched, nexthop, number=2)),
        wire.sflow(wire.flow_sample(wire.raw_header(frame), routed), wire.expanded_sample(wire.raw_header(frame), number=2)),
    ]
    folder = Path(os.environ.get("FLOWLAKE_DATA", "")) / "netflow"
    return made + ([p.read_bytes() for p in sorted(folder.glob("*.dat"))] if "FLOWLAKE_DATA" in os.environ else [])


def mutated(r: random.Random, corpus: list[bytes]) -> bytes:
    """One datagram: sound, damaged in some places, spliced from two, or made of nothing."""
    whole = bytearray(r.choice(corpus))
    kind = r.random()
    if kind < 0.1:
        return r.choice([b"\0\x05", b"\0\x09", b"\0\x0a", b"\0\0\0\x05", b""]) + r.randbytes(r.randint(0, 200))
    if kind < 0.25:
        other = r.choice(corpus)
        whole = whole[: r.randint(0, len(whole))] + other[r.randint(0, len(other)) :]
    for _ in range(r.choice([0, 1, 1, 2, 5, 20])):
        if not whole:
            break
        at = r.randrange(len(whole))
        what = r.random()
        if what < 0.5:
            whole[at] = r.choice(_EDGES)
        elif what < 0.7:
            whole[at : at + 2] = r.choice([b"\xff\xff", b"\0\0", b"\0\x04", b"\x01\0", b"\0\x01"])
        elif what < 0.8:
            whole[at : at + 4] = r.randbytes(4)
        elif what < 0.9:
            del whole[at : at + r.randint(1, 30)]
        else:
            whole[at:at] = whole[at : at + r.randint(1, 60)]
    return bytes(whole[:9000])


def sequence(r: random.Random, corpus: list[bytes]) -> list[bytes]:
    """Some datagrams of one exporter; most often of one kind, so that templates meet data."""
    few = r.sample(corpus, min(len(corpus), r.randint(1, 6)))
    return [mutated(r, few) for _ in range(r.randint(1, 40))]


def faults(datagrams: list[bytes]) -> list[str]:
    """What does not hold of datagrams decoded at once, and one by one with the state put away in between."""
    at_once, sessions = _decoded([datagrams])
    one_by_one, again = _decoded([[d] for d in datagrams])
    with patch("jobs.flowexport.sflow._plain", return_value=False):
        without_kernel, _ = _decoded([datagrams])
    found = [*_accounts(at_once, sessions, len(datagrams)), *_values(at_once)]
    if _totals(at_once) != _totals(one_by_one):
        found.append(f"cuts change totals: {_totals(at_once)} at once, {_totals(one_by_one)} one by one")
    if _totals(at_once) != _totals(without_kernel):
        found.append(f"the kernel changes totals: {_totals(at_once)} with it, {_totals(without_kernel)} without")
    if dict(sessions.accounts()) != dict(again.accounts()):
        found.append("cuts change accounts")
    if sessions.held > RULES.most_bytes + 100_000:
        found.append(f"{sessions.held} bytes are held")
    return found


def _decoded(batches: list[list[bytes]]) -> tuple[list[Any], ExportSessions]:
    sessions, pieces = ExportSessions(), []
    for batch in batches:
        made = DatagramBatch.of((d, address16("192.0.2.1"), 2055, wire.NOW * 1_000_000) for d in batch)
        pieces += list(decode(made, sessions, RULES))
        if len(batches) > 1:
            sessions = state.decode(state.encode(sessions))
    return pieces, sessions


def _accounts(pieces: list[Any], sessions: ExportSessions, datagrams: int) -> list[str]:
    found = []
    rows = sum(len(p.flows) for p in pieces)
    counts = [account for _, account in sessions.accounts()]
    if sessions.counts[FaultReason.FORGOTTEN] == 0:
        if rows != sum(c.get("records", 0) for c in counts):
            found.append(f"{rows} records, counted {[c.get('records', 0) for c in counts]}")
        if datagrams != sum(c["datagrams"] for c in counts) + sum(sessions.counts.values()):
            found.append("a datagram was not counted")
    rejected = [r.datagram for p in pieces for r in p.rejected]
    if len(set(rejected)) != len(rejected) or not all(0 <= number < datagrams for number in rejected):
        found.append(f"rejected: {rejected}")
    if any(value < 0 for c in counts for value in c.values()):
        found.append("a count below zero")
    return found


def _values(pieces: list[Any]) -> list[str]:
    found = []
    for flows in (p.flows for p in pieces):
        flows.to_arrow().validate(full=True)
        if (flows["end_us"] > flows["received_us"] + RULES.clock_tolerance_us).any():
            found.append("a flow that ends after its receipt")
        if (flows["start_us"] > flows["end_us"]).any():
            found.append("a flow that ends before it begins")
        if not (np.isfinite(flows["rate"]).all() and (flows["rate"] >= 1).all()):
            found.append("a rate below 1")
        if (flows["scaled_packets"] < flows["packets"]).any() and (flows["packets"] < 2**61).all():
            found.append("scaled to less")
        if (flows["marks"] >= 2 * max(FlowMark)).any():
            found.append("a mark that is none")
    return found


def _totals(pieces: list[Any]) -> dict[str, int]:
    names = ("bytes", "packets", "scaled_packets", "position", "sequence", "start_us", "output", "rate_source", "vlan", "src_mask")
    made = {name: sum(int(v) for p in pieces for v in p.flows[name].tolist()) for name in names}
    return made | {"records": sum(len(p.flows) for p in pieces), "extras": sum(len(p.flows.extras.data) for p in pieces)}
