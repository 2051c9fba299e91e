"""DuckDB over the stores, for one question at a time: reads only, with bounded memory, and knows no files but those of the stores."""

from __future__ import annotations

import difflib
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from queue import Queue
from types import TracebackType
from typing import TYPE_CHECKING, Any

from infra.config import Settings
from infra.console.signals import taken
from infra.errors import ConfigError, FlowlakeError, StoreError, one_line
from jobs.asking import statement
from jobs.asking.tables import DATABASES, AskedTable, Opener, other, tables

if TYPE_CHECKING:
    import pyarrow as pa

#: Rows that DuckDB hands on at once, and how many such batches may wait for a slow reader.
BATCH_ROWS, _WAITING = 10_000, 4
_NO_TABLE = re.compile(r'(?:Table|View) with name "?([^"\s]+?)"? does not exist')
#: How DuckDB begins when a store's file cannot be read, and behind which name of :meth:`Engine._show` it was.
_OF_A_STORE = re.compile(r"reading the stream registered as '(\w+)' failed: (.*)", re.DOTALL)


#: A number that is not 0. DuckDB takes "none" and all that begins with "-" for no limit at all.
_SIZE = re.compile(r"\s*(?=[0-9.]*[1-9])[0-9.]")


class Engine:
    """A context manager; what it opens is closed at its end.

    Parameters
    ----------
    settings
        Where the stores are.
    memory
        What DuckDB may use, such as ``1GB``; beyond, it goes on in a temporary folder.

    Raises
    ------
    ConfigError
        ``memory`` is no size.

    Examples
    --------
    >>> with Engine(settings) as engine:  # doctest: +SKIP
    ...     print(engine.ask("SELECT count(*) FROM flows").read_all())
    """

    def __init__(self, settings: Settings, memory: str = "1GB") -> None:
        import duckdb

        self.settings = settings
        self.tables = tables(settings)
        self._failure: Exception | None = None
        self._opener = Opener(settings, self._fail)
        self._opened: dict[str, AskedTable] = {}
        self._unopened: dict[str, FlowlakeError] = {}
        self._asked: _Question | None = None
        if not _SIZE.match(memory):
            raise _no_size(memory)
        self._folder = tempfile.mkdtemp(prefix="flowlake-sql-")
        self._connection = duckdb.connect(config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"})
        try:
            self._connection.execute("SET memory_limit = $1", [memory])
        except duckdb.Error as e:
            self.close()
            raise _no_size(memory) from e
        self._prepare()

    def _prepare(self) -> None:
        """Databases of the stores' names; after that nothing can be set, no file be opened, and no name of this program be seen."""
        execute = self._connection.execute
        execute("SET TimeZone = 'UTC'")
        for setting in ("enable_progress_bar = true", "enable_progress_bar_print = false"):
            execute(f"SET {setting}")  # it counts, and this program shows it
        execute("SET temp_directory = $1", [self._folder])
        for database, schema in DATABASES:
            execute(f"ATTACH ':memory:' AS {database}")
            execute(f"CREATE SCHEMA {database}.{schema}")
        # PostgreSQL's way to write an address without its mask: here addresses are text without one.
        execute("CREATE TEMP MACRO host(address) AS address")
        execute(f"SET search_path = '{','.join(f'{database}.{schema}' for database, schema in DATABASES)}'")
        for setting in ("python_enable_replacements = false", "enable_external_access = false", "lock_configuration = true"):
            execute(f"SET {setting}")

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close all."""
        if self._asked is not None:
            self._asked.stop()
        self._opener.close()
        self._connection.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _fail(self, error: Exception) -> None:
        self._failure = self._failure or error

    @property
    def progress(self) -> float | None:
        """Share of the work that is done, from 0 to 1; None where DuckDB cannot say."""
        share = float(self._connection.query_progress())
        return share / 100 if share >= 0 else None

    def ask(self, sql: str) -> pa.RecordBatchReader:
        """Answer one statement; only the stores that it names are opened.

        Returns
        -------
        pyarrow.RecordBatchReader
            The rows, as DuckDB finds them. No two columns have one name: the second ``x`` is ``x_1``. Close it to stop early.

        Raises
        ------
        ConfigError
            The statement is none, or not one that reads; a table, column or function is unknown.
        StoreError
            A store that it names is away, or holds no such table yet. Reading may raise it too.
        """
        import pyarrow as pa

        text = statement.only(sql)
        if self._asked is not None:
            self._asked.stop()
        self._failure = None  # of the question before
        self._open(statement.names(text))
        running, schema = self._started(text)
        names = distinct(schema.names)
        shown = pa.schema([field.with_name(name) for field, name in zip(schema, names, strict=True)])
        return pa.RecordBatchReader.from_batches(shown, self._batches(running, shown))

    def _started(self, text: str) -> tuple[_Question, pa.Schema]:
        """Begin; where DuckDB misses a table that there is (``query_table('flows')`` names one, and no parser sees it), open it too."""
        while True:
            running = self._asked = _Question(self._connection, text, self._opener.cancel)
            try:
                return running, running.start()
            except Exception as e:
                missing = _NO_TABLE.search(str(e))
                before = len(self._opened)
                if missing:
                    self._open([("", "", missing[1])])
                if len(self._opened) == before:
                    raise self._told(e) from e

    def explain(self, sql: str) -> str:
        """How DuckDB would answer: its plan, in which a scan shows the columns and conditions that it leaves to a store."""
        text = statement.only(sql)
        if re.match(r"\s*explain\b", text, re.IGNORECASE):
            raise ConfigError("the statement explains already", "leave out --explain, or EXPLAIN")
        rows = self.ask(f"EXPLAIN {text}").read_all()
        return "\n".join(rows.column(rows.num_columns - 1).to_pylist())

    def _batches(self, running: _Question, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        try:
            for batch in running.batches():
                yield pa.record_batch(batch.columns, schema=schema)
        except Exception as e:
            raise self._told(e) from e
        finally:
            running.stop()

    def _open(self, names: Sequence[tuple[str, str, str]]) -> None:
        for database, schema, name in names:
            found = [table for table in self.tables if table.named(database, schema, name)]
            if not found and (database.lower() or schema.lower()) in (DATABASES[1][0], DATABASES[1][1]):
                found = [other(self.settings, name)]
            if len(found) > 1:
                raise ConfigError(
                    f"table {name} is in {' and in '.join(table.database for table in found)}",
                    f"write its whole name: {' or '.join(table.qualified for table in found)}",
                )
            for table in found:
                self._show(table)

    def _show(self, table: AskedTable) -> None:
        """Make a table known to DuckDB, which reads nothing of it yet."""
        inner = f"{table.database}_{table.name}"
        if inner in self._opened:
            return
        try:
            rows = table.open(self._opener)
        except FlowlakeError as e:
            self._unopened[table.name.lower()] = e  # told when it is really asked for
            return
        self._opened[inner] = table
        self._connection.register(inner, rows)
        for schema in (table.schema, "main"):
            self._connection.execute(f'CREATE VIEW {table.database}.{schema}."{table.name}" AS SELECT * FROM temp."{inner}"')

    def _told(self, error: Exception) -> Exception:
        """What a failure of DuckDB means."""
        import duckdb

        if isinstance(self._failure, FlowlakeError):
            return self._failure
        text = str(error)
        if missing := _NO_TABLE.search(text):
            return self._missing(missing[1])
        if text.startswith("Out of Memory"):
            return StoreError(
                f"the question needs more room: {one_line(text)}", "--memory 4GB, room in TMPDIR, or a narrower question (fewer days)"
            )
        if (found := _OF_A_STORE.search(text)) and found[1] in self._opened:
            table = self._opened[found[1]]
            return self._opener.unreadable(found[2], table.place, table.database)
        # What goes wrong behind the first rows comes through Arrow, which makes it an OSError.
        return statement.wrong(error) if isinstance(error, duckdb.Error | OSError) else error

    def _missing(self, name: str) -> FlowlakeError:
        bare = name.rpartition(".")[2].lower()
        if bare in self._unopened:
            return self._unopened[bare]
        known = {table.name: table.qualified for table in self.tables}
        near = difflib.get_close_matches(bare, known, n=2, cutoff=0.5)
        meant = f"did you mean: {' or '.join(near)}; " if near else ""
        return ConfigError(f"there is no table {name!r}", f"{meant}tables: {', '.join(known)} (flowlake sql --tables)")


class _Question:
    """A statement at work in a thread of its own: DuckDB does not listen to Ctrl-C while it works, and this program's main thread does."""

    def __init__(self, connection: Any, sql: str, cancel: Callable[[], None]) -> None:
        self._connection = connection
        self._sql = sql
        self._cancel = cancel
        self._found: Queue[Any] = Queue(_WAITING)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="question", daemon=True)

    def _work(self) -> None:
        try:
            # Closed at the end: DuckDB answers no other question before.
            with self._connection.sql(self._sql).to_arrow_reader(BATCH_ROWS) as reader:
                self._found.put(reader.schema)
                for batch in reader:
                    if self._stopped.is_set():
                        break
                    self._found.put(batch)
        except Exception as e:  # handed to the thread that waits
            self._found.put(e)
        finally:
            self._found.put(None)

    def start(self) -> pa.Schema:
        """Begin; columns of the answer."""
        self._thread.start()
        try:
            first = taken(self._found)
        except BaseException:
            self.stop()
            raise
        if isinstance(first, Exception):
            self.stop()
            raise first
        return first

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows."""
        while (found := taken(self._found)) is not None:
            if isinstance(found, Exception):
                raise found
            yield found

    def stop(self) -> None:
        """End the work, if it goes on."""
        self._stopped.set()
        while self._thread.is_alive():
            self._connection.interrupt()
            self._cancel()  # DuckDB may be waiting for rows
            while not self._found.empty():
                self._found.get()
            self._thread.join(0.05)


def _no_size(memory: str) -> ConfigError:
    return ConfigError(f"--memory {memory!r} is no size", "write 512MB, 4GB or the like")


def distinct(names: Sequence[str]) -> list[str]:
    """Names of columns, each of them once: ``x, x`` becomes ``x, x_1``."""
    found: list[str] = []
    for name in names:
        number, unique = 0, name
        while unique in found or (number and unique in names):
            number += 1
            unique = f"{name}_{number}"
        found.append(unique)
    return found
