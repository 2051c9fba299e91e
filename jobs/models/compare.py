"""Two versions side by side: what the registry says of them, and what both say of the same records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infra.config import Settings
from infra.errors import InputError, ModelError
from jobs.models import gates, measure, recordfile, versions
from jobs.models.gates import HeldOut
from jobs.models.recordfile import RecordFile
from jobs.models.versions import Version
from jobs.scoring import registry
from jobs.scoring.model import ScoringModel
from jobs.scoring.names import features_of
from jobs.training.labelled import LabelledFlows
from schemas.labels import BENIGN
from schemas.records import RecordType


@dataclass(frozen=True)
class Flips:
    """Records of one label: how many both models take for attacks, the first alone, the second alone, neither.

    ``retyped`` are those that both take for attacks, of different kinds.
    """

    label: str
    records: int
    both: int
    first: int
    second: int
    neither: int
    retyped: int


@dataclass(frozen=True)
class ModelComparison:
    """Two versions; where records were at hand, their flips, and where these come from."""

    first: Version
    second: Version
    origin: str = ""
    flips: tuple[Flips, ...] = ()

    def plain(self) -> dict[str, Any]:
        """For programs."""
        flips = [vars(one) for one in self.flips]
        return {"first": self.first.plain(), "second": self.second.plain(), "records": self.origin or None, "flips": flips}


def compare(settings: Settings, record: RecordType, first: str, second: str, held_out: HeldOut | None) -> ModelComparison:
    """Compare two versions on held-out records; None: only what the registry says of them.

    Raises
    ------
    ModelMissingError
        There is no such version.
    ModelError
        One cannot be used, or reads columns that the records lack.
    """
    a, b = versions.version(settings, record, first), versions.version(settings, record, second)
    if held_out is None:
        return ModelComparison(a, b)
    one, other = (registry.load_version(settings, record, v.version) for v in (a, b))
    return ModelComparison(a, b, held_out.origin, tuple(flips(one, other, held_out.flows)))


def flips(one: ScoringModel, other: ScoringModel, flows: LabelledFlows) -> list[Flips]:
    """What two models say of the same records, by label: benign ones first.

    Raises
    ------
    ModelError
        One reads columns that they lack.
    """
    a, b = measure.decided(one, flows), measure.decided(other, flows)
    types_a, types_b = (np.array([m.attack_types.get(t, t) for t in d.taken.tolist()]) for m, d in ((one, a), (other, b)))
    found = []
    for label in sorted(set(flows.y.tolist()), key=lambda name: (name != BENIGN, name)):
        of = flows.y == label
        both = of & a.flagged & b.flagged
        found.append(
            Flips(
                label,
                int(of.sum()),
                int(both.sum()),
                int((of & a.flagged & ~b.flagged).sum()),
                int((of & ~a.flagged & b.flagged).sum()),
                int((of & ~a.flagged & ~b.flagged).sum()),
                int((both & (types_a != types_b)).sum()),
            )
        )
    return found


def records_of(record: RecordType, path: Path) -> HeldOut:
    """Labelled records of a file, those without a label or with values that are none left out.

    Raises
    ------
    InputError
        It cannot be read, or says of no record what it is.
    """
    return held_out_of(recordfile.read(path, record), record)


def held_out_of(file: RecordFile, record: RecordType) -> HeldOut:
    """The same of a file that was read.

    Raises
    ------
    InputError
        It says of no record what it is, or misspells it.
    """
    path = file.path
    if file.labels is None:
        raise InputError(f"{path}: no column Label", "what is compared is told by label; flowlake models score needs none")
    columns = tuple(name for name in features_of(record).names if name in file.features)
    if not columns:
        raise InputError(f"{path}: no column of record type {record.name}", "columns have its names, or CICFlowMeter's")
    x, odd = file.matrix(columns)
    if wrong := recordfile.misspelt(file, record):
        raise InputError(f"{path}: {wrong}", "it would be an attack")
    keep = ~odd & (file.labels != "") & file.current(record)
    if not keep.any():
        raise InputError(f"{path}: no usable row of {len(keep):,}", "rows need a label, finite values, and our feature-schema version")
    n = int(keep.sum())
    flows = LabelledFlows(x[keep], columns, file.labels[keep], np.full(n, path.name), np.ones(n, dtype=bool))
    left = f", {len(keep) - n:,} rows left out" if n < len(keep) else ""
    return HeldOut(flows, f"{n:,} records of {path.name}{left}")


def chosen(settings: Settings, record: RecordType, path: Path | None, *, generated: bool, version: str = "") -> HeldOut | None:
    """Records to compare on: those of a file, generated ones, or those that a version brought along; None: there are none.

    Raises
    ------
    InputError
        The file cannot be used.
    ModelError
        Generated traffic is asked of a record type that is not generated.
    """
    if path is not None:
        return records_of(record, path)
    if generated:
        from schemas.packets import FLOWS

        if record != FLOWS:
            raise ModelError(f"record type {record.name}: there is no generated traffic of it", "name labelled records with --records")
        return gates.generated(settings)
    return gates.held_out_of(settings, record, version) if version else None
