"""The archive as a dataset of Arrow, for its readers: what is verified, by year and month."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.config import Settings
from jobs.archiving import place
from jobs.archiving.columns import ArchiveLayout
from schemas.records import RecordType

if TYPE_CHECKING:
    import pyarrow.dataset as ds


def dataset(settings: Settings, record: RecordType) -> ds.Dataset | None:
    """The archived rows of a record type, read when they are asked for; the columns ``year`` and ``month`` are the folders' names.

    Parameters
    ----------
    settings
        ``archive.path``, and the keys of the lake where it is a bucket.
    record
        A record type with a hot table.

    Returns
    -------
    pyarrow.dataset.Dataset or None
        None while nothing is archived. Its columns: :attr:`jobs.archiving.columns.ArchiveLayout.schema`, ``year`` and ``month``.

    Raises
    ------
    StoreError
        The archive cannot be read.
    """
    import pyarrow as pa
    import pyarrow.dataset as ds

    layout = ArchiveLayout.of(record)
    where = place.of(settings, layout.table.name)
    folders = pa.schema([("year", pa.int32()), ("month", pa.int32())])
    with where.told("read"):
        found = [path for path in where.below() if path.endswith(".parquet") and "/_" not in path.removeprefix(where.root)]
        if not found:
            return None
        return ds.dataset(
            found,
            schema=pa.unify_schemas([layout.schema, folders]),
            format="parquet",
            filesystem=where.files,
            partitioning=ds.partitioning(folders, flavor="hive"),
            partition_base_dir=where.root,
        )
