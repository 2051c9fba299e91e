"""What a question is: one statement that only reads, and the tables that it names."""

from __future__ import annotations

import re
from typing import Any

from infra.errors import ConfigError, one_line

#: Kinds of statements that change nothing, by DuckDB's names. A PIVOT comes as several.
_READING = ("SELECT", "EXPLAIN", "MULTI")
SHOW_TABLES = re.compile(r"\s*show\s+(all\s+)?tables\s*;?\s*", re.IGNORECASE)
_GAP = r"(?:\s|/\*.*?\*/|--[^\n]*\n)*"
_EXPLAIN = re.compile(rf"{_GAP}explain\b{_GAP}(?:analyze\b|\(\s*(?:analyze|format)\b[^()]*\))?{_GAP}", re.IGNORECASE | re.DOTALL)
#: Beginnings of statements about tables and plans, not rows: of a table with many columns all are wanted.
DESCRIBES = re.compile(rf"{_GAP}(?:describe|desc|summarize|show|pragma|explain)\b", re.IGNORECASE | re.DOTALL)
_WORD = re.compile(r"\w+")


def only(sql: str) -> str:
    """The one statement of a text, without its semicolon.

    Raises
    ------
    ConfigError
        There is none, or more than one, or one that would change something, or it is no SQL.
    """
    import duckdb

    try:
        found = duckdb.extract_statements(sql)
    except duckdb.Error as e:
        raise wrong(e) from e
    if not found:
        raise ConfigError("there is no statement", 'flowlake sql "SELECT ...", or --file question.sql')
    if len(found) > 1:
        raise ConfigError(f"these are {len(found)} statements, one at a time is answered", "ask them one by one")
    text = str(found[0].query).strip().rstrip(";")
    kind = _kind(found[0])
    if kind == "EXPLAIN" and (explained := duckdb.extract_statements(_EXPLAIN.sub("", text, count=1))):
        kind = _kind(explained[0])  # EXPLAIN ANALYZE does what it explains
    if kind not in _READING:
        raise ConfigError(
            f"{kind} is not answered: flowlake sql only reads", "SELECT ..., WITH ..., DESCRIBE TABLE; --output FILE writes a result"
        )
    return text


def _kind(found: Any) -> str:
    """DuckDB's name for a kind of statement."""
    return str(found.type).rpartition(".")[2]


def names(sql: str) -> list[tuple[str, str, str]]:
    """Tables that a statement may read, as (database, schema, name) with empty parts where it gives none.

    Names of common table expressions are left out. Of a statement that only DuckDB understands, every word is such a name: opening a table
    that is not asked for does no harm (:meth:`jobs.asking.engine.Engine.ask` tells only what matters).
    """
    import logging

    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    logging.getLogger("sqlglot").setLevel(logging.ERROR)  # what it does not know is known here
    try:
        parsed = sqlglot.parse_one(_EXPLAIN.sub("", sql, count=1), dialect="duckdb")
    except SqlglotError:
        parsed = None
    if parsed is None or isinstance(parsed, exp.Command):
        return [("", "", word) for word in dict.fromkeys(_WORD.findall(sql))]
    known = {expression.alias.lower() for expression in parsed.find_all(exp.CTE)}
    found = [(table.catalog, table.db, table.name) for table in parsed.find_all(exp.Table)]
    return [name for name in dict.fromkeys(found) if name[0] or name[1] or name[2].lower() not in known]


def wrong(error: Any) -> ConfigError:
    """What DuckDB says about a statement: what is wrong, and where."""
    text = str(error)
    head, _, rest = text.partition("\n")
    words = head.partition(": ")[2] or head
    if "file system operations are disabled" in text:
        return ConfigError(
            f"{one_line(words)}", "flowlake sql reads the tables of the stores and no files: flowlake sql --tables lists them"
        )
    near = re.search(r"(?:Did you mean|Candidate bindings:|Candidate functions:)[^\n]*(?:\n\t[^\n]*)?", rest)
    place = re.search(r"LINE \d+: ([^\n]*)", rest)
    hint = one_line(near[0]) if near else f"at: {one_line(place[1], 120)}" if place else "flowlake sql --tables lists tables and columns"
    return ConfigError(one_line(words), hint)
