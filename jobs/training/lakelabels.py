"""Labels of a lake's records: people's and rules' of the table ``labels``, and those of a truth table."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from infra.config import Settings
from infra.names import printable
from infra.plurals import counted
from jobs.scoring.matrix import Records
from jobs.sinks import labels as table
from jobs.training.truth import Truth
from schemas.records import RecordType

#: Keys or conflicts that a note names.
_NAMED = 3


@dataclass
class LakeLabels:
    """What is said of the records of a lake. Picklable.

    A person's word goes before a truth table's, and that before a rule's or generator's in the table ``labels``
    (:data:`jobs.sinks.labels.MACHINES`).

    Attributes
    ----------
    keys : object[m]
        Records of the table ``labels``.
    names : object[m]
        What counts of each.
    by_person : bool[m]
        Whether a person says so.
    truth
        A truth table, where one is given.
    record
        What is labelled.
    """

    record: RecordType
    keys: npt.NDArray[np.object_]
    names: npt.NDArray[np.object_]
    by_person: npt.NDArray[np.bool_]
    truth: Truth | None
    met: npt.NDArray[np.bool_] = field(init=False)
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.met = np.zeros(len(self.keys), bool)
        self._index = pd.Index(self.keys, dtype=object)

    @classmethod
    def of(cls, settings: Settings, record: RecordType, truth: Truth | None, version: int | None) -> LakeLabels:
        """Those of a lake, of a version of the table ``labels``.

        Raises
        ------
        StoreError
            The table ``labels`` cannot be read.
        """
        found = table.latest(settings, record, version)
        person = np.array([not table.by_machine(source) for source in found["source"].to_pylist()], dtype=bool)
        keys, names = (np.array(found[name].to_pylist(), dtype=object) for name in ("record_key", "attack_type"))
        return cls(record, keys, names, person, truth)

    def __len__(self) -> int:
        return len(self.keys)

    def labels(self, records: Records) -> pa.Array:
        """Label of every record, string[n]; null where nobody has said anything."""
        at = self._index.get_indexer(pd.Index(records.column(self.record.key).to_pylist(), dtype=object))
        known = at >= 0
        self.met[at[known]] = True
        said = np.full(len(at), None, dtype=object)
        said[known] = self.names[at[known]]
        if self.truth is None:
            return pa.array(said, pa.string())
        true = np.array(self.truth.labels(records).to_pylist(), dtype=object)
        there = np.array([v is not None for v in true], dtype=bool)
        person = np.zeros(len(at), bool)
        person[known] = self.by_person[at[known]]
        both = there & known
        self.counts["records of which the truth table and the table labels say different things"] += int((true[both] != said[both]).sum())
        return pa.array(np.where(there & ~person, true, said), pa.string())

    def notes(self, conflicts: list[table.Conflict]) -> list[str]:
        """What there is to know of these labels, a line each."""
        found = [f"{counted(len(self), 'record')} labelled in the table labels"] if len(self) else []
        if unknown := self.keys[~self.met].tolist():
            found.append(f"{counted(len(unknown), 'label')} of records that the lake does not hold: {_some(unknown)}")
        if conflicts:
            found.append(
                f"{counted(len(conflicts), 'record')} of which two say different things; the last word of a person counts: "
                + _some([str(one) for one in conflicts], "; ")
            )
        found += self.truth.notes() if self.truth is not None else []
        found += [f"{n:,} {what}; a person goes before the truth table, that before a rule" for what, n in self.counts.items() if n]
        return found


def _some(names: list[str], between: str = ", ") -> str:
    return between.join(printable(name) for name in names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
