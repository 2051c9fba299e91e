"""Windows of the larger sizes from records of 5 s, as the lake has them: the rows that the stream made, by the same code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from jobs.windows.bounds import Bounds
from jobs.windows.cascade import Made, WindowCascade
from jobs.windows.storedsummary import summaries
from jobs.windows.summary import Summaries
from schemas.windows import SUMMARY

#: Columns of a record of 5 s that are read.
NEEDED: tuple[str, ...] = ("domain", "window_start", SUMMARY)


def windows_again(tables: Iterable[pa.Table], *, partial: bool = True, bounds: Bounds | None = None) -> Iterator[Made]:
    """Windows of every size, as their time is over.

    Parameters
    ----------
    tables
        Columns :data:`NEEDED` of records of 5 s; a table has none that begin before those of the one before it. What is remembered of an
        hour (:mod:`jobs.windows.memory`) is whole from an hour after the first record on.
    partial
        Larger windows, too, that lack a record of some slot.
    bounds
        Those of the stream, over all buckets (:meth:`jobs.windows.settings.WindowsSettings.bounds`): where nothing reaches them, rows are
        the same.

    Raises
    ------
    BlobError
        A summary is damaged.
    """
    cascade = WindowCascade(partial, bounds or Bounds())
    seen: set[str] = set()
    for table in tables:
        if not table.num_rows:
            continue
        domains = table["domain"].to_pylist()
        seen.update(domains)
        newest = pc.max(table["window_start"].cast(pa.int64())).as_py()
        parts = summaries(domains, table[SUMMARY].to_pylist())
        yield from cascade.take(parts, dict.fromkeys(seen, newest))
    yield from cascade.take(Summaries.none(), {}, sorted(seen))
