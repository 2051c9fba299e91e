"""Real captures of many link types, tunnels and faults: product and oracle agree, and every packet is accounted for."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from schemas.flows import RECORD_SCHEMA
from tests.oracle import meter as oracle
from tests.oracle.capture import read
from tests.oracle.compare import NOT_COMPARED, differences
from tests.unit.metering.conftest import product_records

DATA = os.environ.get("FLOWLAKE_DATA")
PCAPS = [*sorted(Path(DATA, "pcaps").iterdir()), *sorted(Path(DATA, "cases").glob("*.pcap"))] if DATA else []
FIELDS = [n for n in RECORD_SCHEMA.names if n not in NOT_COMPARED]

pytestmark = pytest.mark.skipif(not PCAPS, reason="FLOWLAKE_DATA is not set")
#: Captures whose packets lie further out of order than the reordering window: what is metered in which order is the reader's matter.
DISORDERED = {"can.pcap"}


@pytest.mark.parametrize("path", PCAPS, ids=lambda p: p.name)
def test_oracle_accounts_for_every_packet(path: Path) -> None:
    frames = read(path)
    records, rejected = oracle.meter(frames)
    assert sum(r["total_fwd_packets"] + r["total_backward_packets"] for r in records) + rejected.total() == len(frames)


@pytest.mark.parametrize("path", PCAPS, ids=lambda p: p.name)
def test_product_and_oracle_agree(path: Path) -> None:
    expected, _ = oracle.meter(read(path))
    got = product_records([path])
    assert not [n for r in got for n, v in r.items() if isinstance(v, float) and not math.isfinite(v)]
    if path.name not in DISORDERED:
        assert differences(expected, got, FIELDS) == []


@pytest.mark.parametrize("path", PCAPS, ids=lambda p: p.name)
def test_product_accounts_for_every_packet(path: Path) -> None:
    from jobs.metering.batch import Accounts, meter_captures

    accounts = Accounts()
    records = [row for batch in meter_captures([path], accounts=accounts) for row in batch.to_pylist()]
    counted = sum(r["total_fwd_packets"] + r["total_backward_packets"] for r in records)
    assert accounts.packets == len(read(path)) == counted + accounts.rejected.total()
    assert (accounts.metered, accounts.flows) == (counted, len(records))
