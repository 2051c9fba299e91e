"""The product's meter against the oracle on generated packet sequences: every field of every record."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import HealthCheck, given, settings

from schemas.flows import RECORD_SCHEMA
from tests.oracle import meter as oracle
from tests.oracle.capture import write_pcap
from tests.oracle.compare import NOT_COMPARED, differences
from tests.oracle.meter import Frame
from tests.unit.metering.conftest import product_records
from tests.unit.metering.strategies import frames, shuffled, tcp_conversation

FIELDS = [n for n in RECORD_SCHEMA.names if n not in NOT_COMPARED]
quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def both(sequence: Sequence[Frame]) -> tuple[list[dict], list[dict]]:
    with tempfile.TemporaryDirectory() as folder:
        return oracle.meter(sequence)[0], product_records([write_pcap(Path(folder) / "frames.pcap", sequence)])


@given(tcp_conversation())
@quick
def test_one_tcp_key(sequence: list[Frame]) -> None:
    expected, got = both(sequence)
    assert differences(expected, got, FIELDS) == []


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
