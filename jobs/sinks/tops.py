"""The top flow of an alert: the one of highest confidence, which explains the alert's score.

Of flows of one confidence it is the one whose id has the greatest hash, of one flow its latest view: an order of all records, so that the
same flow comes out whatever is repeated, reordered or cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from jobs.sinks import sketch
from jobs.sinks.messages import BadMessage, Message, reread
from jobs.sinks.sketch import Hashes
from schemas.alerts import PLACE
from schemas.records import RecordType

#: Feature vectors (float64, little-endian) of rows by their :data:`schemas.alerts.PLACE`; empty where there is none.
Vectors = Callable[[npt.NDArray[np.int64]], list[bytes]]

#: Vectors that one task reads for one batch, some 700 bytes each: in a storm of alerts those beyond are not explained anyway.
MAX_VECTORS = 10_000

#: Columns of :data:`schemas.alerts.PARTIAL_SCHEMA` about the top flow.
COLUMNS = ("top_flow", "top_end", "top_model", "top_features")

_ROW_BITS = 32
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Missing(str):
    """What keeps an alert from being explained: ``code: what``."""

    __slots__ = ()

    @property
    def code(self) -> str:
        """Its kind, by which it is counted."""
        return self.split(":", 1)[0]


@dataclass(frozen=True)
class Top:
    """A record of highest confidence.

    Attributes
    ----------
    score
        Its confidence.
    end
        Its end, us since the epoch.
    features
        Vector of its features, float64, in the order of the record type's; empty where they cannot be read.
    """

    score: float
    flow_id: str
    end: int
    model_version: str
    features: bytes

    def beats(self, other: Top | None) -> bool:
        """Whether it comes before the other; of two views that are alike, the one with features does."""
        if other is None:
            return True
        mine, others = _number(self.score), _number(other.score)
        if mine != others:
            return mine > others
        if self.flow_id != other.flow_id:
            mine_hash, others_hash = sketch.hashes([self.flow_id, other.flow_id])
            return bool(mine_hash > others_hash)
        return (self.end, self.model_version, bool(self.features)) > (other.end, other.model_version, bool(other.features))


def remembered(why: Mapping[str, Any] | None) -> Top | None:
    """The top flow that an alert's ``details.why`` is about; without features where it is not explained."""
    if not why:
        return None
    end = (datetime.fromisoformat(why["end_time"]) - _EPOCH) // timedelta(microseconds=1)
    score = math.nan if why["score"] is None else float(why["score"])
    return Top(score, why["flow_id"], end, why["model_version"], b"" if why.get("missing") else b"explained")


def of_groups(frame: pd.DataFrame, flows: Hashes, starts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Rows of the top flows of groups.

    Parameters
    ----------
    frame
        Columns ``confidence_score``, ``end`` and ``model_version``, a group after the other.
    flows : uint64[n]
        Hashes of the rows' flow ids.
    starts : int64[groups]
        First row of each group.
    """
    best = np.ones(len(frame), np.bool_)
    lengths = np.diff(starts, append=len(frame))
    models = pd.factorize(frame["model_version"], sort=True)[0]
    confidence = np.nan_to_num(frame["confidence_score"].to_numpy(), nan=-1.0)
    for key in (confidence, flows, frame["end"].to_numpy(), models):
        among = np.where(best, key, key.min())
        best &= key == np.repeat(np.maximum.reduceat(among, starts), lengths)
    found = np.flatnonzero(best)
    return found[np.searchsorted(found, starts)]


def of_rows(rows: pa.Table) -> dict[str, Any]:
    """The top flow of several rows of :data:`schemas.alerts.PARTIAL_SCHEMA`, as columns of one."""
    frame = pd.DataFrame(
        {
            "confidence_score": rows["confidence"].to_numpy(),
            "end": rows["top_end"].to_numpy(),
            "model_version": rows["top_model"].to_pandas(),
        }
    )
    (at,) = of_groups(frame, sketch.hashes(rows["top_flow"].to_pylist()), np.zeros(1, np.int64)).tolist()
    return {name: rows[name][at].as_py() for name in COLUMNS}


def placed(messages: Sequence[Message]) -> list[Message]:
    """The messages with a column :data:`schemas.alerts.PLACE`: which of them a row is in, and where in it."""
    return [
        Message(
            message.rows.append_column(PLACE, pa.array((number << _ROW_BITS) + np.arange(message.rows.num_rows))),
            message.message_id, message.topic, message.partition, message.offset, message.value, message.published_us,
        )
        for number, message in enumerate(messages)
    ]  # fmt: skip


def vectors(messages: Sequence[Message], record: RecordType) -> Vectors:
    """Features of rows of these messages, of the first :data:`MAX_VECTORS`. Messages that hold no top flow are not decompressed for it."""
    names = record.features.names if record.features else ()

    def of(places: npt.NDArray[np.int64]) -> list[bytes]:
        out = [b""] * len(places)
        numbers = places[:MAX_VECTORS] >> _ROW_BITS
        for number in np.unique(numbers).tolist():
            wanted = np.flatnonzero(numbers == number)
            try:
                table = reread(messages[number], record, names).take(places[wanted] & ((1 << _ROW_BITS) - 1))
            except BadMessage:  # damaged in columns that nothing but this reads; the alert stands, and says that they are missing
                continue
            rows = np.column_stack([table[name].to_numpy().astype("<f8") for name in names])
            for at, row in zip(wanted.tolist(), rows, strict=True):
                out[at] = row.tobytes()
        return out

    return of


def _number(score: float) -> float:
    return -1.0 if math.isnan(score) else score
