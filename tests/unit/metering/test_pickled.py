"""State of before the layout, recorded from the program that wrote it: metering goes on with it as if nothing had been."""

from __future__ import annotations

import base64
import json
import lzma
import pickle
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest

from infra.errors import CheckpointError
from jobs.metering import pickled, segments
from jobs.metering.digest import Digester, KafkaMessage
from jobs.metering.features import records
from jobs.metering.layout import BucketState, Digest, Kind, LayoutError, kind_of
from jobs.metering.settings import MeterSettings
from jobs.metering.words import compress
from schemas.flows import RECORD_SCHEMA
from tests.recorded_meter import BUCKETS, DATA, HALF, batches, messages
from tests.unit.metering.test_invariance import Store

SETTINGS = MeterSettings(buckets=BUCKETS)
#: Wall clock long after everything: JSON packets, which have no clock, have ended by then.
LATER_MS = 10**6 * 2_000_000


class Meter:
    """All buckets, each with its state as the stream keeps it."""

    def __init__(self) -> None:
        self.stores = [Store() for _ in range(BUCKETS)]
        self.metas: list[bytes | None] = [None] * BUCKETS
        self.found: list[pa.RecordBatch] = []
        segments.clear_cache()

    @classmethod
    def recorded(cls) -> Meter:
        """With the recorded state of the first half."""
        meter = cls()
        for b, kept in enumerate(json.loads(lzma.decompress((DATA / "meter-v5-buckets.json.xz").read_bytes()))):
            meter.metas[b] = base64.b64decode(kept["meta"])
            meter.stores[b].update({int(version): base64.b64decode(blob) for version, blob in kept["segments"].items()})
        return meter

    def run(self, sent: list[list[KafkaMessage]], *, forget: bool = False) -> None:
        """Micro-batches, and one without messages long after them."""
        for number, batch in enumerate([*sent, []]):
            digester = Digester(BUCKETS, round(SETTINGS.json_lateness_s * 1e9))
            for message in batch:
                digester.add(message)
            digests = {b: [Digest.decode(blob)] for b, blob in digester.finish()}
            for b in range(BUCKETS):
                self._batch(b, digests.get(b, []), LATER_MS if number == len(sent) else batch[-1].timestamp_ms)
            if forget:
                segments.clear_cache()

    def _batch(self, b: int, digests: list[Digest], now_ms: int) -> None:
        handle = segments.load("q", b, BUCKETS, SETTINGS, self.metas[b], self.stores[b])
        emission = handle.meter.ingest(digests, now_ms)
        self.found.append(records(emission.closed, emission.domains, emission.sensors))
        self.metas[b] = segments.save("q", handle, emission, self.stores[b])
        self.open = len(handle.meter.table)

    def flows(self) -> pa.Table:
        """Records of the flows that closed, by id."""
        return pa.Table.from_batches(self.found, RECORD_SCHEMA).sort_by("flow_id")

    def accounts(self) -> Counter[str]:
        """Summed over buckets, by domain and name."""
        total: Counter[str] = Counter()
        for b in range(BUCKETS):
            for row in segments.load("q", b, BUCKETS, SETTINGS, self.metas[b], self.stores[b]).meter.account_rows():
                total.update({f"{row['domain']}: {name}": n for name, n in row.items() if name not in ("domain", "bucket")})
        return total


def uninterrupted() -> Meter:
    """A meter that was never stopped, after everything."""
    meter = Meter()
    meter.run([*batches(messages()[:HALF]), *batches(messages()[HALF:])])
    return meter


@pytest.fixture(scope="module")
def whole() -> Meter:
    return uninterrupted()


@pytest.mark.parametrize("forget", [False, True])
def test_a_recorded_state_goes_on_as_if_nothing_had_been(whole: Meter, forget: bool) -> None:
    meter = Meter.recorded()
    meter.run(batches(messages()[HALF:]), forget=forget)
    assert meter.flows().equals(whole.flows())
    assert meter.accounts() == whole.accounts()
    assert whole.flows().num_rows > 300
    assert {name.partition(": ")[0] for name in whole.accounts()} == {"tap", "edge", "elsewhere"}
    assert whole.accounts()["tap: rejected_fragment_orphan"] == 1, "a fragment that waited before the stop met its first one after it"


def test_what_is_saved_next_has_the_layout() -> None:
    meter = Meter.recorded()
    assert all(pickled.is_pickled(meta) for meta in meter.metas if meta)
    before = [set(store) for store in meter.stores]
    meter.run(batches(messages()[HALF:])[:1])
    for meta, store, old in zip(meter.metas, meter.stores, before, strict=True):
        assert meta is not None
        assert not pickled.is_pickled(meta)
        assert kind_of(meta) is Kind.BUCKET
        assert {kind_of(store[version]) for version in set(store) - old} == {Kind.SEGMENT}
        assert set(BucketState.decode(meta).segments) == set(store), "old segments stay part of the log"


class Elsewhere:
    """A class that no state of the meter ever held."""


@pytest.mark.parametrize("foreign", [Elsewhere(), print], ids=["class", "function"])
def test_a_pickle_may_name_nothing_else(foreign: Any) -> None:
    blob = compress(pickle.dumps({"version": 1, "segments": {}, "meter": foreign}), "lz4")
    with pytest.raises(LayoutError, match=r"a pickled state that names \S+(Elsewhere|print), which none has"):
        pickled.bucket_state(blob)


@pytest.mark.parametrize("cut", [0, 7, 8, 30, -1])
def test_a_damaged_state_is_refused_with_the_way_out(cut: int) -> None:
    meter = Meter.recorded()
    assert meter.metas[2]
    with pytest.raises(CheckpointError, match=r"open-flow state of bucket 2: .*--reset-checkpoint"):
        segments.load("q", 2, BUCKETS, SETTINGS, meter.metas[2][:cut], meter.stores[2])


def test_a_damaged_segment_is_refused_with_the_way_out() -> None:
    meter = Meter.recorded()
    first = min(meter.stores[1])
    meter.stores[1][first] = meter.stores[1][first][:40]
    with pytest.raises(CheckpointError, match=r"open-flow state of bucket 1: a damaged segment.*--reset-checkpoint"):
        segments.load("q", 1, BUCKETS, SETTINGS, meter.metas[1], meter.stores[1])
