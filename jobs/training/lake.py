"""Labelled flow records from the lake's Delta table and a truth table."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra import paths
from infra.errors import ModelError, StoreError, one_line
from jobs.runtime import lake
from jobs.training.cic import Loaded, labelled
from jobs.training.fit import CANDIDATES
from jobs.training.truth import KEY, SPAN, join_labels
from schemas.features import FEATURE_VERSION

_COLUMNS = [*KEY, *SPAN, "closed", "feature_version", *CANDIDATES]


def load_lake(path: Path, labels: Path | None) -> Loaded:
    """Read the flows of a Delta table and join a Parquet truth table (``flowlake sensor generate`` writes one) to them.

    Records that no truth row covers are dropped and counted, as are those of another feature-schema version.

    Raises
    ------
    ConfigError
        A folder that delta-rs would look for elsewhere.
    ModelError
        No labels are given, the truth table cannot be read or lacks columns, or the table lacks columns.
    StoreError
        The Delta table cannot be read.
    """
    paths.check(path.resolve(), "--records", paths.LAKE, "move the table to another folder")
    if labels is None:
        raise ModelError(f"{path}: flow records of a lake carry no labels", "name a truth table with --labels truth.parquet")
    truth = read_truth(labels)
    from deltalake.exceptions import DeltaError

    try:
        flows = lake.dataset(path)
        have = set(flows.schema.names)
        if missing := [c for c in _COLUMNS if c not in have]:
            raise ModelError(f"{path}: missing columns {', '.join(missing[:10])}", "a flow table of another version of flowlake?")
        records = flows.to_table(columns=_COLUMNS)
    except (DeltaError, OSError, pa.ArrowException) as e:
        raise StoreError(f"lake {path}: {one_line(e, 200)}", "name the folder of a Delta table") from e
    notes = []
    current = pc.equal(records.column("feature_version"), FEATURE_VERSION)
    others = records.num_rows - int(pc.sum(current).as_py() or 0)
    if others:
        records = records.filter(current)
        notes.append(f"{others:,} rows dropped of another feature-schema version than {FEATURE_VERSION}")
    loaded = labelled(records, join_labels(records, truth), str(path))
    return Loaded(loaded.flows, (*notes, *loaded.notes))


def read_truth(path: Path) -> pa.Table:
    """A truth table from Parquet.

    Raises
    ------
    ModelError
        The file cannot be read.
    """
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as e:
        raise ModelError(f"truth table {path}: {one_line(e, 200)}", "flowlake sensor generate writes one beside a capture") from e
