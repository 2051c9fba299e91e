"""The product's meter against the oracle on generated packet sequences: every field of every record."""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from schemas.flows import RECORD_SCHEMA
from tests.oracle import meter as oracle
from tests.oracle.capture import write_pcap, write_pcapng
from tests.oracle.compare import NOT_COMPARED, differences
from tests.oracle.meter import Frame
from tests.unit.metering.cases import bwd, fwd
from tests.unit.metering.conftest import product_records
from tests.unit.metering.strategies import damaged, frames, shuffled, tcp_conversation
from tests.unit.metering.test_encapsulation import LINKS, TEREDO, TUNNELS, VLANS, over_udp

FIELDS = [n for n in RECORD_SCHEMA.names if n not in NOT_COMPARED]
quick = settings(
    max_examples=150,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def both(sequence: Sequence[Frame]) -> tuple[list[dict], list[dict]]:
    with tempfile.TemporaryDirectory() as folder:
        write = write_pcap if {f.link_type for f in sequence} == {1} else write_pcapng
        return oracle.meter(sequence)[0], product_records([write(Path(folder) / "frames", sequence)])


@given(tcp_conversation())
@quick
def test_one_tcp_key(sequence: list[Frame]) -> None:
    expected, got = both(sequence)
    assert differences(expected, got, FIELDS) == []


@pytest.mark.slow
@given(frames())
@quick
def test_all_protocols(sequence: list[Frame]) -> None:
    expected, got = both(sequence)
    assert differences(expected, got, FIELDS) == []


@given(shuffled())
@quick
def test_disorder_within_the_watermark(sequence: list[Frame]) -> None:
    expected, got = both(sequence)
    assert differences(expected, got, FIELDS) == []


@given(tcp_conversation(max_size=12))
@quick
def test_connection_state(sequence: list[Frame]) -> None:
    expected, got = both(sequence)
    assert differences(expected, got, ["tcp_state"]) == []


@given(
    damaged(
        [
            *LINKS.values(),
            *((1, wrap) for wrap, _ in (*VLANS.values(), *TUNNELS.values())),
            *((1, over_udp(3544, lambda p, head=head: head + p)) for head in TEREDO.values()),
        ]
    )
)
@quick
def test_damaged_frames(sequence: list[Frame]) -> None:
    """What a damaged header means is open; that every packet is in a record or rejected, and every value finite, is not."""
    from jobs.metering.batch import Accounts, meter_captures

    accounts = Accounts()
    with tempfile.TemporaryDirectory() as folder:
        path = write_pcapng(Path(folder) / "frames.pcapng", sequence)
        records = [row for batch in meter_captures([path], accounts=accounts) for row in batch.to_pylist()]
    counted = sum(r["total_fwd_packets"] + r["total_backward_packets"] for r in records)
    assert accounts.packets == len(sequence) == counted + accounts.rejected.total()
    assert (accounts.metered, accounts.flows) == (counted, len(records))
    assert [n for r in records for n, v in r.items() if isinstance(v, float) and not math.isfinite(v)] == []


@pytest.mark.slow
def test_all_short_tcp_conversations() -> None:
    """Every sequence of one to three plausible packets between two hosts: all fields and Zeek's connection state."""
    acts = [(packet, flags) for packet in (fwd, bwd) for flags in ("S", "SA", "A", "PA", "FA", "R", "RA")]
    sequences = [s for length in (1, 2, 3) for s in itertools.product(acts, repeat=length)]
    frames = [
        packet(i / 10, flags, 5 if "P" in flags else 0, sport=10000 + n)
        for n, sequence in enumerate(sequences)
        for i, (packet, flags) in enumerate(sequence)
    ]
    expected, got = both(sorted(frames, key=lambda f: f.ns))
    assert differences(expected, got, FIELDS) == []
    assert differences(expected, got, ["tcp_state"]) == []
