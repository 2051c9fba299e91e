"""Rows of the hot table of flows for benchmarks: weeks of them within a minute, the same for the same seed.

What a flow looks like (its features, ports, how it ended) is taken from a *pool* of flows that the project's own meter has made, of
generated traffic or of capture files. Who talks to whom and when is drawn: days and nights, working days and weekends, a few hosts that
make most of the flows, and attacks in episodes of minutes to hours from a few sources, floods from forged ones.
"""

from __future__ import annotations

import base64
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from infra.config import Settings
from infra.times import micros
from jobs.sinks.hot import hot_rows
from ops.bench.hosts import ATTACKER, FORGED, SERVER, Hosts
from schemas.labels import BENIGN, BY_NAME
from schemas.packets import FLOWS
from schemas.records import PREDICTION_FIELDS

#: Rows that are drawn together. Row ``i`` is the same however many are asked for before it.
BLOCK = 50_000
#: Packets of the generated traffic that the pool is made of, and how many a second.
POOL_PACKETS, POOL_RATE = 240_000, 3000.0
_LEAST_PACKETS = 6000
#: Attack episodes a day, the share of attacks among the rows while one is going on, and over all.
EPISODES_A_DAY, _DURING, _BACKGROUND = 8, 0.35, 0.01
#: Flows an hour, midnight to midnight (UTC), relative to one another; of a Saturday and a Sunday.
_HOURS = np.array([3, 2, 2, 2, 2, 3, 5, 8, 12, 14, 14, 14, 13, 14, 14, 13, 12, 10, 8, 7, 6, 5, 4, 3], float)
_WEEKEND = 0.4
_HOUR_US, _SLOT_US = 3_600_000_000, 600_000_000
_TS = pa.timestamp("us", tz="UTC")
#: Columns that are proportional to a flow's duration, and that are inversely so.
_LONGER = ("flow_duration", "flow_iat_mean", "fwd_iat_total", "bwd_iat_total")
_FASTER = ("flow_bytes_per_sec", "flow_packets_per_sec", "fwd_packets_per_sec")


def generated(settings: Settings, seed: int = 1, wanted: int = POOL_PACKETS) -> pa.Table:
    """Flows of generated traffic as rows of the hot table, labelled by the generator's truth.

    Parameters
    ----------
    settings
        Of meter and sensor.
    seed
        Of the traffic.
    wanted
        Rows that will be drawn from them: for few, fewer packets are generated.

    Returns
    -------
    pa.Table
        Columns of ``network_flows``.
    """
    from jobs.training.truth import join_labels
    from sensors.generate import TrafficGenerator, preset
    from sensors.packets.pcapwriter import PcapWriter

    packets = min(max(wanted, _LEAST_PACKETS), POOL_PACKETS)
    folder = Path(tempfile.mkdtemp(prefix="flowlake-bench-"))
    try:
        run = TrafficGenerator(preset("train", duration_s=packets / POOL_RATE, rate=POOL_RATE, seed=seed))
        with PcapWriter(folder / "pool.pcap") as writer:
            for batch in run:
                writer.write(batch)
        records = _metered(settings, [folder / "pool.pcap"])
        return scored(records, pc.fill_null(join_labels(records, run.truth()), BENIGN), seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def captured(settings: Settings, files: Sequence[Path], seed: int = 1) -> pa.Table:
    """Flows of capture files as rows of the hot table. Nobody knows what they were: every eighth source is taken for an attacker."""
    records = _metered(settings, files)
    sources = records["src_ip"].combine_chunks().dictionary_encode()
    attacks = np.random.default_rng(seed).random(len(sources.dictionary)) < 1 / 8
    labels = np.where(attacks, "SYN_SCAN", BENIGN)[sources.indices.to_numpy()]
    return scored(records, pa.array(labels), seed)


def _metered(settings: Settings, files: Sequence[Path]) -> pa.Table:
    from jobs.metering.batch import meter_captures
    from jobs.metering.settings import MeterSettings
    from sensors.packets.settings import SensorSettings

    batches = meter_captures(files, settings=settings.section(MeterSettings), sensor=settings.section(SensorSettings), keep_going=True)
    return pa.Table.from_batches(list(batches), FLOWS.schema).filter(pc.field("closed"))


def scored(records: pa.Table, labels: pa.Array, seed: int) -> pa.Table:
    """Records with a label each as a model would have scored them, as rows of the hot table."""
    rng = np.random.default_rng(seed)
    attack = pc.not_equal(labels, BENIGN).to_numpy(zero_copy_only=False)
    confidence = np.where(attack, 1 - 0.5 * rng.beta(1, 5, len(attack)), 0.5 * rng.beta(1, 8, len(attack)))
    added = {
        "confidence_score": confidence,
        "predicted_label": attack.astype(np.int8),
        "attack_type": labels,
        "model_version": np.full(len(attack), "1"),
        "scored_at": records["end_time"],
    }
    for added_field in PREDICTION_FIELDS:
        values = added.get(added_field.name, pa.nulls(len(attack), added_field.type))
        records = records.append_column(added_field, pa.array(values) if isinstance(values, np.ndarray) else values)
    return hot_rows(records.cast(FLOWS.published), FLOWS)


@dataclass(frozen=True)
class Episodes:
    """Attacks that go on for a while: who, on whom, with what, from when to when (microseconds from 1970)."""

    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    kind: NDArray[np.int64]  # number of the label in the pool
    source: NDArray[np.int64]
    target: NDArray[np.int64]

    def at(self, times: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """The episode that each time falls into, one of several by chance; -1: none."""
        first, last = int(times.min()) // _SLOT_US, int(times.max()) // _SLOT_US
        found = np.full(len(times), -1)
        slot = times // _SLOT_US - first
        for number in range(last - first + 1):
            here = slot == number
            middle = (first + number) * _SLOT_US + _SLOT_US // 2
            active = np.flatnonzero((self.begin <= middle) & (middle < self.end))
            if len(active):
                found[here] = rng.choice(active, int(here.sum()))
        return found


@dataclass(frozen=True, eq=False)
class HotRows:
    """Rows of ``network_flows`` by their number, in the order of time.

    Parameters
    ----------
    pool : pa.Table
        What flows look like (:func:`generated`, :func:`captured`).
    begin, until : datetime
        The time that the rows are spread over.
    total : int
        How many there are.
    seed : int
        Of everything that is drawn.
    own_hosts : bool
        Keep the pool's addresses instead of drawing hosts.
    even : bool
        No days and nights: for a few minutes of traffic.
    """

    pool: pa.Table
    begin: datetime
    until: datetime
    total: int
    seed: int = 1
    own_hosts: bool = False
    even: bool = False
    hosts: Hosts = field(default_factory=Hosts)

    def __len__(self) -> int:
        return self.total

    def blocks(self) -> range:
        """Numbers of the blocks; each has :data:`BLOCK` rows, the last what is left."""
        return range(-(-self.total // BLOCK))

    def every(self, step: int = 1, first: int = 0) -> Iterator[pa.Table]:
        """Every ``step``-th block from ``first`` on: what one of ``step`` writers takes."""
        for number in self.blocks()[first::step]:
            yield self.block(number)

    def block(self, number: int) -> pa.Table:
        """One block of rows, columns in the order of the table."""
        rng = np.random.default_rng([self.seed, number])
        rows = np.arange(number * BLOCK, min((number + 1) * BLOCK, self.total))
        times = self._times((rows + rng.random(len(rows))) / self.total)
        episode = self._attacks.at(times, rng)
        attack = (rng.random(len(rows)) < np.where(episode >= 0, _DURING, _BACKGROUND)) & (len(self._kinds) > 1)
        kind = np.where(episode >= 0, self._attacks.kind[episode], self._some_kind(len(rows), rng))
        kind = np.where(attack, kind, 0)
        table = self._drawn(kind, rng)
        changed = {"timestamp": pa.array(times, _TS), **self._identity(rows, rng), **self._stretched(table, rng)}
        if not self.own_hosts:
            changed |= self._talkers(kind, np.where(attack, episode, -1), rng)
        late = times > micros(self.begin) + 6 * (micros(self.until) - micros(self.begin)) // 10
        changed["model_version"] = pa.array(np.where(late, "2", "1"))
        return pa.table([changed.get(name, table[name]) for name in table.column_names], names=table.column_names)

    # -- what it looks like ----------------------------------------------------------------------------------------------------------------

    @cached_property
    def _kinds(self) -> list[str]:
        """Labels of the pool; the first is BENIGN, whether or not it has such rows."""
        found = sorted(set(self.pool["attack_type"].unique().to_pylist()) - {BENIGN})
        return [BENIGN, *found]

    def _some_kind(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Numbers of attacks, by chance."""
        return 1 + rng.integers(0, max(1, len(self._kinds) - 1), count)

    @cached_property
    def _of_kind(self) -> list[NDArray[np.int64]]:
        types = self.pool["attack_type"].to_numpy(zero_copy_only=False)
        found = [np.flatnonzero(types == kind) for kind in self._kinds]
        return [rows if len(rows) else np.arange(len(types)) for rows in found]

    def _drawn(self, kind: NDArray[np.int64], rng: np.random.Generator) -> pa.Table:
        """A row of the pool of each kind."""
        sizes = np.array([len(rows) for rows in self._of_kind])
        starts = np.cumsum(sizes) - sizes
        chosen = np.concatenate(self._of_kind)[starts[kind] + (rng.random(len(kind)) * sizes[kind]).astype(np.int64)]
        return self.pool.take(pa.array(chosen)).combine_chunks()

    def _stretched(self, table: pa.Table, rng: np.random.Generator) -> dict[str, pa.Array]:
        """Flows of the pool a little faster or slower, so that no two are equal."""
        pace = rng.lognormal(0, 0.3, table.num_rows)
        changed = {}
        for names, factor in ((_LONGER, pace), (_FASTER, 1 / pace)):
            for name in names:
                values = table[name].to_numpy() * factor
                changed[name] = pa.array(values if pa.types.is_floating(table[name].type) else values.astype(np.int64), table[name].type)
        return changed

    # -- who and when ----------------------------------------------------------------------------------------------------------------------

    @cached_property
    def _clock(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Share of all rows that is before a time, by hour."""
        first, last = micros(self.begin), micros(self.until)
        inside = np.arange(first // _HOUR_US + 1, -(-last // _HOUR_US)) * _HOUR_US
        edges = np.concatenate([[first], inside, [last]]).astype(np.float64)
        hours = (edges[:-1] // _HOUR_US).astype(np.int64)
        day = (hours // 24 + 3) % 7  # 1970-01-01 was a Thursday; 0: Monday
        weight = np.ones(len(hours)) if self.even else _HOURS[hours % 24] * np.where(day >= 5, _WEEKEND, 1.0)
        share = np.concatenate([[0.0], np.cumsum(weight * np.diff(edges))])
        return share / share[-1], edges

    def _times(self, share: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.interp(share, *self._clock).astype(np.int64)

    @cached_property
    def _attacks(self) -> Episodes:
        rng = np.random.default_rng([self.seed, 1 << 20])
        first, last = micros(self.begin), micros(self.until)
        count = max(2, round((last - first) / (24 * _HOUR_US) * EPISODES_A_DAY))
        begin = rng.integers(first, last, count)
        length = np.clip(rng.lognormal(np.log(20), 1.2, count), 10, 360) * 60e6
        kind = self._some_kind(count, rng)
        source = (rng.pareto(1.0, count) * 20).astype(np.int64) % ATTACKER.size  # some come back
        return Episodes(begin, begin + length.astype(np.int64), kind, source, rng.integers(0, SERVER.size, count))

    @cached_property
    def _forging(self) -> NDArray[np.bool_]:
        """Kinds whose sources are forged."""
        return np.array([name in BY_NAME and BY_NAME[name].kind == "flood" and "SYN" in name for name in self._kinds])

    def _talkers(self, kind: NDArray[np.int64], episode: NDArray[np.int64], rng: np.random.Generator) -> dict[str, pa.Array]:
        count = len(kind)
        source, target = self.hosts.ordinary(count, rng)
        under = episode >= 0
        source = np.where(under, ATTACKER.first + self._attacks.source[episode], source)
        source = np.where(under & self._forging[kind], FORGED.first + rng.integers(0, FORGED.size, count), source)
        target = np.where(under, SERVER.first + self._attacks.target[episode], target)
        return {
            "src_ip": self.hosts.text(source),
            "dst_ip": self.hosts.text(target),
            "src_port": pa.array(rng.integers(1024, 65536, count), self.pool.schema.field("src_port").type),
            "sensor_id": pa.array(self.hosts.sensor(np.where(under, target, source))),
        }

    def _identity(self, rows: NDArray[np.int64], rng: np.random.Generator) -> dict[str, pa.Array]:
        return {"flow_id": uuids(_mixed(rows, self.seed)), "community_id": _community_ids(len(rows), rng)}


def uuids(halves: NDArray[np.uint64]) -> pa.Array:
    """Two words each -> text of a UUID (string[n]); of version 5, as flow ids are."""
    raw = halves.astype(">u8").view(np.uint8).reshape(-1, 16).copy()
    raw[:, 6] = raw[:, 6] & 0x0F | 0x50
    raw[:, 8] = raw[:, 8] & 0x3F | 0x80
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)[np.stack([raw >> 4, raw & 15], axis=2).reshape(-1, 32)]
    text = np.full((len(raw), 36), ord("-"), np.uint8)
    for to, begin, end in ((0, 0, 8), (9, 8, 12), (14, 12, 16), (19, 16, 20), (24, 20, 32)):
        text[:, to : to + end - begin] = digits[:, begin:end]
    return _fixed_text(text)


def _mixed(rows: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """Two words for each number (splitmix64): scattered as hashes are, and no two alike."""
    x = np.stack([2 * rows, 2 * rows + 1], axis=1).astype(np.uint64) + np.uint64(seed << 40)
    x = x * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return x ^ x >> np.uint64(31)


def _community_ids(count: int, rng: np.random.Generator) -> pa.Array:
    """Text of the form of a Community ID: "1:" and 20 bytes in base64."""
    raw = np.zeros((count, 21), np.uint8)
    raw[:, :20] = rng.integers(0, 256, (count, 20), np.uint8)
    text = np.empty((count, 30), np.uint8)
    text[:, :2] = np.frombuffer(b"1:", np.uint8)
    text[:, 2:] = np.frombuffer(base64.b64encode(raw.tobytes()), np.uint8).reshape(-1, 28)
    text[:, 29] = ord("=")
    return _fixed_text(text)


def _fixed_text(text: NDArray[np.uint8]) -> pa.Array:
    offsets = np.arange(len(text) + 1, dtype=np.int32) * np.int32(text.shape[1])
    return pa.StringArray.from_buffers(len(text), pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(text)))


def told(say: Callable[[str], None], pool: pa.Table) -> dict[str, Any]:
    """What a pool is made of, for the result; says so."""
    say(f"flows to draw from: {pool.num_rows:,}")
    return {"pool_rows": pool.num_rows, "pool_attack_types": len(pool["attack_type"].unique())}
