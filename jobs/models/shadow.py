"""Champion and challenger beside each other on the traffic of the site: what the lake says of records that both have scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from infra.config import Settings
from infra.errors import StoreError, one_line
from jobs.runtime import lake
from schemas.records import RecordType

_OF_BOTH = ("predicted_label", "challenger_label", "attack_type")


@dataclass(frozen=True)
class Shadow:
    """What a challenger has scored: records, hours from the first to the last, and how many the two decided how.

    ``by_type`` is, by what the champion calls a record: records, and those that the challenger takes for attacks.
    """

    rows: int
    hours: float
    both: int
    champion_alone: int
    challenger_alone: int
    neither: int
    by_type: dict[str, tuple[int, int]]

    def plain(self) -> dict[str, Any]:
        """For programs."""
        return {**vars(self), "by_type": {name: list(pair) for name, pair in self.by_type.items()}}


def look(settings: Settings, record: RecordType, challenger: str, since: datetime | None = None) -> Shadow:
    """What the lake holds of a challenger.

    Parameters
    ----------
    settings
        Where the lake is.
    record
        What was scored.
    challenger
        Its version.
    since
        Only records of an event time from then on.

    Raises
    ------
    StoreError
        There is no such table, or it cannot be read.
    """
    import pyarrow.dataset as ds
    from deltalake.exceptions import DeltaError

    place = lake.location(settings, record)
    try:
        table = lake.dataset(place, settings.lake)
        if not {"challenger_version", "challenger_label"} <= set(table.schema.names):
            return _empty()
        wanted = ds.field("challenger_version") == challenger
        if since is not None:
            wanted &= ds.field(record.event_time) >= pa.scalar(since, pa.timestamp("us", "UTC"))
        found = [
            pa.table([b.column(n) for n in (*_OF_BOTH, record.event_time)], names=[*_OF_BOTH, "time"])
            for b in table.to_batches(columns=[*_OF_BOTH, record.event_time], filter=wanted)
            if b.num_rows
        ]
    except (DeltaError, OSError, pa.ArrowException) as e:
        raise StoreError(f"lake {place}: {one_line(e, 200)}", "start the stream first: flowlake stream; or --no-shadow") from e
    return _counted(pa.concat_tables(found)) if found else _empty()


def wait(seen: Shadow, settings: Settings) -> str:
    """What is still missing; empty where it is enough."""
    rules = settings.retrain
    if seen.rows < rules.shadow_rows:
        return f"{seen.rows:,} of {rules.shadow_rows:,} records scored by both (retrain.shadow_rows)"
    if seen.hours < rules.shadow_hours:
        return f"{seen.hours:.1f} of {rules.shadow_hours:g} hours scored by both (retrain.shadow_hours)"
    return ""


def _empty() -> Shadow:
    return Shadow(0, 0.0, 0, 0, 0, 0, {})


def _counted(rows: pa.Table) -> Shadow:
    one, other = pc.equal(rows["predicted_label"], 1), pc.equal(rows["challenger_label"], 1)
    count: Callable[[Any], int] = lambda mask: int(pc.sum(mask).as_py() or 0)  # noqa: E731
    span = pc.min_max(rows["time"].cast(pa.int64())).as_py()
    kinds = pa.table({"kind": rows["attack_type"], "flagged": other.cast(pa.int64())})
    grouped = kinds.group_by("kind").aggregate([("flagged", "count"), ("flagged", "sum")]).to_pylist()
    by_type = {str(g["kind"]): (int(g["flagged_count"]), int(g["flagged_sum"] or 0)) for g in sorted(grouped, key=lambda g: str(g["kind"]))}
    return Shadow(
        rows.num_rows,
        (span["max"] - span["min"]) / 3.6e9,
        count(pc.and_(one, other)),
        count(pc.and_(one, pc.invert(other))),
        count(pc.and_(pc.invert(one), other)),
        count(pc.and_(pc.invert(one), pc.invert(other))),
        by_type,
    )
