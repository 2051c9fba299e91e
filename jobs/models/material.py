"""What a retraining learns from, frozen in the folder of its run: records with labels, a part of them held out for the gates."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from infra.config import Settings
from infra.errors import ModelError, StoreError, one_line
from jobs.models import recordfile
from jobs.models.compare import held_out_of
from jobs.runtime import lake
from jobs.scoring.names import features_of
from jobs.training import heldout
from schemas.records import RecordType

LAKE, GENERATED = "lake", "generated"
RECORDS = "records.parquet"
#: Share of each label's records that no training sees.
_HELD_OUT = 0.2
_SEED = 7


def freeze(settings: Settings, record: RecordType, source: str, folder: Path) -> dict[str, Any]:
    """Put the labelled records of a source into a folder: those to learn from, and those held out.

    Parameters
    ----------
    settings
        Where the lake is.
    record
        What is learned.
    source
        ``lake``: the records that the table of labels knows; ``generated``: nothing to freeze, the seeds say all; else a file.
    folder
        Of the run.

    Returns
    -------
    What was found, for the state of the run.

    Raises
    ------
    InputError, StoreError
        The source cannot be read.
    ModelError
        It has too few labels.
    """
    if source == GENERATED:
        return {"source": source}
    import pyarrow.parquet as pq

    table = _labelled_lake(settings, record) if source == LAKE else recordfile.table_of(Path(source))
    file = recordfile.of_table(folder / RECORDS, table, record)
    labels = file.labels
    if labels is None:
        raise ModelError(f"{source}: no column Label", "name a file with one, or --from lake")
    out = held_out_rows(labels)
    learned = table.filter(pa.array(~out))
    pq.write_table(learned, folder / RECORDS, compression="zstd")
    heldout.write(folder, held_out_of(recordfile.of_table(folder / heldout.FILE, table.filter(pa.array(out)), record), record).flows)
    return {
        "source": source,
        "records": learned.num_rows,
        "held_out": int(out.sum()),
        "labels": dict(sorted(Counter(labels.tolist()).items())),
        "notes": list(file.notes),
        "sha256": hashlib.sha256((folder / RECORDS).read_bytes()).hexdigest(),
    }


def held_out_rows(labels: Any) -> Any:
    """bool[n]: a fifth of each label's records, drawn at random, the same at each call; at least one where there are two.

    Raises
    ------
    ModelError
        No label has two records.
    """
    rng = np.random.default_rng(_SEED)
    out = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels[labels != ""]).tolist():
        rows = np.flatnonzero(labels == label)
        if len(rows) > 1:
            out[rng.permutation(rows)[: max(1, int(_HELD_OUT * len(rows)))]] = True
    if not out.any():
        raise ModelError(f"{len(labels):,} labelled records: too few to hold some out", "label more: flowlake lake label import")
    return out


def _labelled_lake(settings: Settings, record: RecordType) -> pa.Table:
    """Records of the lake that the table of labels knows, with the last word on each as column ``Label``."""
    import pyarrow.dataset as ds
    from deltalake.exceptions import DeltaError

    from jobs.sinks import labels

    said = labels.latest(settings, record)
    if not said.num_rows:
        raise ModelError(f"record type {record.name}: no labels yet", "flowlake lake label import, or flowlake lake label set")
    place = lake.location(settings, record)
    columns = [record.key, record.event_time, *([record.final] if record.final else []), *features_of(record).names]
    try:
        rows = lake.dataset(place, settings.lake).to_table(columns=columns, filter=ds.field(record.key).isin(said["record_key"]))
    except (DeltaError, OSError, pa.ArrowException) as e:
        raise StoreError(f"lake {place}: {one_line(e, 200)}", "start the stream first: flowlake stream") from e
    if not rows.num_rows:
        raise ModelError(f"lake {place}: none of {said.num_rows:,} labelled records is there", "labels name records by their identity")
    words = dict(zip(said["record_key"].to_pylist(), said["attack_type"].to_pylist(), strict=True))
    named = rows.append_column("Label", pa.array([words[key] for key in rows[record.key].to_pylist()], pa.string()))
    return named.sort_by([(record.event_time, "ascending"), (record.key, "ascending")])  # the same rows, the same model
