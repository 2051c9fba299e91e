"""Which records are worth a person's look: near the threshold, disputed, unlike all that is known, or so sure that it should be checked.

The lake's prediction columns are read in batches; of each reason no more rows are held than can be chosen. Within a reason the rows are
spread over predicted types and days, and drawn by a hash of their keys: the same seed chooses the same rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from infra.config import Settings
from infra.errors import ConfigError, ModelError, StoreError
from jobs.runtime import lake
from jobs.scoring import registry
from jobs.scoring.matrix import feature_matrix
from jobs.sinks import labels
from jobs.training.sampling import even, mixed
from schemas.labels import UNKNOWN
from schemas.records import PREDICTION_FIELDS, RecordType

#: Why a record may be chosen.
REASONS: tuple[str, ...] = ("near-threshold", "disagree", "novel", "tails")
#: Confidence below and above which the reference takes a model for sure.
TAILS = (0.05, 0.95)
#: Novelty score from which a record is novel, where its model cannot be asked.
NOVEL = 0.5
#: The most novel records that are put into clusters.
CLUSTERED = 5_000
_BATCH = 100_000
_SCORES = ("confidence_score", "predicted_label", "attack_type", "model_version", "novelty_score", "challenger_score", "challenger_label")


@dataclass(frozen=True)
class Choosing:
    """What is asked for.

    Attributes
    ----------
    reasons
        Of :data:`REASONS`.
    limit
        Records in all.
    margin
        Distance of P(attack) from the threshold that is near.
    novelty
        Novelty score from which a record is novel; None: from where the model that has scored it takes it for an unknown attack.
    threshold
        P(attack) from which a record is an attack; None: as the records themselves show, by model version.
    since
        Time before which records are left out.
    seed
        Of the choice.
    """

    reasons: tuple[str, ...] = REASONS
    limit: int = 200
    margin: float = 0.1
    novelty: float | None = None
    threshold: float | None = None
    since: datetime | None = None
    seed: int = 7


@dataclass(frozen=True)
class Selected:
    """Records for a person: all their columns, in the order of ``why``.

    Attributes
    ----------
    rows
        As they lie in the lake.
    why : str[n]
        Why each was chosen, in words.
    found
        By reason, how many there were to choose from.
    notes
        What could not be asked.
    """

    rows: pa.Table
    why: tuple[str, ...]
    found: dict[str, int]
    notes: tuple[str, ...] = ()


@dataclass
class _Shortlist:
    """Candidates of one reason, at most some of each stratum (predicted type and day)."""

    most: int
    first: bool = False  # those with the largest value rather than a random choice
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    rows: pd.DataFrame = field(default_factory=pd.DataFrame)

    def add(self, rows: pd.DataFrame) -> None:
        if rows.empty:
            return
        self.seen.update(zip(rows["attack_type"], rows["day"], strict=True))
        self.rows = pd.concat([self.rows, rows])
        if len(self.rows) > 4 * max(self.most, 5_000):
            self.rows = self._cut()

    def _cut(self) -> pd.DataFrame:
        ordered = self.rows.sort_values(["value", "order"] if self.first else ["order"], ascending=[False, True] if self.first else [True])
        if self.first:
            return ordered.head(self.most)
        cap = even(list(self.seen.values()), self.most)
        return ordered.groupby(["attack_type", "day"], sort=False).head(cap)

    def chosen(self, count: int) -> pd.DataFrame:
        """``count`` rows at most, spread over the strata: first one of each, then a second, and so on."""
        if self.rows.empty:
            return self.rows
        rows = self._cut()
        if self.first:
            return rows.head(count)
        turn = rows.groupby(["attack_type", "day"], sort=False).cumcount()
        return rows.assign(turn=turn).sort_values(["turn", "order"]).head(count)


def choose(settings: Settings, record: RecordType, asked: Choosing) -> Selected:
    """Records of the lake that no person has labelled yet and that are worth it.

    Raises
    ------
    ConfigError
        Records of this type are not scored, or a reason is none.
    StoreError
        The lake cannot be read, or is of records that nobody has scored.
    """
    if record.features is None or record.lake is None:
        raise ConfigError(
            f"records of type {record.name} are not scored and stored: there is nothing to choose by", "name another: --record"
        )
    if odd := [reason for reason in asked.reasons if reason not in REASONS]:
        raise ConfigError(f"no reason {odd[0]!r}", f"one of: {', '.join(REASONS)}")
    known = labels.latest(settings, record)
    by_person = [k for k, s in zip(known["record_key"].to_pylist(), known["source"].to_pylist(), strict=True) if not labels.by_machine(s)]
    thresholds = _thresholds(settings, record, asked) if "near-threshold" in asked.reasons else {}
    novelty = _NoveltyThresholds(settings, record, asked.novelty)
    held = {reason: _Shortlist(CLUSTERED if reason == "novel" else asked.limit, reason == "novel") for reason in asked.reasons}
    for scores in _scores(settings, record, asked):
        scores = scores[~scores["key"].isin(by_person)]
        for reason, (mask, value) in _reasons(scores, asked, thresholds, novelty).items():
            held[reason].add(scores.assign(value=value)[mask])
    found = {reason: sum(one.seen.values()) for reason, one in held.items()}
    share = even(list(found.values()), asked.limit)
    picked: dict[str, list[str]] = {}
    sizes = dict(found)
    for reason, one in held.items():
        count = min(found[reason], share + (asked.limit - sum(min(n, share) for n in sizes.values()) if reason == _largest(sizes) else 0))
        if reason == "novel":
            picked_of = _clusters(settings, record, one.chosen(CLUSTERED), count, asked.seed)
        else:
            picked_of = {row.key: _said(reason, row.value) for row in one.chosen(count).itertuples()}
        for key, words in picked_of.items():
            picked.setdefault(key, []).append(words)
    keys = list(picked)[: asked.limit]
    return Selected(_full(settings, record, keys), tuple("; ".join(picked[key]) for key in keys), found, tuple(novelty.notes))


class _NoveltyThresholds:
    """Novelty scores from which records are novel, by the version that has scored them: what the versions say, unless one is given."""

    def __init__(self, settings: Settings, record: RecordType, given: float | None) -> None:
        self._settings, self._record, self._given = settings, record, given
        self._of: dict[str, float] = {}
        self.notes: list[str] = []

    def of(self, versions: pd.Series) -> npt.NDArray[np.float64]:
        """float64[n]; NaN: its version looks for no unknown attacks."""
        if self._given is not None:
            return np.full(len(versions), self._given)
        for version in versions.dropna().unique().tolist():
            if version not in self._of:
                self._of[version] = self._ask(version)
        return versions.map(self._of).to_numpy(float)

    def _ask(self, version: str) -> float:
        try:
            model = registry.load_version(self._settings, self._record, version)
        except ModelError as e:  # what it has scored is in the lake all the same
            self.notes.append(f"model {version} cannot be asked from which novelty score on a record is novel, {NOVEL} it is: {e}")
            return NOVEL
        return np.nan if model.novelty is None else model.novelty.threshold


def _largest(found: dict[str, int]) -> str:
    return max(found, key=lambda reason: found[reason])


def _said(reason: str, value: float) -> str:
    return {
        "near-threshold": f"near the threshold: {value:+.3f} from it",
        "disagree": f"the challenger says otherwise, with {value:.3f}",
        "tails": f"the model is sure: {value:.3f}",
    }[reason]


def _reasons(
    scores: pd.DataFrame, asked: Choosing, thresholds: dict[str, float], novel: _NoveltyThresholds
) -> dict[str, tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]]:
    """By reason, which rows it holds for, and the value that says how much."""
    p = scores["confidence_score"].to_numpy(float)
    novelty = scores["novelty_score"].to_numpy(float)
    other = scores["challenger_label"].to_numpy(float)
    least = novel.of(scores["model_version"].where(~np.isnan(novelty))) if "novel" in asked.reasons else np.full(len(scores), np.nan)
    away = p - scores["model_version"].map(thresholds).to_numpy(float)
    with np.errstate(invalid="ignore"):
        all_of = {
            "near-threshold": (np.abs(away) <= asked.margin, away),
            "disagree": (
                ~np.isnan(other) & (other != scores["predicted_label"].to_numpy(float)), scores["challenger_score"].to_numpy(float)
            ),
            "novel": (novelty >= least, novelty),
            "tails": ((p < TAILS[0]) | (p > TAILS[1]), p),
        }  # fmt: skip
    return {reason: all_of[reason] for reason in asked.reasons}


def _thresholds(settings: Settings, record: RecordType, asked: Choosing) -> dict[str, float]:
    """By model version, the threshold: midway between the highest score of what it took for benign and the lowest of what it did not."""
    lowest: dict[str, float] = {}
    highest: dict[str, float] = {}
    for scores in _scores(settings, record, asked):
        known = scores[scores["attack_type"] != UNKNOWN.name]  # those are attacks whatever the classifier says
        attack = known["predicted_label"] == 1
        for into, part, better in ((lowest, known[attack], min), (highest, known[~attack], max)):
            grouped = part.groupby("model_version")["confidence_score"]
            for version, value in (grouped.min() if better is min else grouped.max()).items():
                into[str(version)] = better(into.get(str(version), value), value)
    if asked.threshold is not None:
        return dict.fromkeys({*lowest, *highest}, asked.threshold)
    return {v: (lowest.get(v, 1.0) + highest.get(v, lowest.get(v, 1.0))) / 2 for v in {*lowest, *highest}}


def _scores(settings: Settings, record: RecordType, asked: Choosing) -> Iterator[pd.DataFrame]:
    """Key, day, scores and an order by hash, of batches of the lake's records."""
    import pyarrow.dataset as ds

    later = ds.field(record.event_time) >= pa.scalar(asked.since, pa.timestamp("us", "UTC")) if asked.since else None
    have = set(_dataset(settings, record).schema.names)
    if missing := [f.name for f in PREDICTION_FIELDS[:4] if f.name not in have]:
        raise StoreError(f"lake {record.name}: no column {missing[0]}", "records that no model has scored: there is nothing to choose by")
    columns = [record.key, record.event_time, *(name for name in _SCORES if name in have)]
    for batch in _read(settings, record, columns, later):
        data = batch.to_pandas().rename(columns={record.key: "key"})
        for name in _SCORES:
            if name not in data:
                data[name] = np.nan
        data["day"] = data.pop(record.event_time).dt.strftime("%Y-%m-%d").fillna("")
        data["attack_type"] = data["attack_type"].fillna("")  # groups are made by both: what has none is one of its own
        data["order"] = mixed(pd.util.hash_array(data["key"].to_numpy(object)), asked.seed)
        yield data


def _clusters(settings: Settings, record: RecordType, rows: pd.DataFrame, count: int, seed: int) -> dict[str, str]:
    """Of each cluster of novel records the one in its middle, the largest clusters first."""
    if rows.empty or not count:
        return {}
    from scipy.stats import rankdata
    from sklearn.cluster import KMeans

    assert record.features is not None
    full = _full(settings, record, rows["key"].tolist())
    # Ranks, as counts and bytes of flows differ by powers of ten.
    x = rankdata(feature_matrix(full, record.features.names), axis=0) / len(full)
    many = min(count, len(np.unique(x, axis=0)))
    fitted = KMeans(many, random_state=seed, n_init=1).fit(x)
    distance = np.linalg.norm(x - fitted.cluster_centers_[fitted.labels_], axis=1)
    size = np.bincount(fitted.labels_, minlength=many)
    keys, value = full[record.key].to_pylist(), dict(zip(rows["key"], rows["value"], strict=True))
    chosen: dict[str, str] = {}
    for cluster in np.argsort(-size, kind="stable").tolist():
        inside = np.flatnonzero(fitted.labels_ == cluster)
        middle = keys[inside[np.argmin(distance[inside])]]
        chosen[middle] = f"novel, {value[middle]:.3f}: stands for {size[cluster]:,} alike"
    return chosen


def _full(settings: Settings, record: RecordType, keys: Sequence[str]) -> pa.Table:
    """Records by their keys, in that order."""
    import pyarrow.dataset as ds

    stored = _dataset(settings, record).schema
    names = [name for name in record.published.names if name in stored.names]
    batches = list(_read(settings, record, names, ds.field(record.key).isin(pa.array(keys, pa.string()))))
    schema = pa.schema([stored.field(name) for name in names])
    table = pa.Table.from_batches(batches, batches[0].schema if batches else schema)
    at = {key: i for i, key in enumerate(table[record.key].to_pylist())}
    return table.take(pa.array([at[key] for key in keys], pa.int64()))


def _read(settings: Settings, record: RecordType, columns: Sequence[str], rows: object) -> Iterator[pa.RecordBatch]:
    dataset = _dataset(settings, record)
    try:
        yield from dataset.to_batches(columns=list(columns), filter=rows, batch_size=_BATCH, batch_readahead=2, fragment_readahead=1)
    except (OSError, pa.ArrowException) as e:
        raise lake.problem(e, lake.location(settings, record), settings.lake) from e


def _dataset(settings: Settings, record: RecordType) -> pa.dataset.Dataset:
    from deltalake.exceptions import DeltaError

    place = lake.location(settings, record)
    try:
        return lake.dataset(place, settings.lake)
    except (DeltaError, OSError) as e:
        raise lake.problem(e, place, settings.lake) from e


def held_by_lake(settings: Settings, record: RecordType, keys: Sequence[str]) -> set[str]:
    """Those of the keys that the lake has records of.

    Raises
    ------
    StoreError
        It cannot be read.
    """
    import pyarrow.dataset as ds

    found: set[str] = set()
    for batch in _read(settings, record, [record.key], ds.field(record.key).isin(pa.array(list(keys), pa.string()))):
        found.update(batch.column(0).to_pylist())
    return found
