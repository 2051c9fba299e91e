"""Flow rows between the stateful step and the scoring step."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.metering import emission as module
from jobs.metering.batch import records_of as batch_records_of
from jobs.metering.bucket import BucketMeter, Emission
from jobs.metering.emission import pack, records_of, together
from jobs.metering.envelope import Envelope
from jobs.metering.features import records
from jobs.metering.layout import FlowRows
from jobs.metering.row import IDLE, ROW_DTYPE
from jobs.metering.settings import MeterSettings
from schemas.wire import CLOCK_END, KIND_END
from sensors.packets.decode import decode
from sensors.packets.frames import FrameBatch
from tests.oracle.community import community_id
from tests.oracle.craft import ethernet, ip, udp

FRAMES = FrameBatch.from_frames([ethernet(ip("10.0.0.1", "10.0.0.2", 17, udp(1, 2, 3)))], [5])


def rows(n: int, first: int = 0, domains: int = 1) -> np.ndarray:
    """UDP flows that differ."""
    made = np.zeros(n, ROW_DTYPE)
    number = np.arange(first, first + n)
    made["slot"] = number
    made["src_lo"], made["dst_lo"] = 0x0A000000 + number, 0xC0A80001
    made["sport"], made["dport"] = 1024 + number, 53
    made["proto"], made["ipver"] = 17, 4
    made["start"] = 1_700_000_000_000_000 + number
    made["last"] = made["start"] + 5
    made["nf"], made["sf"], made["qf"] = 1, 60, 3600
    made["domain"] = number % domains
    made["end_reason"] = IDLE
    return made


def passed(flows: FlowRows) -> FlowRows:
    """As the next step gets it."""
    return FlowRows.decode(flows.encode())


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that a test reaches."""
    monkeypatch.setattr(module, "BLOB_ROWS", 4)
    monkeypatch.setattr(module, "ROWS", 10)


def test_rows_become_the_records_they_would_have_been() -> None:
    sent = Emission(rows(9, domains=2), rows(5, 100, domains=2), ["a", "b"], ["s"])
    blobs = [passed(flows) for flows in pack(sent, bucket=3, version=7)]
    assert [(f.first, f.closed, f.n) for f in blobs] == [(0, True, 4), (4, True, 4), (8, True, 1), (9, False, 4), (13, False, 1)]
    assert {(f.bucket, f.version) for f in blobs} == {(3, 7)}
    groups = list(together(blobs))
    assert [[f.first for f in group] for group in groups] == [[0, 4, 8], [9, 13]], "as many as fit into ten rows"
    made = [records_of(group) for group in groups]
    assert made[0].equals(records(sent.closed, ["a", "b"], ["s"]))
    assert made[1].equals(records(sent.interim, ["a", "b"], ["s"], closed=False))


def test_the_seed_of_the_community_ids_is_that_of_the_settings_on_both_ways() -> None:
    settings = MeterSettings(community_id_seed=513)
    packets, _ = decode(*(getattr(FRAMES, name) for name in ("data", "offsets", "ts", "wire_len", "link_type")))
    envelope = Envelope("s", "s", 1, 0, 1, 0, KIND_END, CLOCK_END, 0, packets=1)
    emission = BucketMeter(0, 1, settings).ingest_decoded([([envelope], packets)], 0)
    (streamed,) = (records_of(group) for group in together(map(passed, pack(emission, 0, 1))))
    (batched,) = (batch for batch in batch_records_of(emission) if batch.num_rows)
    expected = community_id(b"\x0a\0\0\1", b"\x0a\0\0\2", 17, 1, 2, seed=513)
    assert streamed["community_id"].to_pylist() == batched["community_id"].to_pylist() == [expected]


def test_closed_and_open_flows_share_a_batch() -> None:
    (group,) = together(map(passed, pack(Emission(rows(2), rows(3, 50), ["a"], ["s"]), 0, 1)))
    made = records_of(group)
    assert made["closed"].to_pylist() == [True, True, False, False, False]
    assert made["end_reason"].to_pylist() == ["idle", "idle", None, None, None]


def test_buckets_that_know_other_names_are_kept_apart() -> None:
    one, two = Emission(rows(2), rows(0), ["a"], ["s"]), Emission(rows(2), rows(0), ["b"], ["s"])
    blobs = [passed(flows) for e in (one, two, two) for flows in pack(e, 0, 1)]
    made = [records_of(group)["domain"].to_pylist() for group in together(blobs)]
    assert made == [["a", "a"], ["b", "b", "b", "b"]]


def test_nothing_gives_no_blob() -> None:
    assert list(pack(Emission(rows(0), rows(0), [], []), 0, 1)) == []
    assert list(together([])) == []


def test_a_blob_cut_short_is_refused() -> None:
    (flows,) = pack(Emission(rows(3), rows(0), ["a"], ["s"]), 0, 1)
    with pytest.raises(ValueError, match="are not 3 rows"):
        records_of([FlowRows.decode(flows.encode()[:-4])])


def test_a_row_whose_domain_has_no_name_is_refused() -> None:
    """Damaged, or of another build: the compiled code would read beyond the names."""
    bad = rows(3)
    bad["domain"] = 1
    (flows,) = pack(Emission(bad, rows(0), ["a"], ["s"]), 0, 1)
    with pytest.raises(ValueError, match="domain 1 of a flow row has no name among 1"):
        records_of([passed(flows)])
