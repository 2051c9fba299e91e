"""What a model is compared with: histograms of the data that it was trained on, or of a week that it has served, by parts.

Parts say how much there is to a difference: hours of the week, seeds or days of a training. Of a reference with hours an hour is compared
with the same hours of the day, since the traffic at three is not that at noon.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from infra import files
from jobs.watching import measures, statistics
from jobs.watching.statistics import Counts, Spread

if TYPE_CHECKING:
    from jobs.scoring.model import ScoringModel

#: File beside a registered model.
FILE = "profile.json"
TRAINING, SERVED = "training", "served"
_FORMAT = 1
#: Hours of the day on either side that count as the same hour.
_NEIGHBOURS = 1
#: An hour of the day is compared with its like where there are so many of them, else with all.
_LEAST_HOURS = 3


class UnreadableProfile(ValueError):
    """A profile that is none; the text says why."""


class Labelled(Protocol):
    """What a profile is made of: rows of a training (:class:`jobs.training.labelled.LabelledFlows`)."""

    @property
    def x(self) -> npt.NDArray[np.float32]: ...

    @property
    def group(self) -> npt.NDArray[np.str_]: ...

    @property
    def closed(self) -> npt.NDArray[np.bool_]: ...

    def where(self, mask: npt.NDArray[np.bool_]) -> Labelled: ...

    def matrix(self, columns: Sequence[str]) -> npt.NDArray[np.float32]: ...


@dataclass(frozen=True)
class Reference:
    """Histograms of a reference, by part.

    Attributes
    ----------
    record, model_version, feature_version
        What it is of.
    source
        ``training`` or ``served``.
    parts
        Names of the g parts: of a training its groups; of a served week its hours, ISO 8601.
    hours
        int64[g], the parts as hours since 1970; empty for a training.
    rows
        int64[g], rows of each part.
    edges
        By measure.
    counts
        By measure int64[g, k + 1].
    """

    record: str
    model_version: str
    feature_version: str
    source: str
    parts: tuple[str, ...]
    hours: Counts
    rows: Counts
    edges: Mapping[str, npt.NDArray[np.float64]]
    counts: Mapping[str, Counts]
    _spreads: dict[str, Spread] = field(default_factory=dict, init=False, repr=False, compare=False)

    def pooled(self, measure: str, hour: int) -> Counts:
        """What an hour (since 1970) is compared with: int64[k + 1]."""
        found: Counts = self.counts[measure][self.like(hour)].sum(axis=0)
        return found

    def rows_like(self, hour: int) -> float:
        """Rows that an hour like this one had on average; NaN where the parts are no hours."""
        like = self.rows[self.like(hour)]
        return float(like.mean()) if len(self.hours) and len(like) else float("nan")

    def like(self, hour: int) -> npt.NDArray[np.bool_]:
        """bool[g], the parts that an hour is compared with."""
        same = self._same[hour % 24] if len(self.hours) else np.zeros(0, bool)
        return same if int(same.sum()) >= _LEAST_HOURS else np.ones(len(self.parts), bool)

    def spread(self, measure: str) -> Spread:
        """How the parts vary, each beside what it would be compared with without it, of other days."""
        if measure not in self._spreads:
            parts = self.counts[measure]
            self._spreads[measure] = statistics.spread(parts, self._beside @ parts)
        return self._spreads[measure]

    @cached_property
    def _same(self) -> npt.NDArray[np.bool_]:
        """bool[24, g]: parts that are the same hour of the day, or nearly."""
        apart = np.abs(np.arange(24)[:, None] - (self.hours % 24)[None, :])
        return np.asarray(np.minimum(apart, 24 - apart) <= _NEIGHBOURS)

    @cached_property
    def _beside(self) -> Counts:
        """int64[g, g]: 1 where a part is compared with another."""
        if not len(self.hours):
            return 1 - np.eye(len(self.parts), dtype=np.int64)
        days = self.hours // 24
        others = np.array([self.like(int(hour)) & (days != day) for hour, day in zip(self.hours, days, strict=True)])
        alone = ~others.any(axis=1)
        others[alone] = ~np.eye(len(self.parts), dtype=bool)[alone]
        return others.astype(np.int64)

    def to_json(self) -> str:
        """As a file keeps it."""
        told: dict[str, Any] = {
            "format": _FORMAT,
            "record": self.record,
            "model_version": self.model_version,
            "feature_version": self.feature_version,
            "source": self.source,
            "parts": list(self.parts),
            "hours": self.hours.tolist(),
            "rows": self.rows.tolist(),
            "measures": {
                name: {"edges": self.edges[name].tolist(), "counts": self.counts[name].tolist()} for name in self.edges
            },
        }  # fmt: skip
        return json.dumps(told, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Reference:
        """What :meth:`to_json` wrote.

        Raises
        ------
        UnreadableProfile
            It is damaged, or of another format.
        """
        try:
            told = json.loads(text)
            if told["format"] != _FORMAT:
                raise UnreadableProfile(f"format {told['format']!r}, this flowlake reads {_FORMAT}")
            edges = {name: np.array(one["edges"], dtype=np.float64) for name, one in told["measures"].items()}
            counts = {name: np.array(one["counts"], dtype=np.int64) for name, one in told["measures"].items()}
            parts, rows = tuple(map(str, told["parts"])), np.array(told["rows"], dtype=np.int64)
            hours = np.array(told["hours"], dtype=np.int64)
            words = [str(told[name]) for name in ("record", "model_version", "feature_version", "source")]
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as e:
            raise e if isinstance(e, UnreadableProfile) else UnreadableProfile(f"{type(e).__name__}: {e}") from e
        for name, at in edges.items():
            if at.ndim != 1 or counts[name].shape != (len(parts), len(at) + 1) or (np.diff(at) <= 0).any():
                raise UnreadableProfile(f"measure {name!r} has {counts[name].shape} counts for {len(parts)} parts and {at.size} edges")
        if not parts or rows.shape != (len(parts),) or len(hours) not in (0, len(parts)):
            raise UnreadableProfile(f"{len(parts)} parts, {rows.size} numbers of rows, {hours.size} hours")
        return cls(words[0], words[1], words[2], words[3], parts, hours, rows, edges, counts)


def of_training(model: ScoringModel, flows: Labelled) -> Reference:
    """The reference of a training: its closed records, benign and attacks, as they were; parts are their groups."""
    closed = flows.where(flows.closed) if flows.closed.any() else flows
    x = closed.matrix(model.columns)
    score, label, _, novel = model.decide_by(closed.matrix)
    values = {column: x[:, at].astype(np.float64) for at, column in enumerate(model.columns)}
    values |= {measures.OF_MODEL[measures.SCORE]: score, measures.OF_MODEL[measures.ALERTS]: label.astype(np.float64)}
    if novel is not None:
        values[measures.OF_MODEL[measures.NOVELTY]] = novel
    edges = measures.edges(values)
    names, group = np.unique(closed.group, return_inverse=True)
    by_part = [measures.count({k: v[group == at] for k, v in values.items()}, edges) for at in range(len(names))]
    return Reference(
        record=model.record.name,
        model_version=model.version,
        feature_version=model.feature_version,
        source=TRAINING,
        parts=tuple(names.tolist()),
        hours=np.zeros(0, dtype=np.int64),
        rows=np.bincount(group, minlength=len(names)),
        edges=edges,
        counts={name: np.array([one[name] for one in by_part]) for name in edges},
    )


def write_profile(folder: Path, model: ScoringModel, flows: Labelled) -> Path:
    """Write the profile of a training, to be logged beside the model (:attr:`jobs.scoring.registry.Training.files`).

    Parameters
    ----------
    folder
        Where :data:`FILE` is written.
    model
        Whose columns, scores and alerts are counted.
    flows
        What it was trained on.

    Raises
    ------
    OSError
        The folder cannot be written.
    """
    file = folder / FILE
    files.replace(file, of_training(model, flows).to_json())
    return file
