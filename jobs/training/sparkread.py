"""A sample of a large lake drawn by Spark: each task sends what its part can still contribute, and how much it has seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from infra.config import Settings
from infra.errors import StoreError
from jobs.runtime import causes
from jobs.training.lakelabels import LakeLabels
from jobs.training.reading import Progress
from jobs.training.rows import RowReader, current
from jobs.training.sampling import Sample
from schemas.records import RecordType


@dataclass(frozen=True)
class Task:
    """What one of Spark's tasks does with its part of a table. Picklable."""

    record: RecordType
    origin: str
    seed: int
    most: int
    labels: LakeLabels

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Messages of the part's sample (:meth:`jobs.training.sampling.Sample.messages`)."""
        sample, reader, labels = Sample(self.most), None, self.labels
        for batch in batches:
            reader = reader or RowReader(self.record, batch.schema, self.origin, self.seed)
            records = current(batch, reader)
            if records.num_rows:
                sample.add(reader.rows(records, labels.labels(records)))
        if reader is None:
            return
        about = {"dropped": reader.dropped, "notes": reader.notes, "counts": labels.counts, "met": np.flatnonzero(labels.met).tolist()}
        if labels.truth is not None:
            about["truth"] = np.flatnonzero(labels.truth.met).tolist()
        for message in sample.messages(about):
            yield pa.record_batch([pa.array([message], pa.binary())], names=["message"])


def read(
    settings: Settings,
    place: str,
    version: int,
    columns: list[str],
    reader: RowReader,
    labels: LakeLabels,
    sample: Sample,
    progress: Progress,
) -> None:
    """Put the labelled records of a version of a table into a sample.

    Raises
    ------
    StackError
        Spark does not start.
    StoreError
        It cannot read the table.
    FileNotFoundError
        Files of the version are gone.
    """
    from jobs.runtime import session

    spark = session.build(settings, "flowlake train")
    task = Task(reader.record, place, reader.seed, sample.most, labels)
    try:
        frame = spark.read.format("delta").option("versionAsOf", version).load(place).select(*columns)
        for row in frame.mapInArrow(task, "message binary").toLocalIterator(prefetchPartitions=True):
            about = sample.merge(bytes(row["message"]))
            reader.dropped.update(about.get("dropped", {}))
            reader.notes += about.get("notes", [])
            labels.counts.update(about.get("counts", {}))
            labels.met[about.get("met", [])] = True
            if labels.truth is not None:
                labels.truth.met[about.get("truth", [])] = True
            if "seen" in about:
                progress(f"{sum(sample.seen.values()):,} labelled rows seen")
    except Exception as e:
        said = causes.summary(e)
        if "FileNotFound" in str(e) or "FILE_NOT_EXIST" in str(e) or ("FAILED_READ_FILE" in str(e) and "not exist" in str(e)):
            raise FileNotFoundError(said) from e
        raise StoreError(f"lake {place}: {said}", "read it without Spark: --engine local") from e
