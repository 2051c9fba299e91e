"""Whether Athena would understand a statement: sqlglot's reading of its dialect, and what that lets through."""

from __future__ import annotations

import logging
import re

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError

#: Clauses of ``CREATE EXTERNAL TABLE`` in the order that Athena wants them; sqlglot takes them in any.
CLAUSES = ("PARTITIONED BY", "STORED AS", "LOCATION", "TBLPROPERTIES")
#: Words that DDL knows, and columns of ours have: names only in backticks (Athena, "Reserved keywords in DDL statements").
RESERVED = ("date", "timestamp", "values", "user", "order", "partition")


def problem(sql: str) -> str:
    """What is wrong with a statement; empty where nothing is found."""
    logging.getLogger("sqlglot").setLevel(logging.CRITICAL)
    try:
        parsed = sqlglot.parse(sql, dialect="athena")
    except ParseError as e:
        return str(e)
    if len(parsed) != 1:
        return f"{len(parsed)} statements, Athena runs one"
    if isinstance(parsed[0], exp.Command) or parsed[0] is None:
        return "not understood from some word on"
    if isinstance(parsed[0], exp.Create) and " TABLE " in sql:
        return _ddl(sql)
    unknown = sorted({function.name for function in parsed[0].find_all(exp.Anonymous)} - KNOWN)
    return f"no function {unknown[0]!r}" if unknown else ""


#: Functions of Athena that sqlglot has no class for.
KNOWN: set[str] = set()


def _ddl(sql: str) -> str:
    places = [(place, clause) for clause in CLAUSES if (place := sql.find(clause)) >= 0]
    if places != sorted(places):
        return f"clauses must come in this order: {', '.join(CLAUSES)}"
    bare = re.findall(r"[(,]\s*([a-z_]\w*)\s+[a-z]", sql.partition("TBLPROPERTIES")[0])
    return next((f"{name!r} is a reserved word: write it in backticks" for name in bare if name in RESERVED), "")
