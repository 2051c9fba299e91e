"""A file of records, scored by a registered model; where it says what they are, with an account of how right that is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from infra import tablefiles
from infra.config import Settings
from infra.errors import InputError, one_line
from jobs.models import recordfile
from jobs.models.measure import rate
from jobs.models.recordfile import RecordFile
from jobs.scoring.model import ScoringModel
from jobs.training.cic import wrong_in
from schemas.labels import BENIGN
from schemas.records import RecordType


@dataclass(frozen=True)
class LabelScore:
    """One label of a file: records, those taken for an attack, those taken for this very label; and its F1."""

    label: str
    records: int
    flagged: int
    typed: int
    f1: float


@dataclass(frozen=True)
class FileQuality:
    """How right a model is about a file's labels.

    ``macro_f1`` is the mean F1 over the labels that the file has; ``f1``, ``recall``, ``precision`` and the false-positive rate are
    those of attack against benign, NaN where undefined; ``fpr_interval`` holds 95 of 100 times.
    """

    records: int
    macro_f1: float
    f1: float
    precision: float
    recall: float
    false_positive_rate: float
    fpr_interval: tuple[float, float]
    labels: tuple[LabelScore, ...]


@dataclass(frozen=True)
class ScoredFile:
    """What a model says of a file: one row a record in its order, records by what they are taken for, quality, notes."""

    model: ScoringModel
    table: pa.Table
    taken: dict[str, int]
    quality: FileQuality | None
    notes: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """For programs; undefined numbers are null."""
        told = None
        if self.quality is not None:
            told = {k: _json(v) for k, v in vars(self.quality).items() if k != "labels"}
            told["labels"] = [vars(one) for one in self.quality.labels]
        return {
            "version": self.model.version,
            "threshold": self.model.threshold,
            "records": self.table.num_rows,
            "taken": self.taken,
            "quality": told,
            "notes": list(self.notes),
        }


def score(model: ScoringModel, record: RecordType, path: Path) -> ScoredFile:
    """Score the records of a Parquet or CSV file.

    Values that are missing, no numbers, NaN or infinite are taken as the stream takes them (0, the largest number), and counted.

    Raises
    ------
    InputError
        It cannot be read.
    ModelError
        It lacks columns that the model reads.
    """
    file = recordfile.read(path, record)
    x, odd = file.matrix(model.columns)
    novel = None
    if model.novelty is not None:
        other, more = file.matrix(model.novelty.columns)
        novel, odd = model.novelty.score(other), odd | more
    p_attack, label, kind = model.decide(model.predict(x), novel)
    notes = list(file.notes)
    if odd.any():
        notes.append(f"{int(odd.sum()):,} rows with a value that is missing, no number or infinite: scored as 0, or the largest number")
    suspect = wrong_in(file.table.schema.names)
    if wrong := [name for name in model.columns if name in suspect and file.features[name] != name]:
        notes.append(f"the model reads columns that are known to be wrong in CICFlowMeter's files: {', '.join(wrong)}")
    types = np.array(model.types)[kind]
    added: dict[str, Any] = {
        "confidence_score": p_attack,
        "predicted_label": label,
        "predicted_class": np.array(model.verdicts)[kind].tolist(),
        "attack_type": types.tolist(),
        **({} if novel is None else {"novelty_score": novel}),
        "model_version": [model.version] * len(label),
    }
    table = file.table
    for name, values in added.items():
        column = pa.array(values)
        there = table.schema.get_field_index(name)
        table = table.append_column(name, column) if there < 0 else table.set_column(there, name, column)
    names, counts = np.unique(types, return_counts=True)
    taken = dict(sorted(zip(names.tolist(), counts.tolist(), strict=True), key=lambda pair: -pair[1]))
    return ScoredFile(model, table, taken, _quality(file, model, record, label == 1, kind, notes), tuple(notes))


def _quality(file: RecordFile, model: ScoringModel, record: RecordType, flagged: Any, kind: Any, notes: list[str]) -> FileQuality | None:
    if file.labels is None:
        return None
    y, names = recordfile.truth(file, model, record)
    said = y != ""
    if not said.all():
        notes.append(f"{int((~said).sum()):,} rows without a label: not judged")
    if not said.any():
        return None
    return judged(y[said], names[kind][said], flagged[said])


def judged(y: Any, taken: Any, flagged: Any) -> FileQuality:
    """How right verdicts ``taken`` str[n] and ``flagged`` bool[n] are about labels ``y`` str[n]."""
    attack = y != BENIGN
    hits, alarms, misses = int((attack & flagged).sum()), int((~attack & flagged).sum()), int((attack & ~flagged).sum())
    benign = int((~attack).sum())
    labels = []
    for label in np.unique(y).tolist():
        of, right = y == label, int(((y == label) & (taken == label)).sum())
        f1 = 2 * right / (int(of.sum()) + int((taken == label).sum()))
        labels.append(LabelScore(label, int(of.sum()), int(flagged[of].sum()), right, f1))
    return FileQuality(
        records=len(y),
        macro_f1=float(np.mean([one.f1 for one in labels])),
        f1=_ratio(2 * hits, 2 * hits + alarms + misses),
        precision=_ratio(hits, hits + alarms),
        recall=_ratio(hits, hits + misses),
        false_positive_rate=_ratio(alarms, benign),
        fpr_interval=rate(alarms, benign),
        labels=tuple(labels),
    )


def write(table: pa.Table, path: Path) -> None:
    """Write a table as Parquet, or as CSV where the file's name ends so; whole or not at all.

    Raises
    ------
    InputError
        It cannot be written.
    """
    try:
        tablefiles.write(table, path)
    except OSError as e:
        raise InputError(f"{path}: {e.strerror}", "name a file in a folder of yours") from e
    except pa.ArrowException as e:
        raise InputError(f"{path}: {one_line(e, 200)}", "Parquet holds columns of any type: name a file that ends in .parquet") from e


def score_by(settings: Settings, record: RecordType, name: str, path: Path) -> ScoredFile:
    """:func:`score` by the version of a number or an alias.

    Raises
    ------
    ModelMissingError
        There is no such version.
    InputError, ModelError
        As :func:`score`; or the registry cannot be reached, or the model cannot be used.
    """
    from jobs.models import versions
    from jobs.scoring import registry

    one = versions.version(settings, record, name)
    found = score(registry.load_version(settings, record, one.version), record, path)
    said = versions.trained_on(one, path) if found.quality is not None else ""
    return replace(found, notes=(*found.notes, said)) if said else found


def _ratio(a: float, b: float) -> float:
    return a / b if b else float("nan")


def _json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_json(one) for one in value]
    return None if isinstance(value, float) and value != value else value
