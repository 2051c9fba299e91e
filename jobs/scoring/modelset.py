"""The models that score the records of a type side by side: the champion, whose word counts, and a challenger that looks on.

A challenger never harms: where it fails, its columns are null and the failure is counted; after :data:`MOST_FAILURES` it is not asked any
more by this process, and the driver, who is told, takes it back from all.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from infra.errors import one_line
from jobs.scoring.matrix import Records
from jobs.scoring.model import Judgement, ScoringModel
from jobs.scoring.tally import ALIKE, FAILED, RECORDS, SECONDS, TALLY, UNLIKE
from schemas.records import PREDICTION_FIELDS

#: Failures after which a process leaves a challenger alone.
MOST_FAILURES = 3

_FIELDS = {field.name: field for field in PREDICTION_FIELDS}


@dataclass(frozen=True)
class ModelSet:
    """What a task scores with, from its beginning to its end. Picklable.

    Attributes
    ----------
    champion
        Gives scores, labels and types.
    challenger
        Gives the columns ``challenger_*`` beside; None: they are null.
    """

    champion: ScoringModel
    challenger: ScoringModel | None = None

    def score(self, records: Records) -> pa.RecordBatch:
        """Score records: the columns that their type publishes (:meth:`jobs.scoring.model.ScoringModel.score`).

        Raises
        ------
        ModelError
            Columns are missing or of a type that does not convert.
        """
        return self.score_each([records])[0]

    def score_each(self, batches: Sequence[Records]) -> list[pa.RecordBatch]:
        """:meth:`score` of every batch; rows that are alike in different ones go through the models once."""
        begin = time.perf_counter()
        scored = self.champion.score_each(batches)
        name = self.champion.record.name
        TALLY.add((RECORDS, name, self.champion.version), sum(batch.num_rows for batch in batches))
        TALLY.add((SECONDS, name, self.champion.version), time.perf_counter() - begin)
        if self.challenger is None:
            return scored
        return beside(self.challenger, batches, scored)


def beside(challenger: ScoringModel, batches: Sequence[Records], scored: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """Scored batches with what the challenger says of their records; as they are where it fails."""
    key = (FAILED, challenger.record.name, challenger.version)
    if TALLY.at(key) >= MOST_FAILURES:
        return scored
    begin = time.perf_counter()
    try:
        judged = challenger.judge(batches)
        found = [_filled(batch, said, challenger.version) for batch, said in zip(scored, judged, strict=True)]
    except Exception as e:  # whatever it is: the champion has spoken
        TALLY.add(key)
        print(f"challenger {challenger.version} fails: {type(e).__name__}: {one_line(e)}", file=sys.stderr)
        return scored
    name = challenger.record.name
    TALLY.add((SECONDS, name, challenger.version), time.perf_counter() - begin)
    for batch, said in zip(scored, judged, strict=True):
        same = int((batch.column("predicted_label").to_numpy() == said.label).sum())
        champion = str(batch.column("model_version")[0]) if batch.num_rows else ""
        TALLY.add((ALIKE, name, champion, challenger.version), same)
        TALLY.add((UNLIKE, name, champion, challenger.version), batch.num_rows - same)
    return found


def _filled(batch: pa.RecordBatch, said: Judgement, version: str) -> pa.RecordBatch:
    if not (np.isfinite(said.attack).all() and len(said.attack) == batch.num_rows):
        raise ValueError("its scores are no numbers")
    columns = {
        "challenger_score": pa.array(said.attack),
        "challenger_label": pa.array(said.label),
        "challenger_version": pa.repeat(pa.scalar(version, pa.string()), batch.num_rows),
    }
    arrays = [columns.get(field.name, batch.column(i)) for i, field in enumerate(batch.schema)]
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema)
