"""The ground truth of generated captures, as commands read it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from infra.errors import CaptureError, ConfigError, one_line

if TYPE_CHECKING:
    import pyarrow as pa

#: What to do about a file that is none.
HINT = "it is the Parquet file beside a generated capture"


def read_truth(path: Path, needed: Collection[str]) -> pa.Table:
    """The table of a file, its columns ``needed`` without a row that has no value.

    Raises
    ------
    ConfigError
        Columns are missing.
    CaptureError
        It cannot be read, or values are missing.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise CaptureError(f"ground truth {path}: {'no file' if path.exists() else 'no such file'}", HINT)
    try:
        with path.open("rb") as file:  # Arrow opens names in UTF-8 alone
            truth = pq.read_table(file)
    except (OSError, pa.ArrowException, ValueError) as e:
        raise CaptureError(f"ground truth {path}: {one_line(e, 200)}", HINT) from e
    if missing := set(needed) - set(truth.column_names):
        raise ConfigError(f"ground truth {path}: columns missing: {', '.join(sorted(missing))}")
    if empty := [name for name in sorted(needed) if truth[name].null_count]:
        raise CaptureError(f"ground truth {path}: column {empty[0]} has {truth[empty[0]].null_count:,} rows without a value", HINT)
    return truth
