"""``flowlake sql``: a question in SQL to lake, archive, hot store and alerts, answered here, by DuckDB."""

from __future__ import annotations

import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra import config
from infra.console.options import ConfFile
from infra.errors import ConfigError, one_line
from infra.plurals import counted
from ops.cli.results import ResultFormat, format_of, write

if TYPE_CHECKING:
    import pyarrow as pa

    from infra.config import Settings
    from jobs.asking.engine import Engine

#: Seconds until a question that takes long is told of, and between two lines about it.
_PATIENCE_S, _EVERY_S = 2.0, 0.5

#: Rows that a table shows unless more or fewer are wanted.
_ROWS = 100


def sql(
    question: Annotated[str | None, typer.Argument(metavar="[SQL]", help="One statement; without, it is read from standard input.")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Read the statement from a file; -: standard input.")] = None,
    form: Annotated[
        ResultFormat | None, typer.Option("--format", help="Default: table, or what the ending of --output says.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the result into a file, which appears when it is whole.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Rows that a table shows; 0: all. DESCRIBE, SUMMARIZE, SHOW and the other formats show all.",
            show_default=str(_ROWS),
        ),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show how it would be answered: what each scan reads. Reads nothing.")] = False,
    list_tables: Annotated[bool, typer.Option("--tables", help="List the tables and their columns.")] = False,
    memory: Annotated[str, typer.Option(help="Memory to work in; what needs more goes on in a temporary folder.")] = "1GB",
    conf_file: ConfFile = None,
) -> None:
    """Ask lake, archive, hot store and alerts in SQL. Reads only; nothing needs to be set up.

    Tables are called as everywhere: flows, network_flows, alerts, archived_flows; with their store: lake.flowlake.flows,
    hot.public.alerts, archive.flowlake.archived_flows. Dialect: DuckDB's, which is close to PostgreSQL's. Only the columns
    and rows that a question needs are read: put a condition on the time into it.
    """
    settings = config.load(conf_file)
    if list_tables:
        if question or file:
            raise ConfigError("--tables takes no statement", "leave one of them out")
        _list(settings, form or ResultFormat.table)
        return
    chosen = format_of(form, output)
    text = _text(question, file)

    from jobs.asking.engine import Engine
    from jobs.asking.statement import DESCRIBES, SHOW_TABLES

    if SHOW_TABLES.fullmatch(text):
        _list(settings, chosen)
        return
    if limit is None:
        limit = 0 if DESCRIBES.match(text) else _ROWS
    with Engine(settings, memory) as engine:
        if explain:
            print(engine.explain(text))
            return
        if output is None and sys.stdout.isatty():
            with _progress(engine):  # until the first rows take its place on the screen
                rows = _begun(engine.ask(text))
            count = write(rows, chosen, output, limit)
        else:
            with _progress(engine):
                count = write(engine.ask(text), chosen, output, limit)
    if output is not None:
        print(f"{output}: {counted(count, 'row')}", file=sys.stderr)


sql.epilog = (  # type: ignore[attr-defined]
    'Examples:  flowlake sql "select attack_type, count(*) from flows group by all"   |   flowlake sql --tables   |   '
    "flowlake sql --file question.sql --output answer.parquet"
)


def _begun(rows: pa.RecordBatchReader) -> pa.RecordBatchReader:
    """The same rows, the first of which are there."""
    import pyarrow as pa

    batches = iter(rows)
    first = list(islice(batches, 1))
    return pa.RecordBatchReader.from_batches(rows.schema, chain(first, batches))


def _text(question: str | None, file: Path | None) -> str:
    if question is not None and file is not None:
        raise ConfigError("a statement and --file exclude each other", "leave one of them out")
    if question is not None and question != "-":
        return question
    if file is None or str(file) == "-":
        if question is None and file is None and sys.stdin.isatty():
            raise ConfigError("there is no statement", 'flowlake sql "SELECT ...", or --file question.sql; flowlake sql --tables')
        return sys.stdin.read()
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"--file {file}: {getattr(e, 'strerror', None) or one_line(e)}", "name a file of UTF-8 text") from e


def _list(settings: Settings, form: ResultFormat) -> None:
    """Tables with their columns, as declared: no store is asked."""
    import json

    from jobs.asking.tables import tables

    if form not in (ResultFormat.table, ResultFormat.json):
        raise ConfigError(f"--tables is no {form}", "--format json")
    found = tables(settings)
    if form is ResultFormat.json:
        shown = [{"table": t.qualified, "comment": t.comment, "columns": dict(t.columns)} for t in found]
        print(json.dumps(shown, indent=1))
        return
    for table in found:
        print(f"{table.qualified}  -- {table.comment}")
        columns = ", ".join(f"{name} {kind}".strip() for name, kind in table.columns)
        print(_wrapped(columns) + "\n")


def _wrapped(text: str) -> str:
    """Indented; at a terminal in lines that fit it, elsewhere in one."""
    if not sys.stdout.isatty():
        return f"    {text}"
    return textwrap.fill(text, shutil.get_terminal_size().columns, initial_indent="    ", subsequent_indent="    ")


@contextmanager
def _progress(engine: Engine) -> Iterator[None]:
    """Tell a person at a terminal how far a long question is."""
    if not sys.stderr.isatty():
        yield
        return
    done = threading.Event()

    def tell() -> None:
        began, told, wait = time.monotonic(), False, _PATIENCE_S
        while not done.wait(wait):
            share = engine.progress
            known = "" if share is None else f" {share:.0%}"
            seconds = time.monotonic() - began
            print(f"\r\033[Kreading ...{known} {seconds:.0f} s (Ctrl-C ends it)", end="", file=sys.stderr, flush=True)
            told, wait = True, _EVERY_S
        if told:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
