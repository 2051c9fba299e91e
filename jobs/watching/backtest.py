"""A backtest: what another version would have said of what lies in the lake, beside what was said then and what is known of it now.

A Spark job: the model is broadcast with the tasks, only the days and columns that it needs are read, and only sums and a few examples
come back. The stores stay as they are; ``--write`` names a table of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from infra.config import Settings
from infra.errors import ConfigError, ModelError, StoreError
from jobs.runtime import lake, s3
from jobs.runtime.workers import settled
from jobs.scoring import registry
from jobs.scoring.model import ScoringModel
from jobs.sinks import labels
from jobs.watching import rescoring
from jobs.watching.rescoring import EXAMPLES, TRUTH_LABEL, TRUTH_TYPE, Example, Said, Sum
from jobs.watching.span import EventSpan
from jobs.watching.stored import ScoredTable
from schemas.labels import BENIGN
from schemas.records import RecordType

if TYPE_CHECKING:
    from pyspark import Broadcast
    from pyspark.sql import DataFrame, SparkSession

Say = Callable[[str], None]


@dataclass
class BacktestLine:
    """One kind of attack on one day and sensor; numbers of records.

    Attributes
    ----------
    then, now, both
        Called this kind then, now, both times.
    raised
        Called this kind now, and benign then: alerts that there would have been.
    missed
        Called this kind then, and benign now: alerts that there would not have been.
    retyped
        Called this kind now, and another attack then.
    true_then, true_now, false_then, false_now
        Of those that were called this kind: labelled an attack, labelled benign.
    labelled, found_then, found_now
        Labelled this kind; of them called any attack then, now.
    score
        Sum of P(attack) now over those called this kind now; ``least`` is the smallest.
    """

    day: date
    sensor: str
    kind: str
    then: int = 0
    now: int = 0
    both: int = 0
    raised: int = 0
    missed: int = 0
    retyped: int = 0
    true_then: int = 0
    true_now: int = 0
    false_then: int = 0
    false_now: int = 0
    labelled: int = 0
    found_then: int = 0
    found_now: int = 0
    score: float = 0.0
    least: float = 1.0

    @property
    def mean_score(self) -> float | None:
        """How sure the model is of what it calls this kind now, P(attack) on average."""
        return self.score / self.now if self.now else None

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        told = {name: value for name, value in vars(self).items() if name not in ("score", "least", "day")}
        return {"day": self.day.isoformat(), **told, "mean_score": self.mean_score, "least_score": self.least if self.now else None}


@dataclass
class Backtest:
    """What a version would have said of a span.

    Attributes
    ----------
    record, key, model_version, span
        What was asked; ``key`` is the column of the identity.
    rows
        Scored; ``left_out`` have features of another version.
    benign_both, labelled, labelled_attacks
        Called benign then and now; with a label; labelled an attack.
    lines
        By day, sensor and kind of attack.
    examples
        ``raised`` or ``missed``, the kind, and the records that changed most.
    table
        Where each verdict was written; empty: nowhere.
    """

    record: str
    key: str
    model_version: str
    span: EventSpan
    rows: int = 0
    left_out: int = 0
    benign_both: int = 0
    labelled: int = 0
    labelled_attacks: int = 0
    lines: list[BacktestLine] = field(default_factory=list)
    examples: dict[tuple[str, str], list[Example]] = field(default_factory=dict)
    table: str = ""

    def total(self, name: str) -> int:
        """Sum of a number over all lines."""
        return sum(getattr(line, name) for line in self.lines)

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        names = (
            "then",
            "now",
            "both",
            "raised",
            "missed",
            "retyped",
            "true_then",
            "true_now",
            "false_then",
            "false_now",
            "found_then",
            "found_now",
        )
        return {
            "record": self.record,
            "model_version": self.model_version,
            "from": self.span.first.isoformat(),
            "to": self.span.until.isoformat(),
            "rows": self.rows,
            "left_out": self.left_out,
            "benign_both": self.benign_both,
            "labelled": self.labelled,
            "labelled_attacks": self.labelled_attacks,
            "total": {name: self.total(name) for name in names},
            "lines": [line.as_dict() for line in self.lines],
            "examples": [
                {"change": what, "kind": kind, "key": one.key, "score": one.score, "score_then": one.before}
                for (what, kind), some in self.examples.items()
                for one in some
            ],
            "table": self.table,
        }


def load(settings: Settings, record: RecordType, version: str) -> ScoringModel:
    """A registered version, by its number or as the champion.

    Raises
    ------
    ModelError
        There is none, or it cannot be used.
    """
    if version == settings.scoring.alias:
        return registry.load_champion(settings, record)
    return registry.load_version(settings, record, version)


def run(
    spark: SparkSession,
    settings: Settings,
    record: RecordType,
    version: str,
    span: EventSpan,
    *,
    write: str = "",
    say: Say,
) -> Backtest:
    """Score a span of the lake with a version, and compare.

    Parameters
    ----------
    spark, settings, record
        What is read.
    version
        A registered one.
    span
        Of event time.
    write
        A Delta table of its own for each verdict: a folder, a URI, or a name beside the lake. What it holds of this version and span is
        replaced. Empty: none.
    say
        Told what is being done.

    Raises
    ------
    ConfigError
        ``write`` names a table of the platform.
    ModelError
        There is no such version, or it cannot be used; it reads a column that the lake does not have.
    StoreError
        The lake or its labels cannot be read, or the table not be written.
    """
    place = _place(settings, write) if write else ""
    table = ScoredTable(spark, settings, record)
    model = load(settings, record, version)
    if missing := [name for name in rescoring.columns(model) if name not in table.columns and name in (*model.columns, record.key)]:
        raise ModelError(f"model {model.version} reads {missing[0]}, which {table.path} does not have", "name another version")
    frame = _labelled(spark, settings, table, table.rows(span, rescoring.columns(model)))
    say(f"{record.name}: scoring {span} with model {model.version}")
    found = Backtest(record.name, record.key, model.version, span, table=place)
    try:
        shared = spark.sparkContext.broadcast(model)
        if place:
            _write(table.rows(span, rescoring.columns(model)), shared, span, place)
        rows = frame.mapInArrow(settled(lambda batches: rescoring.summed(batches, shared.value)), rescoring.SUMMED_DDL).collect()
    except StoreError:
        raise
    except Exception as e:
        raise table.problem(e) from e
    found.left_out = sum(row.left_out for row in rows)
    sums: dict[Said, Sum] = {}
    for said, one in (rescoring.unpacked(row) for row in rows if row.day is not None):
        sums.setdefault(said, Sum()).add(one)
    tell(found, sums)
    say(f"{record.name}: {found.rows:,} rows scored")
    return found


def tell(found: Backtest, sums: dict[Said, Sum]) -> None:
    """Fill in what the sums of rows come to."""
    lines: dict[tuple[date, str, str], BacktestLine] = {}
    for said, one in sums.items():
        found.rows += one.rows
        found.benign_both += one.rows if said.then == said.now == BENIGN else 0
        found.labelled += one.rows if said.truth else 0
        found.labelled_attacks += one.rows if said.truth not in ("", BENIGN) else 0
        for kind in sorted({said.then, said.now, said.truth} - {"", BENIGN}):
            _count(lines.setdefault((said.day, said.sensor, kind), BacktestLine(said.day, said.sensor, kind)), said, one)
        for what, kind, hit in (("raised", said.now, said.then == BENIGN), ("missed", said.then, said.now == BENIGN)):
            if hit and kind != BENIGN:
                kept = found.examples.setdefault((what, kind), [])
                found.examples[what, kind] = sorted([*kept, *one.examples], key=lambda e: (-e.change, e.key))[:EXAMPLES]
    found.lines = [lines[key] for key in sorted(lines)]
    found.examples = dict(sorted(found.examples.items()))


def _count(line: BacktestLine, said: Said, one: Sum) -> None:
    kind, rows = line.kind, one.rows
    attack, benign = said.truth not in ("", BENIGN), said.truth == BENIGN
    if said.then == kind:
        line.then += rows
        line.missed += rows if said.now == BENIGN else 0
        line.true_then += rows if attack else 0
        line.false_then += rows if benign else 0
    if said.now == kind:
        line.now += rows
        line.both += rows if said.then == kind else 0
        line.raised += rows if said.then == BENIGN else 0
        line.retyped += rows if said.then not in (kind, BENIGN) else 0
        line.true_now += rows if attack else 0
        line.false_now += rows if benign else 0
        line.score += one.score
        line.least = min(line.least, one.least)
    if said.truth == kind:
        line.labelled += rows
        line.found_then += rows if said.then != BENIGN else 0
        line.found_now += rows if said.now != BENIGN else 0


def _labelled(spark: SparkSession, settings: Settings, table: ScoredTable, frame: DataFrame) -> DataFrame:
    """Rows with the last word of the labels on each, null where there is none."""
    truth = labels.latest(settings, table.record).select(["record_key", "label", "attack_type"])
    truth = truth.rename_columns(["truth_key", TRUTH_LABEL, TRUTH_TYPE])
    if not truth.num_rows:
        from pyspark.sql import functions as F

        return frame.withColumn(TRUTH_LABEL, F.lit(None).cast("tinyint")).withColumn(TRUTH_TYPE, F.lit(None).cast("string"))
    known = spark.createDataFrame(pa.table(truth))
    return frame.join(known, frame[table.record.key] == known["truth_key"], "left").drop("truth_key")


def _write(frame: DataFrame, shared: Broadcast[ScoringModel], span: EventSpan, place: str) -> None:
    """Write each verdict; those of this version and span that are there are replaced, with one commit."""
    model = shared.value
    time = "TIMESTAMP '{:%Y-%m-%d %H:%M:%S.%f}'"
    mine = (
        f"record_type = '{model.record.name}' AND model_version = '{model.version}' AND event_time >= {time.format(span.first)} "
        f"AND event_time < {time.format(span.until)}"
    )
    rows = frame.mapInArrow(settled(lambda batches: rescoring.written(batches, shared.value)), rescoring.WRITTEN_DDL)
    try:
        rows.write.format("delta").mode("overwrite").option("replaceWhere", mine).partitionBy("event_date").save(place)
    except Exception as e:
        if "AnalysisException" in type(e).__name__ or "schema mismatch" in str(e) or "DELTA_SCHEMA" in str(e):
            raise StoreError(f"--write {place}: holds another table than that of a backtest", "name a table of its own") from e
        raise


def _place(settings: Settings, name: str) -> str:
    """Where ``--write`` leads: no table of the platform, and no folder above or below one.

    Raises
    ------
    ConfigError
        It is one.
    """
    place = name if "://" in name or "/" in name else lake.beside(settings, name)
    place = place if "://" in place else str(settings.path(place))
    own = s3.uri(place).rstrip("/")
    for what, path in _platform(settings):
        other = s3.uri(path).rstrip("/")
        if f"{own}/".startswith(f"{other}/") or f"{other}/".startswith(f"{own}/"):
            raise ConfigError(f"--write {name}: {what} lies at {path}", "name a table of its own, such as backtest")
    return place


def _platform(settings: Settings) -> Iterable[tuple[str, str]]:
    for record in settings.catalogue.records:
        if record.lake:
            yield f"the table of {record.name}", lake.location(settings, record)
    for name in lake.SIDE_TABLES:
        yield f"the table {name}", lake.beside(settings, name)
    yield "the archive", lake.archive(settings)
    yield (
        "the checkpoints",
        settings.paths.checkpoints if "://" in settings.paths.checkpoints else str(settings.path(settings.paths.checkpoints)),
    )


def folder(settings: Settings) -> Path:
    """Where pages lie."""
    return settings.path(settings.paths.var) / "backtest"
