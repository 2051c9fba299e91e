"""Traffic for the tests of the watching: generated captures, metered once, of which any number of hours are drawn again.

An hour is made of a few captures, rows of each drawn with replacement: so hours vary as captures do, not as single rows. By day there are
more rows than at night, and other captures.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.metering.batch import meter_captures
from sensors.generate import generate, preset
from sensors.generate.kinds import ATTACK_KINDS, BENIGN_KINDS
from sensors.packets.frames import FrameBatch, concat
from sensors.packets.pcapwriter import PcapWriter

#: A Monday, midnight.
T0 = datetime(2026, 3, 2, tzinfo=UTC)
SECONDS = 5.0
#: Kinds that only the new traffic has.
NEW = ("database",)
_DAY = tuple(kind for kind in (*BENIGN_KINDS, *ATTACK_KINDS) if kind not in NEW)
_NIGHT = ("https", "dns", "ntp", "download", "heartbeat", "health-check", "SYN_SCAN", "SSH_BRUTE_FORCE", "BOTNET_BEACON")
_SEEDS = {"day": range(1, 9), "night": range(21, 25), "one way": range(31, 35), "latency": range(41, 45), "new": range(51, 53)}
_KINDS = {"day": _DAY, "night": _NIGHT, "one way": _DAY, "latency": _DAY, "new": NEW}
LATENCY_NS = 400_000_000


@functools.cache
def captures(what: str) -> tuple[pa.Table, ...]:
    """Closed flows of some captures: ``day``, ``night``; ``one way``: replies are lost; ``latency``: they are late; ``new``: another kind;
    ``mtu``: by day, the largest packets smaller."""
    if what == "mtu":
        return tuple(_smaller(flows) for flows in captures("day"))
    return tuple(_metered(seed, what) for seed in _SEEDS[what])


def _metered(seed: int, what: str) -> pa.Table:
    frames = concat(list(generate(preset("train", seed=seed, duration_s=SECONDS, kinds=_KINDS[what]))))
    if what == "one way":
        frames = frames.take(np.flatnonzero(~_replies(frames)))
    if what == "latency":
        times = frames.ts + np.where(_replies(frames), LATENCY_NS, 0)
        order = np.argsort(times, kind="stable")
        frames = frames.take(order)
        frames.ts[:] = times[order]
    with tempfile.TemporaryDirectory(prefix="flowlake-watching-") as temp:
        capture = Path(temp) / "a.pcap"
        with PcapWriter(capture) as writer:
            writer.write(frames)
        return pa.Table.from_batches(list(meter_captures([capture])))


def _replies(frames: FrameBatch) -> npt.NDArray[np.bool_]:
    """bool[n]: frames of IPv4 whose source port is the smaller one: those that servers send."""
    at, data, size = frames.offsets[:-1], frames.data, np.diff(frames.offsets)
    long = size >= 38
    at = np.where(long, at, 0)
    ip4 = long & (data[at + 12] == 8) & (data[at + 13] == 0)
    ports = np.where(ip4, at + 14 + (data[at + 14] & 15).astype(np.int64) * 4, 0)
    ip4 &= ports + 4 <= frames.offsets[1:]
    ports = np.where(ip4, ports, 0)
    source, target = (data[ports + n].astype(np.int64) * 256 + data[ports + n + 1] for n in (0, 2))
    return np.asarray(ip4 & (source < target))


def _smaller(flows: pa.Table) -> pa.Table:
    """The same flows with 1,200 bytes in a packet at most, as behind a tunnel: more packets for the same bytes."""
    for at, name in enumerate(flows.column_names):
        if name.endswith(("packet_length_max", "packet_length_mean", "segment_size_avg")):
            values = np.minimum(flows[name].to_numpy().astype(np.float64) * 0.86, 1200.0)
            flows = flows.set_column(at, flows.schema.field(name), pa.array(values).cast(flows.schema.field(name).type, safe=False))
    return flows


def light(hour: int) -> float:
    """How much day it is: 0 at three in the morning, 1 at three in the afternoon."""
    return float(0.5 - 0.5 * np.cos(2 * np.pi * (hour % 24 - 3) / 24))


def draw(
    rng: np.random.Generator, hour: int, shift: str = "", share: float = 1.0, scale: float = 1.0
) -> list[tuple[str, int, npt.NDArray[np.int64]]]:
    """Rows of one hour: name of the captures, which of them, places of its rows."""
    rows = int(rng.poisson(scale * (150 + 700 * light(hour))))
    shifted = int(rows * share) if shift else 0
    picked = [("day" if rng.random() < 0.15 + 0.8 * light(hour) else "night", part) for part in _parts(rng, rows - shifted)]
    picked += [(shift, part) for part in _parts(rng, shifted)]
    found = []
    for what, number in picked:
        some = captures(what)
        which = int(rng.integers(len(some)))
        found.append((what, which, rng.integers(some[which].num_rows, size=number)))
    return found


def _parts(rng: np.random.Generator, rows: int) -> list[int]:
    """A number of rows cut into some parts."""
    if not rows:
        return []
    return np.maximum(rng.multinomial(rows, rng.dirichlet(np.full(rng.integers(2, 6), 3.0))), 1).tolist()


def matrix(columns: Sequence[str], drawn: Sequence[tuple[str, int, npt.NDArray[np.int64]]]) -> dict[str, npt.NDArray[np.float64]]:
    """Values by column of the rows of an hour."""
    parts = [(_columns(tuple(columns), what, which), rows) for what, which, rows in drawn]
    return {name: np.concatenate([found[name][rows] for found, rows in parts]) for name in columns}


@functools.cache
def _columns(columns: tuple[str, ...], what: str, which: int) -> dict[str, npt.NDArray[np.float64]]:
    flows = captures(what)[which]
    return {name: flows[name].to_numpy().astype(np.float64) for name in columns}


def table(rng: np.random.Generator, hours: range, sensor: str = "s1", **how: object) -> pa.Table:
    """Records of some hours since :data:`T0`, each at a time within its hour and with an id of its own."""
    found = []
    for hour in hours:
        drawn = draw(rng, hour, **how)  # type: ignore[arg-type]
        rows = pa.concat_tables([captures(what)[which].take(pa.array(places)) for what, which, places in drawn])
        start = T0 + timedelta(hours=hour)
        found.append(_at(rows, start, rng, sensor, f"{sensor}-{hour}"))
    return pa.concat_tables(found)


def _at(rows: pa.Table, start: datetime, rng: np.random.Generator, sensor: str, name: str) -> pa.Table:
    count = rows.num_rows
    begin = int(start.timestamp() * 1e6) + rng.integers(3_600_000_000, size=count)
    kind = rows.schema.field("start_time").type
    ends = begin + rows["flow_duration"].to_numpy().astype(np.int64)
    changed = {
        "start_time": pa.array(begin, pa.int64()).cast(kind),
        "end_time": pa.array(ends, pa.int64()).cast(kind),
        "flow_id": pa.array([f"{name}-{n}" for n in range(count)]),
        "sensor_id": pa.array([sensor] * count),
    }
    for column, values in changed.items():
        at = rows.column_names.index(column)
        rows = rows.set_column(at, rows.schema.field(at), values.cast(rows.schema.field(at).type))
    return rows
