"""The lake's tables: where they lie, and each as a dataset of Arrow for its readers, for programs that end as soon as they have read.

delta-rs hands Arrow a file system made in Python unless it is given one. Buffers read through that are Python objects, and a thread of
Arrow's may let go of the last of them when the interpreter is ending already. It asks for the interpreter's lock then, CPython before
3.14 ends a thread that does so, and that thread is in a destructor: ``terminate called without an active exception``, exit code 134,
after all rows have been read (https://github.com/delta-io/delta-rs/issues/2184). With Arrow's own file systems no Python is involved.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from infra.config import Settings
from infra.errors import ConfigError, StoreError, one_line
from infra.sections import LakeSettings
from jobs.runtime import meanings, s3
from jobs.runtime.meanings import About
from jobs.runtime.s3 import Trouble
from schemas.records import RecordType

if TYPE_CHECKING:
    import pyarrow.dataset as ds
    import pyarrow.fs as fs


#: Tables beside those of the record types (:mod:`jobs.runtime.sidetable`): ground truth and verdicts, rows that a check has refused, and
#: what the watching of models keeps.
SIDE_TABLES = (LABELS, QUARANTINE, MODEL_DRIFT, MODEL_REFERENCES) = ("labels", "quarantine", "model_drift", "model_references")


def setting(record: RecordType) -> str:
    """The setting that places the table of a record type."""
    return "lake.tables" if record.lake and record.lake.name else "lake.path"


def location(settings: Settings, record: RecordType) -> str:
    """Place of the lake table of a record type: an URI as it is, a relative folder made absolute.

    Raises
    ------
    ConfigError
        It lies beside ``lake.path`` by default, and ``lake.path`` is the root of a bucket or of the file system.
    """
    if record.lake is None:
        raise ValueError(f"record type {record.name} has no lake table")
    if record.name not in settings.lake.tables and record.lake.name:
        return beside(settings, record.lake.name, record.name)
    path = settings.lake.tables.get(record.name, settings.lake.path)
    return path if "://" in path else str(settings.path(path))


def beside(settings: Settings, folder: str, table: str = "") -> str:
    """Place of a table beside ``lake.path``, or where ``lake.tables`` has it.

    Parameters
    ----------
    folder
        Of the table, beside the last one of ``lake.path``.
    table
        Its name in ``lake.tables``; default: the folder.

    Raises
    ------
    ConfigError
        ``lake.path`` is the root of a bucket or of the file system.
    """
    table = table or folder
    path = settings.lake.path
    if table in settings.lake.tables:
        path = settings.lake.tables[table]
    else:
        above, _, own = path.rpartition("/")
        if (not own or not above or above.endswith(("/", ":"))) and ("://" in path or path.startswith("/")):
            raise ConfigError(
                f"lake.path {path!r} is a root: there is no place beside it for the table of {table}",
                f"name one: lake.tables: {{{table}: ...}}",
            )
        path = f"{above}/{folder}" if above else folder
    return path if "://" in path else str(settings.path(path))


def check(settings: Settings) -> None:
    """See that no two tables share a folder nor lie in each other, the archive's neither, and that ``lake.tables`` names record types.

    Raises
    ------
    ConfigError
        Names both, or the one that is not there.
    """
    stored = [record for record in settings.catalogue.records if record.lake]
    names = [*(record.name for record in stored), *SIDE_TABLES]
    if unknown := sorted(settings.lake.tables.keys() - set(names)):
        raise ConfigError(f"lake.tables: no record type {unknown[0]!r}", f"record types: {', '.join(names)}")
    places: dict[str, str] = {}
    for name in SIDE_TABLES:
        with suppress(ConfigError):  # told to whoever uses it
            places[_one(beside(settings, name))] = f"the table {name}"
    for record in stored:
        try:
            place = _one(location(settings, record))
        except ConfigError:  # told to the query that writes it: a source that nobody uses needs no place
            if record.name in settings.lake.tables:
                raise
            continue
        if place in places:
            raise ConfigError(
                f"lake: {places[place]} and {record.name} would share the table {place}", "give one another place: lake.tables"
            )
        places[place] = record.name
    for record in settings.catalogue.records:
        if record.hot:  # no other reader's files, and none that VACUUM finds
            _alone(_one(f"{archive(settings)}/{record.hot.name}"), places)


def archive(settings: Settings) -> str:
    """``archive.path``: an URI as it is, a relative folder made absolute."""
    path = settings.archive.path
    return path if "://" in path else str(settings.path(path))


def _one(place: str) -> str:
    return s3.uri(place).rstrip("/")


def _alone(folder: str, places: Mapping[str, str]) -> None:
    for place, name in places.items():
        if f"{folder}/".startswith(f"{place}/") or f"{place}/".startswith(f"{folder}/"):
            raise ConfigError(
                f"archive.path: {folder} and the lake table of {name.removeprefix('the table ')}, {place}, lie in each other",
                "VACUUM of the table would remove what is archived: set archive.path to a folder beside it",
            )


def dataset(path: str | Path, lake: LakeSettings | None = None, *, version: int | datetime | None = None) -> ds.Dataset:
    """The rows of a lake, read when they are asked for: by DuckDB, or with ``to_table``, ``to_batches``, ``filter``.

    Parameters
    ----------
    path
        The table's folder, or ``s3a://bucket/prefix``.
    lake
        Endpoint and keys of the bucket; without, what the environment says (``AWS_*``).
    version
        The table as it was, by the number of a version or by a time; the newest when None.

    Raises
    ------
    deltalake.exceptions.DeltaError
        There is no such table (``TableNotFoundError``) or no such version, or it cannot be read.
    OSError
        The store does not answer, or refuses.

    Examples
    --------
    >>> dataset("var/lake/flows").to_table(columns=["src_ip", "attack_type"])  # doctest: +SKIP
    """
    from deltalake import DeltaTable

    place = s3.uri(str(path))
    table = DeltaTable(place, storage_options=s3.storage_options(lake, place) if lake else None)
    if version is not None:
        table.load_as_version(version)
    return table.to_pyarrow_dataset(filesystem=files(place, lake))


def trouble(error: Exception, path: str, lake: LakeSettings, *about: About) -> Trouble | None:
    """What a failure of a table means, by all that it says; None when that is not known.

    Parameters
    ----------
    error
        Of Spark, Delta, delta-rs or Arrow.
    path
        The table.
    lake
        Where the object store is.
    about
        Whose words these may be, too.
    """
    text = str(error)
    if store := s3.trouble(text, path, lake):
        return store
    found = meanings.find(text, About.LAKE, *about)
    return Trouble(found.message(text, path=path), found.hint, found.passing) if found else None


def problem(error: Exception, path: str, lake: LakeSettings) -> StoreError:
    """What delta-rs or Arrow says of a table, in one line."""
    if known := trouble(error, path, lake):
        return StoreError(known.message, known.hint)
    if "://" not in path and not Path(path).exists():
        return StoreError(
            f"lake {path}: no such table yet", "start the stream first: flowlake stream; of a demo: --conf-file var/demo/conf.yaml"
        )
    return StoreError(f"lake {path}: {one_line(error)}", "check lake.path, lake.tables and lake.s3_endpoint")


def last_checkpoint(path: str, lake: LakeSettings) -> int | None:
    """Version of the last checkpoint of a table's log, as ``_last_checkpoint`` names it; None when there is none.

    Raises
    ------
    OSError
        The store does not answer, or refuses.
    """
    place = files(s3.uri(path), lake)
    if place is None:
        return None
    try:
        with place.open_input_stream("_delta_log/_last_checkpoint") as hint:
            return int(json.loads(hint.read())["version"])
    except (FileNotFoundError, ValueError, KeyError):
        return None


def files(place: str, lake: LakeSettings | None) -> fs.FileSystem | None:
    """Arrow's own file system with the table's folder as its root; None where it has none."""
    import pyarrow.fs as fs

    if place.startswith("s3://"):
        return fs.SubTreeFileSystem(place.removeprefix("s3://").rstrip("/"), bucket(lake))
    return None if "://" in place else fs.SubTreeFileSystem(str(Path(place).absolute()), fs.LocalFileSystem())


def bucket(lake: LakeSettings | None) -> fs.FileSystem:
    """Arrow's file system of the object store; without settings what the environment says."""
    import pyarrow.fs as fs

    if lake is None:
        return fs.S3FileSystem()
    endpoint = urlsplit(lake.s3_endpoint)
    options = {
        "access_key": lake.s3_access_key.get_secret_value(),
        "secret_key": lake.s3_secret_key.get_secret_value(),
        "region": s3.region(lake),
        "scheme": endpoint.scheme,
        "endpoint_override": endpoint.netloc + endpoint.path.rstrip("/"),
    }
    more: dict[str, Any] = {"force_virtual_addressing": lake.s3_addressing == "virtual", "tls_ca_file_path": lake.s3_ca or None}
    return fs.S3FileSystem(**{name: value for name, value in (options | more).items() if value})
