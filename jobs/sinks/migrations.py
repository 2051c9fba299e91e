"""Migrations: the tables of a database are brought to the newest version, and what was dropped by hand is put back.

A :class:`Component` is what has a line of versions of its own: the hot store, the alerts, a source's tables. The ledger
(:data:`schemas.migrations.LEDGER`) says which version is there; the catalogue says what is missing of it. Where nothing is to do, nothing
is written: a user without the right to change tables is enough for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Protocol

import psycopg2

from infra.errors import StoreError, one_line
from infra.log import get
from infra.sections import PostgresSettings
from jobs.sinks import pgcatalogue, pgrepair, postgres
from jobs.sinks.pgcatalogue import SchemaCatalogue, WrongStatement
from jobs.sinks.pgrepair import Repair
from jobs.sinks.stores import StoreUnavailable
from schemas.migrations import LEDGER, InBatches, Migrations, Statement, ledger_ddl

Say = Callable[[str], None]
_APPLICATION = "flowlake-migrate"
_AS_OWNER = "have the owner of the tables run: flowlake db migrate (docs/how-to/operate.md, Tables of PostgreSQL)"
_AS_IT_WAS = "the tables are as they were; mend the cause, then: flowlake db migrate, or start again"


class TableLayout(Protocol):
    """What is done with the tables of a component once their columns, keys and indexes are there."""

    def missing(self, cursor: Any) -> Sequence[str]:
        """What :meth:`apply` would have to do, a few words each."""
        ...

    def script(self, cursor: Any) -> Sequence[str]:
        """The same as statements, comments among them; right behind the migrations, whatever is there now."""
        ...

    def apply(self, connection: Any, say: Say) -> None:
        """Do it; nothing where it has been done. psycopg2.Error: not all of it could be done."""
        ...


@dataclass(frozen=True)
class Component:
    """Tables that are migrated together.

    Parameters
    ----------
    name
        Its row in the ledger.
    database
        Where its tables are.
    migrations
        Version -> statements; versions 1, 2, ... (:mod:`schemas.migrations`).
    layout
        How its tables lie, which no version says: partitions, an extension. Brought about behind the migrations, at every start; what
        fails of it is a warning: the tables serve without.

    Raises
    ------
    ValueError
        The versions are not 1, 2, ...: a fault of whoever declares them.
    """

    name: str
    database: PostgresSettings
    migrations: Migrations
    layout: TableLayout | None = None

    def __post_init__(self) -> None:
        if sorted(self.migrations) != list(range(1, len(self.migrations) + 1)) or not self.migrations:
            raise ValueError(f"migrations of {self.name!r} have versions {sorted(self.migrations)}, expected 1, 2, ... without a gap")

    @property
    def newest(self) -> int:
        """The version that this program works with."""
        return len(self.migrations)

    @property
    def where(self) -> str:
        """Its database as a person names it."""
        return postgres.where(self.database)


@dataclass(frozen=True)
class Status:
    """How the tables of a component are.

    ``version`` is 0 where there are none, None where the database could not be asked; where the ledger does not know, it is the one that
    they come nearest to. ``problem`` is what :func:`migrate` would refuse, and ``hint`` the way out. ``busy``: another process is
    migrating at this moment.
    """

    component: str
    database: str
    version: int | None
    newest: int
    missing: tuple[str, ...] = ()
    problem: str = ""
    hint: str = ""
    busy: bool = False

    @property
    def current(self) -> bool:
        """Nothing is to do."""
        return self.version == self.newest and not self.missing and not self.problem


@dataclass(frozen=True)
class _Survey:
    """What was found, and what the version that was found is to be."""

    version: int
    recorded: int | None  # by the ledger
    expected: dict[int, SchemaCatalogue]
    repairs: tuple[Repair, ...]
    problem: StoreError | None

    def current(self, component: Component) -> bool:
        return self.recorded == component.newest and not self.repairs and self.problem is None


def status(component: Component) -> Status:
    """Compare the tables with what they are to be; changes nothing and waits for nobody.

    Raises
    ------
    StoreError
        The database refuses.
    StoreUnavailable
        It cannot be reached.
    """
    with closing(_connect(component)) as connection:
        try:
            cursor = connection.cursor()
            cursor.execute("SELECT pg_try_advisory_xact_lock_shared(%s)", (postgres.LOCK_MIGRATE,))
            (free,) = cursor.fetchone()
            survey = _survey(cursor, component)
            laid = list(component.layout.missing(cursor)) if component.layout and survey.version else []
        except psycopg2.Error as e:
            raise _failure(e, component, _not_compared(e, component)) from e
        finally:
            postgres.discard(connection)
    missing = [str(repair) for repair in survey.repairs] if survey.version else []
    missing += laid
    if survey.version and survey.recorded is None:
        missing.append(f"version of {component.name!r} in {LEDGER}")
    problem = survey.problem
    text, hint = (str(problem), problem.hint) if problem else ("", "")
    return Status(component.name, component.where, survey.version, component.newest, tuple(missing), text, hint, not free)


def sql(component: Component) -> list[str]:
    """What :func:`migrate` would run, as a script for ``psql``: comments, and statements that end with a semicolon. Changes nothing.

    What an incomplete table of a version to come needs beyond it shows only when it has been applied.

    Raises
    ------
    StoreError, StoreUnavailable
        As :func:`migrate`.
    """
    with closing(_connect(component)) as connection:
        try:
            cursor = connection.cursor()
            survey = _survey(cursor, component)
            layout = [] if component.layout is None else list(component.layout.script(cursor))
        except psycopg2.Error as e:
            raise _failure(e, component, _not_compared(e, component)) from e
        finally:
            postgres.discard(connection)
    if survey.problem:
        raise survey.problem
    lines = [] if survey.current(component) else ["BEGIN;", *_script(component, survey), "COMMIT;"]
    return [*lines, *layout]


def migrate(component: Component, say: Say | None = None) -> int:
    """Bring the tables to the newest version, and put back what was dropped by hand. Rows stay.

    One transaction under one lock: safe to run from several processes at once, and all or nothing. Only an :class:`InBatches`
    statement commits what is before it, and each of its batches; broken off, it goes on where it was.

    Parameters
    ----------
    component
        Whose tables.
    say
        Told what is being done, a line each; by default the log is.

    Returns
    -------
    int
        The version now in force.

    Raises
    ------
    StoreError
        The database refuses, holds a newer version than this program knows, or tables that cannot be mended without a person.
    StoreUnavailable
        It cannot be reached.
    """
    say = say or get("migrations").info
    done: set[tuple[int, int]] = set()
    with closing(_connect(component)) as connection:
        while (at := _advance(connection, component, done, say)) is not None:
            _in_batches(connection, component, *at, say)
            done.add(at)
        _lay_out(connection, component, say)
    return component.newest


# -- looking -------------------------------------------------------------------------------------------------------------------------------


def _connect(component: Component) -> Any:
    return postgres.connect(component.database, _APPLICATION)


def _survey(cursor: Any, component: Component) -> _Survey:
    cursor.execute("SELECT current_schema()")
    if cursor.fetchone() == (None,):
        user = component.database.user
        raise StoreError(
            f"{component.where}: user {user!r} may use none of the schemas of search_path", f"GRANT USAGE ON SCHEMA public TO {user}"
        )
    try:
        expected = pgcatalogue.expected(cursor, component.migrations)
    except WrongStatement as wrong:
        raise _failure(wrong.cause, component, _failed(wrong.cause, component, wrong.version, wrong.position)) from wrong
    tables = {table for catalogue in expected.values() for table in catalogue.relations}
    found = pgcatalogue.read(cursor, tables)
    recorded = _recorded(cursor, component, found)
    version = _nearest(expected, found) if recorded is None else recorded
    if version > component.newest:
        newer = StoreError(
            f"{component.where}: tables of {component.name!r} are of version {version}, this program knows {component.newest}",
            "use the newer program, or another database",
        )
        return _Survey(version, recorded, expected, (), newer)
    problem = pgrepair.conflict(expected[version], found, component.where)
    repairs = () if problem else tuple(_repairs(cursor, component, version, expected, found))
    return _Survey(version, recorded, expected, repairs, problem)


def _recorded(cursor: Any, component: Component, found: SchemaCatalogue) -> int | None:
    if not {(LEDGER, "component"), (LEDGER, "version")} <= set(found.columns):
        return None
    cursor.execute(f"SELECT max(version) FROM {LEDGER} WHERE component = %s", (component.name,))
    version: int | None = cursor.fetchone()[0]
    return version


def _nearest(expected: Mapping[int, SchemaCatalogue], found: SchemaCatalogue) -> int:
    """The version of which least is missing, the oldest of several: what is run again does no harm, what is left out may.

    None where half of the first version's tables are not there: what is may be shared with another component.
    """
    first = expected[1].relations.keys() - {LEDGER}
    if 2 * len(first & found.relations.keys()) <= len(first):
        return 0

    def lacks(version: int) -> int:
        wanted = expected[version]
        pairs: Sequence[tuple[Mapping[Any, Any], Mapping[Any, Any]]] = (
            (wanted.relations, found.relations),
            (wanted.columns, found.columns),
            (wanted.constraints, found.constraints),
            (wanted.indexes, found.indexes),
        )
        return sum(len(ours.keys() - theirs.keys()) for ours, theirs in pairs)

    return min((version for version in expected if version), key=lambda version: (lacks(version), version))


def _repairs(
    cursor: Any, component: Component, version: int, expected: Mapping[int, SchemaCatalogue], found: SchemaCatalogue
) -> list[Repair]:
    wanted, lasting = expected[version], expected[component.newest].indexes
    statements = [ledger_ddl()]
    for number in range(1, version + 1):
        statements += [s for s in component.migrations[number] if not isinstance(s, InBatches)]
    taken = pgcatalogue.names_taken(cursor, set(wanted.indexes.values()))
    # One whose name is taken would get another, by which the version that drops it could not find it.
    indexes = {key: name for key, name in wanted.indexes.items() if name not in taken or key in lasting}
    wanted = replace(wanted, indexes=indexes)
    return pgrepair.repairs(wanted, found, statements, taken)


# -- doing ---------------------------------------------------------------------------------------------------------------------------------


def _advance(connection: Any, component: Component, done: set[tuple[int, int]], say: Say) -> tuple[int, int] | None:
    """One transaction: up to the next statement in batches that is not done, whose version and number are returned, or to the end."""
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (postgres.LOCK_MIGRATE,))
            survey = _survey(cursor, component)
            if survey.problem:
                raise survey.problem
            if survey.current(component):
                return None
            # Where there is nothing yet the ledger is not put back but made.
            _put_back(cursor, component, survey.repairs, say if survey.version else lambda _: None)
            for number in range(survey.version + 1, component.newest + 1):
                say(f"{component.name}: to version {number} of {component.newest}")
                waiting = _apply(cursor, component, number, done)
                if waiting is not None:
                    _record(cursor, component, number - 1)
                    return number, waiting
            _settle(cursor, component, survey.expected, say)
            _record(cursor, component, component.newest)
            return None
    except psycopg2.Error as e:
        raise _failure(e, component, f"{component.where}: the tables of {component.name!r} cannot be migrated: {_reason(e)}") from e


def _apply(cursor: Any, component: Component, number: int, done: set[tuple[int, int]]) -> int | None:
    """Run a version's statements, up to one in batches that is not done: its position."""
    for position, statement in enumerate(component.migrations[number], 1):
        if isinstance(statement, InBatches):
            if (number, position) not in done:
                return position
            continue
        try:
            cursor.execute(statement)
        except psycopg2.Error as e:
            raise _failure(e, component, _failed(e, component, number, position)) from e
    return None


def _settle(cursor: Any, component: Component, expected: Mapping[int, SchemaCatalogue], say: Say) -> None:
    """A migration says IF NOT EXISTS: what was there before, and was not as it makes it, is mended now."""
    wanted = expected[component.newest]
    found = pgcatalogue.read(cursor, wanted.relations)
    problem = pgrepair.conflict(wanted, found, component.where)
    if problem:
        raise problem
    _put_back(cursor, component, _repairs(cursor, component, component.newest, expected, found), say)


def _put_back(cursor: Any, component: Component, repairs: Sequence[Repair], say: Say) -> None:
    for repair in repairs:
        say(f"{component.name}: putting back {repair}")
        for statement in repair.statements:
            try:
                cursor.execute(statement)
            except psycopg2.Error as e:
                hint = (
                    f"mend the rows or restore a backup ({statement}), or {pgrepair.renaming(repair.table)}" if repair.table else _AS_IT_WAS
                )
                text = f"{component.where}: {repair.problem}, and it cannot be put back: {_reason(e)}"
                raise _failure(e, component, text, hint) from e


def _record(cursor: Any, component: Component, version: int) -> None:
    cursor.execute(_record_sql(component, version))


def _record_sql(component: Component, version: int) -> str:
    name = component.name.replace("'", "''")
    return (
        f"INSERT INTO {LEDGER} (component, version) VALUES ('{name}', {version}) ON CONFLICT (component) DO UPDATE "
        f"SET version = EXCLUDED.version, applied_at = clock_timestamp() WHERE {LEDGER}.version < EXCLUDED.version"
    )


def _in_batches(connection: Any, component: Component, number: int, position: int, say: Say) -> None:
    statement = component.migrations[number][position - 1]
    assert isinstance(statement, InBatches)
    rows, moved, total = -1, 0, ""
    try:
        if statement.remaining:
            with connection, connection.cursor() as cursor:
                cursor.execute(statement.remaining)
                total = f" of {cursor.fetchone()[0]:,}"
        while rows:
            with connection, connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", (postgres.LOCK_MIGRATE,))
                cursor.execute(f"SELECT 1 FROM {LEDGER} WHERE component = %s AND version >= %s", (component.name, number))
                if cursor.fetchone():
                    return  # another process has been here, and went on
                cursor.execute(statement.statement)
                rows = cursor.rowcount
            moved += rows
            if rows:
                say(f"{component.name}: version {number}: {moved:,}{total} rows")
    except psycopg2.Error as e:
        raise _failure(e, component, _failed(e, component, number, position)) from e


def _script(component: Component, survey: _Survey) -> Iterator[str]:
    for repair in survey.repairs:
        yield f"-- {component.name}: putting back {repair}"
        yield from (f"{statement};" for statement in repair.statements)
    for number in range(survey.version + 1, component.newest + 1):
        yield f"-- {component.name}: to version {number}"
        for statement in component.migrations[number]:
            yield from _lines(statement)
    yield f"{_record_sql(component, component.newest)};"


def _lines(statement: Statement) -> list[str]:
    if isinstance(statement, str):
        return [f"{statement};"]
    return ["COMMIT;", "-- again and again, until it changes no row:", f"{statement.statement};", "BEGIN;"]


# -- layout --------------------------------------------------------------------------------------------------------------------------------


def _lay_out(connection: Any, component: Component, say: Say) -> None:
    if component.layout is None:
        return
    try:
        component.layout.apply(connection, say)
    except psycopg2.errors.InsufficientPrivilege as e:
        # The owner has done it, or decided against it.
        get("migrations").info("the layout of tables is left to their owner", component=component.name, cause=_reason(e))
    except psycopg2.Error as e:
        if isinstance(postgres.classify(e, component.database), StoreUnavailable) and e.pgcode != "55P03":
            raise _failure(e, component, f"{component.where}: the tables of {component.name!r} cannot be laid out: {_reason(e)}") from e
        cause, hint = (one_line(text or "") for text in (e.diag.message_primary, e.diag.message_hint))
        get("migrations").warning("the tables serve, but not as they are to lie", component=component.name, cause=cause, hint=hint)


# -- failing -------------------------------------------------------------------------------------------------------------------------------


def _failure(error: psycopg2.Error, component: Component, text: str, hint: str = _AS_IT_WAS) -> Exception:
    """What to tell: that the database is away, or what it refuses and the way out."""
    problem = postgres.classify(error, component.database)
    if isinstance(problem, StoreUnavailable):
        return StoreUnavailable(text)
    user = component.database.user
    if error.pgcode == "42501":
        hint = _AS_OWNER
        if "temporary tables" in text:
            hint = f"GRANT TEMPORARY ON DATABASE {component.database.database} TO {user}: they show how the tables should be"
        elif f"table {LEDGER}" in text:
            hint = f"GRANT SELECT ON {LEDGER} TO {user}"
    return StoreError(text, hint)


def _failed(error: psycopg2.Error, component: Component, number: int, position: int) -> str:
    statement = component.migrations[number][position - 1]
    short = one_line(statement.statement if isinstance(statement, InBatches) else statement, 80)
    return f"{component.where}: version {number} of {component.name!r} failed at statement {position} ({short}): {_reason(error)}"


def _not_compared(error: psycopg2.Error, component: Component) -> str:
    return f"{component.where}: the tables of {component.name!r} cannot be compared: {_reason(error)}"


def _reason(error: psycopg2.Error) -> str:
    return one_line(error)
