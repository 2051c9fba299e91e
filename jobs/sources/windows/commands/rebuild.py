"""``flowlake windows rebuild``: windows of the lake's 5 s records, in batch: a file, or a comparison with what the stream has made."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra import config, paths, tablefiles
from infra.config import Settings
from infra.console import looks, times
from infra.console.options import ConfFile, Json, names
from infra.errors import ConfigError, StoreError, one_line
from infra.plurals import counted
from jobs.captures.arguments import capture_path
from jobs.runtime import lake
from jobs.windows.settings import WindowsSettings
from schemas.windowrecords import WINDOWS
from schemas.windows import SIZES, WINDOW_SCHEMA

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds

    from jobs.sources.windows.rebuild import Compared


def rebuild(
    since: Annotated[
        str | None, typer.Option(help="Windows that begin since: 2h, 7d, or 2026-03-01T12:00.", show_default="what is there")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Windows that begin before; as --since.", show_default="what is there")] = None,
    size: Annotated[str, typer.Option("--size", help="Sizes in seconds, with commas: 5, 30, 180; default: 30,180.")] = "30,180",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", parser=capture_path, help="windows.parquet or windows.csv.", show_default=False)
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Compare them with the windows that the lake has.")] = False,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Windows of the larger sizes from the lake's records of 5 s, by the code of the stream: into a file, or to check what the lake has.

    An hour before --since is read as well, for what is remembered of it. Windows that are not over where the records end are cut off there:
    with --check, name an --until some minutes ago while the stream runs. Exit code 5 when the lake has other windows than were made.
    """
    if out is not None and out.suffix not in (".parquet", ".csv"):
        raise ConfigError(f"--out {out}: its name ends neither in .parquet nor in .csv", "the ending says what is written")
    if out is None and not check:
        raise ConfigError("neither --out nor --check is given", "--out windows.parquet writes the windows, --check compares them")
    wanted = [int(one) for one in names("--size", size, [str(one) for one in SIZES])]
    begin, end = times.since(since), times.since(until, "--until")
    if begin and end and begin >= end:
        raise ConfigError(f"--since {since} is not before --until {until}", "--until is the first moment that is left out")
    settings = config.load(conf_file)
    done = _Rebuild(settings, wanted, begin, end, check=check)
    try:
        if out is not None:
            tablefiles.write_parts(done.hours(), WINDOW_SCHEMA, out)
        else:
            for _ in done.hours():
                pass
    except OSError as e:
        raise StoreError(f"{out}: {e.strerror or one_line(e)}", "name a file in a folder of yours") from e
    counts = {str(one): done.counts[one] for one in wanted}
    if as_json:
        compared = {str(one): vars(found) for one, found in done.compared.items()}
        print(json.dumps({"windows": counts, "out": str(out) if out else None, **({"compared": compared} if check else {})}))
    else:
        where = f"{out}: " if out else ""
        print(where + ", ".join(f"{counted(n, 'window')} of {one} s" for one, n in counts.items()), file=sys.stderr)
        _told(done.compared)
    if not all(found.same for found in done.compared.values()):
        raise typer.Exit(StoreError.exit_code)


rebuild.epilog = (  # type: ignore[attr-defined]  # shown under --help
    "Examples:  flowlake windows rebuild --since 2026-03-01 --until 2026-03-02 --out windows.parquet   |   "
    "flowlake windows rebuild --since 7d --size 5,30,180 --out windows.csv   |   flowlake windows rebuild --since 2h --until 10m --check"
)


class _Rebuild:
    """One run: what it reads, and what it counts on the way."""

    def __init__(self, settings: Settings, sizes: list[int], since: datetime | None, until: datetime | None, *, check: bool) -> None:
        from jobs.sources.windows.rebuild import Compared

        paths.check_lake(settings)
        self._settings = settings
        self._sizes = sizes
        self._range = since, until
        self.counts: Counter[int] = Counter()
        self.compared: dict[int, Compared] = {size: Compared() for size in sizes} if check else {}

    def hours(self) -> Iterator[pa.Table]:
        """Windows of an hour after the other, counted, and compared where that was asked for.

        Raises
        ------
        ConfigError
            There is no record of 5 s in the range.
        StoreError
            A table is not there or cannot be read, or a record is damaged.
        """
        import pyarrow as pa
        from deltalake.exceptions import DeltaError

        from jobs.windows.blob import BlobError

        place = lake.location(self._settings, WINDOWS[SIZES[0]])
        try:
            five = self._table(SIZES[0])
            stored = {size: self._table(size) for size in self.compared}
            yield from self._made(five, stored, place)
        except BlobError as e:
            raise StoreError(f"lake {place}: {one_line(e)}", "leave its time out with --since and --until") from e
        except (DeltaError, OSError, pa.ArrowException) as e:
            raise lake.problem(e, place, self._settings.lake) from e

    def _table(self, size: int) -> ds.Dataset:
        from deltalake.exceptions import TableNotFoundError

        place = lake.location(self._settings, WINDOWS[size])
        try:
            return lake.dataset(place, self._settings.lake)
        except TableNotFoundError as e:
            raise StoreError(f"lake {place} holds no table yet", "turn windows on, and start the stream: windows.enabled") from e
        except OSError as e:
            raise lake.problem(e, place, self._settings.lake) from e

    def _made(self, five: ds.Dataset, stored: dict[int, ds.Dataset], place: str) -> Iterator[pa.Table]:
        from jobs.sources.windows.rebuild import bounds, kept, of_size, rebuilt

        found = bounds(five, *self._range)
        if found is None:
            raise ConfigError(
                f"lake {place} has no record of 5 s in the range", "look further back with --since; flowlake lake tells what is there"
            )
        day, rows = "", 0
        own = self._settings.section(WindowsSettings)
        for begin, end, windows in rebuilt(five, self._sizes, *found, partial=own.partial, most=own.bounds()):
            for size in self._sizes:
                some = of_size(windows, size)
                self.counts[size] += some.num_rows
                if size in stored:
                    self.compared[size].add(some, kept(stored[size], begin, end))
            if day and day != f"{begin:%Y-%m-%d}":
                print(f"{day}: {counted(rows, 'window')}", file=sys.stderr, flush=True)
                rows = 0
            day, rows = f"{begin:%Y-%m-%d}", rows + windows.num_rows
            yield windows


def _told(compared: dict[int, Compared]) -> None:
    rows = [{"window_size": size, **vars(found)} for size, found in compared.items()]
    if rows:
        looks.show(rows, list(rows[0]), form="table", title="windows that were made again, beside those of the lake")
