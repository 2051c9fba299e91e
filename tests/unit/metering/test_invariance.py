"""However the input is cut, spread, repeated, reordered or interrupted: the same set of records, byte for byte."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from infra.errors import CheckpointError
from jobs.metering import segments
from jobs.metering.batch import Accounts, meter_captures
from jobs.metering.digest import Digester, KafkaMessage
from jobs.metering.envelope import Envelope
from jobs.metering.features import records
from jobs.metering.layout import Digest, Segment
from jobs.metering.settings import MeterSettings
from schemas.flows import RECORD_SCHEMA
from schemas.wire import CLOCK_END, CONTENT_PACKETS, KIND_END, KIND_PACKETS, Header, arrow_stream
from sensors.generate import generate, preset
from sensors.packets.decode import PACKET_DTYPE
from sensors.packets.encoding import EMPTY, split, to_arrow
from sensors.packets.frames import FrameBatch
from sensors.packets.pcapwriter import PcapWriter
from sensors.packets.replay import chunks
from sensors.packets.settings import SensorSettings
from tests.oracle.capture import write_pcap
from tests.oracle.craft import ethernet, ip, udp
from tests.oracle.meter import Frame
from tests.oracle.parse import UDP
from tests.unit.metering.cases import at, bwd, fwd
from tests.unit.metering.test_encapsulation import TUNNELS, VLANS, conversation
from tests.unit.metering.test_lengths import OPEN
from tests.unit.metering.test_real_captures import PCAPS

PARTITIONS = 3


class Store(dict[int, bytes]):
    """A segment store in memory; counts what is read."""

    reads = 0

    def get(self, version: int, nonce: bytes) -> bytes | None:  # type: ignore[override]
        self.reads += 1
        return super().get(version)

    def put(self, version: int, nonce: bytes, segment: bytes, plain: Callable[[], bytes]) -> None:
        self[version] = plain() if version % 2 else segment  # as it may be found: near, or in the state

    def remove(self, version: int, nonce: bytes) -> None:
        del self[version]


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few seconds of generated traffic, attacks included."""
    path = tmp_path_factory.mktemp("capture") / "mixed.pcap"
    with PcapWriter(path) as out:
        for batch in generate(preset("demo", seed=11, duration_s=12)):
            out.write(batch)
    return path


@pytest.fixture(scope="module")
def expected(capture: Path) -> pa.Table:
    """What the batch meter says."""
    return pa.Table.from_batches(meter_captures([capture], sensor_id="s"), RECORD_SCHEMA).sort_by("flow_id")


#: Frames and a number of partitions -> (partition, message, packets).
Spread = Callable[[FrameBatch, int], Iterator[tuple[int, bytes, int]]]


def messages(capture: Path, batch_packets: int, snaplen: int = 192, spread: Spread = split) -> list[list[KafkaMessage]]:
    """The capture as a sensor would send it: one list of messages per partition, in order."""
    lanes: list[list[KafkaMessage]] = [[] for _ in range(PARTITIONS)]
    clock = 0

    def header(partition: int, kind: str, clock: int) -> dict[str, bytes]:
        fields = {
            Header.CONTENT_TYPE: CONTENT_PACKETS,
            Header.SENSOR: "s",
            Header.RUN: "1",
            Header.KIND: kind,
            Header.CLOCK: str(clock),
            Header.PARTITIONS: str(PARTITIONS),
            Header.SEQ: str(len(lanes[partition])),
        }
        return {k: v.encode() for k, v in fields.items()}

    for chunk in chunks(capture, SensorSettings(batch_packets=batch_packets, snaplen=snaplen)):
        if not chunk.end:
            clock = chunk.clock
        values: dict[int, list[bytes]] = {}
        for partition, value, _ in spread(chunk.frames, PARTITIONS):
            values.setdefault(partition, []).append(value)
        for partition in range(PARTITIONS):
            for value in values.get(partition, []):
                lane = lanes[partition]
                lane.append(KafkaMessage(value, header(partition, KIND_PACKETS, clock), partition, len(lane), 0))
    for partition in range(PARTITIONS):
        lanes[partition].append(KafkaMessage(EMPTY, header(partition, KIND_END, CLOCK_END), partition, len(lanes[partition]), 0))
    return lanes


def micro_batches(lanes: list[list[KafkaMessage]], rng: random.Random, most: int, repeats: float) -> Iterator[list[list[KafkaMessage]]]:
    """Random cuts: a list of tasks per batch, each the messages of some partitions, some of them delivered twice."""
    at = [0] * len(lanes)
    while any(at[p] < len(lanes[p]) for p in range(len(lanes))):
        tasks = []
        for p, lane in enumerate(lanes):
            n = rng.randint(0, most)
            taken = lane[at[p] : at[p] + n]
            taken += [m for m in lane[max(0, at[p] - 3) : at[p]] if rng.random() < repeats]
            at[p] = min(at[p] + n, len(lane))
            if taken:
                tasks.append(taken)
        rng.shuffle(tasks)
        yield tasks


def run_stream(
    capture: Path, *, buckets: int, batch_packets: int, most: int, seed: int, trouble: float, snaplen: int = 192, spread: Spread = split
) -> tuple[pa.Table, int]:
    """Meter through digests, buckets and the segment log; two workers with caches of their own, killed batches, lost caches."""
    rng = random.Random(seed)
    settings = MeterSettings(buckets=buckets)
    stores = [Store() for _ in range(buckets)]
    metas: list[bytes | None] = [None] * buckets
    caches: list[dict[tuple[str, int], segments.Handle]] = [{}, {}]
    out: list[pa.RecordBatch] = []
    kept = segments._cache
    try:
        for tasks in micro_batches(messages(capture, batch_packets, snaplen, spread), rng, most, trouble):
            digests: list[list[bytes]] = [[] for _ in range(buckets)]
            for task in tasks:
                digester = Digester(buckets, 2 * 10**9)
                for message in task:
                    digester.add(message)
                assert not digester.refused
                for b, blob in digester.finish():
                    digests[b].append(blob)
            segments._cache = caches[rng.randrange(2)]
            for b in range(buckets):
                if rng.random() < trouble:
                    segments._cache.pop(("q", b), None)
                if rng.random() < trouble:  # killed before the commit: the cache is ahead, the store is not
                    lost = segments.load("q", b, buckets, settings, metas[b], stores[b])
                    segments.save("q", lost, lost.meter.ingest(map(Digest.decode, digests[b]), 0), Store(stores[b]))
                handle = segments.load("q", b, buckets, settings, metas[b], stores[b])
                emission = handle.meter.ingest(map(Digest.decode, digests[b]), 0)
                out.append(records(emission.closed, emission.domains, emission.sensors))
                metas[b] = segments.save("q", handle, emission, stores[b])
    finally:
        segments._cache = kept
    return pa.Table.from_batches(out, RECORD_SCHEMA).sort_by("flow_id"), max(len(s) for s in stores)


@pytest.mark.parametrize(
    ("buckets", "batch_packets", "most", "trouble"), [(1, 100_000, 50, 0.0), (4, 500, 3, 0.0), (16, 2000, 5, 0.15), (3, 97, 12, 0.3)]
)
def test_the_same_records_however_the_input_is_cut(
    capture: Path, expected: pa.Table, buckets: int, batch_packets: int, most: int, trouble: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "SLACK_ROWS", 64)
    monkeypatch.setattr(segments, "COMPACT_ROWS", 256)
    got, longest = run_stream(capture, buckets=buckets, batch_packets=batch_packets, most=most, seed=buckets, trouble=trouble)
    assert got.num_rows == expected.num_rows > 1000
    assert got.equals(expected)
    assert longest <= segments.MAX_SEGMENTS + 1


def stream(capture: Path, snaplen: int, spread: Spread = split) -> pa.Table:
    """What the stream makes of a capture, in one undisturbed run."""
    return run_stream(capture, buckets=4, batch_packets=500, most=5, seed=1, trouble=0.0, snaplen=snaplen, spread=spread)[0]


def batch(capture: Path, snaplen: int) -> tuple[pa.Table, Accounts]:
    """What the batch meter makes of it."""
    accounts = Accounts()
    made = meter_captures([capture], sensor_id="s", sensor=SensorSettings(snaplen=snaplen), accounts=accounts)
    return pa.Table.from_batches(made, RECORD_SCHEMA).sort_by("flow_id"), accounts


def foreign(frames: FrameBatch, partitions: int) -> Iterator[tuple[int, bytes, int]]:
    """As a sensor would spread them that hashes otherwise, or not at all."""
    for partition in range(partitions):
        part = frames.take(np.flatnonzero(np.arange(len(frames)) % partitions == partition))
        if len(part):
            yield partition, arrow_stream(to_arrow(part, np.arange(len(part), dtype=np.uint32))), len(part)


@pytest.fixture(scope="module")
def wrapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A conversation in every tag and tunnel, frames without lengths, more captured than stated, and more on the wire than captured."""
    frames: list[Frame] = []
    for number, (wrap, _) in enumerate([*VLANS.values(), *TUNNELS.values()]):
        frames += [Frame(ns + number, wrap(packet)) for ns, packet in conversation(f"10.0.1.{number}", "10.0.0.2")]
    for number, frame in enumerate(OPEN.values()):
        frames += [Frame(at(2) + number, frame, wire=60), Frame(at(3) + number, frame, wire=100_074), Frame(at(4) + number, frame)]
    authenticated = bytes((UDP, 4)) + b"\0" * 22 + udp(7, 8, 1000)
    frames.append(Frame(at(5), ethernet(ip("10.0.0.1", "10.0.0.9", 51, authenticated[:504], ident=9, more=True))))
    frames.append(Frame(at(6), ethernet(ip("10.0.0.1", "10.0.0.9", 51, authenticated[504:], ident=9, offset=63))))
    close = [fwd(7, "S", seq=5), bwd(7.1, "SA"), fwd(7.2, "FA"), bwd(7.3, "FA"), fwd(7.4, "S", seq=5), fwd(7.5, "S", seq=6)]
    path = tmp_path_factory.mktemp("wrapped") / "wrapped.pcap"
    return write_pcap(path, sorted([*frames, *close], key=lambda f: f.ns))


@pytest.mark.parametrize("snaplen", [170, 192, 256, 65_535])
def test_no_snap_length_and_no_way_in_changes_a_record(wrapped: Path, snaplen: int) -> None:
    whole, accounts = batch(wrapped, 262_144)
    assert whole.num_rows > 50
    assert not accounts.rejected
    assert batch(wrapped, snaplen)[0].equals(whole)
    assert stream(wrapped, snaplen).equals(whole)
    assert stream(wrapped, snaplen, foreign).equals(whole)


@pytest.mark.parametrize("snaplen", [64, 80, 96, 128])
def test_what_a_snap_length_hides_is_hidden_on_every_way_in(wrapped: Path, snaplen: int) -> None:
    expected, accounts = batch(wrapped, snaplen)
    assert set(accounts.rejected) <= {"truncated", "fragment_orphan"}
    assert stream(wrapped, snaplen).equals(expected)
    assert stream(wrapped, snaplen, foreign).equals(expected)


@pytest.mark.skipif(not PCAPS, reason="FLOWLAKE_DATA is not set")
@pytest.mark.parametrize("snaplen", [96, 128, 192, 65_535])
@pytest.mark.parametrize("path", PCAPS, ids=lambda p: p.name)
def test_real_captures_give_the_same_records_on_both_ways_in(path: Path, snaplen: int) -> None:
    assert stream(path, snaplen).equals(batch(path, snaplen)[0])


def test_the_log_shrinks_when_flows_close(capture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """State is in proportion to what is open: after the end of input nothing is left but the last segment's neighbours."""
    monkeypatch.setattr(segments, "SLACK_ROWS", 0)
    store = Store()
    settings = MeterSettings(buckets=1)
    meta = None
    segments.clear_cache()
    for tasks in micro_batches(messages(capture, 1000), random.Random(1), 4, 0.0):
        digester = Digester(1, 2 * 10**9)
        for message in (m for task in tasks for m in task):
            digester.add(message)
        handle = segments.load("shrink", 0, 1, settings, meta, store)
        emission = handle.meter.ingest([Digest.decode(blob) for _, blob in digester.finish()], 0)
        meta = segments.save("shrink", handle, emission, store)
        assert handle.log_rows <= 2 * len(handle.meter.table) + segments.COMPACT_ROWS
    assert len(handle.meter.table) == 0
    assert store.reads == 0, "a worker that keeps its bucket reads nothing back, compaction included"
    handle = segments.load("shrink", 0, 1, settings, meta, store)
    segments.save("shrink", handle, handle.meter.ingest([], 0), store)
    assert handle.log_rows == 0


def test_a_segment_survives_its_bytes(capture: Path) -> None:
    from jobs.metering.row import ROW_DTYPE

    rows = np.zeros(3, ROW_DTYPE)
    rows["slot"] = [4, 5, 6]
    for plain in (False, True):
        back = Segment.decode(Segment(b"12345678", np.array([1, 2], np.uint64), rows).encode(plain=plain))
        assert back.nonce == b"12345678"
        assert back.released.tolist() == [1, 2]
        assert back.rows.tobytes() == rows.tobytes()


def test_a_missing_or_foreign_segment_is_an_error_not_a_loss(capture: Path) -> None:
    store = Store()
    settings = MeterSettings(buckets=1)
    digester = Digester(1, 2 * 10**9)
    for message in messages(capture, 100_000)[0][:1]:
        digester.add(message)
    handle = segments.load("gone", 0, 1, settings, None, store)
    meta = segments.save("gone", handle, handle.meter.ingest([Digest.decode(blob) for _, blob in digester.finish()], 0), store)
    segments.clear_cache()
    store.clear()
    with pytest.raises(CheckpointError, match="segment 1 is missing"):
        segments.load("gone", 0, 1, settings, meta, store)
    store[1] = Segment(b"another!", np.zeros(0, np.uint64), handle.meter.table.rows[:0]).encode()
    with pytest.raises(CheckpointError, match="segment 1 is of another run"):
        segments.load("gone", 0, 1, settings, meta, store)


def tcp_noise(rng: np.random.Generator, n: int) -> np.ndarray:
    """TCP packets in time order of a few connections that end and begin anew, with sequence numbers all over the place."""
    p = np.zeros(n, PACKET_DTYPE)
    p["ts"] = 1_700_000_000 * 10**9 + np.cumsum(rng.integers(1, 10**9, n))
    p["proto"], p["ipver"], p["l4_header"], p["idx"] = 6, 4, 20, np.arange(n)
    p["icmp_type"] = p["icmp_code"] = -1
    forward = rng.random(n) < 0.6
    client, port = rng.integers(1, 4, n), rng.integers(1000, 1012, n)
    p["src_lo"], p["dst_lo"] = np.where(forward, client, 99), np.where(forward, 99, client)
    p["sport"], p["dport"] = np.where(forward, port, 80), np.where(forward, 80, port)
    p["seq"] = 1000 * rng.integers(1, 12, n)
    p["payload"] = np.where(rng.random(n) < 0.8, 1000, 0)
    p["flags"] = rng.choice([16, 24, 2, 17, 4], n, p=[0.5, 0.3, 0.08, 0.05, 0.07])
    return p


@pytest.mark.parametrize("seed", range(4))
def test_sequence_counters_do_not_depend_on_who_had_the_row_before(seed: int) -> None:
    """Rows of the table are used again by other flows, which ones depends on batches and restarts; what a flow counts does not."""
    rng = np.random.default_rng(seed)
    packets = tcp_noise(rng, 3000)

    def run(cuts: list[int], reload: bool) -> pa.Table:
        store, meta, out = Store(), None, []
        settings = MeterSettings(buckets=1)
        segments.clear_cache()
        for seq, (a, b) in enumerate(pairwise([0, *cuts, len(packets)])):
            if reload:
                segments.clear_cache()
            handle = segments.load("noise", 0, 1, settings, meta, store)
            part = packets[a:b].copy()
            last = b == len(packets)
            clock = CLOCK_END if last else int(packets["ts"][b])
            e = Envelope("s", "s", 1, 0, 1, seq, KIND_END if last else KIND_PACKETS, clock, 0, packets=len(part))
            e.max_ts = int(part["ts"].max()) if len(part) else 0
            emission = handle.meter.ingest_decoded([([e], part)], 0)
            out.append(records(emission.closed, emission.domains, emission.sensors))
            meta = segments.save("noise", handle, emission, store)
        return pa.Table.from_batches(out, RECORD_SCHEMA).sort_by("flow_id")

    whole = run([], reload=False)
    assert sum(whole["out_of_order_packets"].to_pylist()) > 100
    assert sum(whole["duplicate_packets"].to_pylist()) > 100
    for reload in (False, True):
        cuts = sorted(set(rng.integers(1, len(packets), 40).tolist()))
        assert run(cuts, reload).equals(whole)
