"""Conditions that DuckDB leaves to a scan, as SQL for PostgreSQL.

DuckDB hands a scan an expression of Arrow. It can be applied to rows, but not be taken apart: only its text can be read. What is
understood of that goes to the server, so that it need not send rows that nobody wants; **all** of it is applied to what comes back. So a
part that is not understood costs time and changes nothing, as long as what is sent never leaves out a row that the expression takes:
every rule below keeps to that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any
from uuid import UUID

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<time>\d{4}-\d\d-\d\d(?:[ ]\d\d:\d\d:\d\d(?:\.\d+)?Z?)?(?![\w.]))
    | (?P<number>-?\d+(?![\w.+]))
    | (?P<float>-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.]))
    | (?P<text>"(?:[^"\\]|\\.)*")
    | (?P<word>[A-Za-z_]\w*)
    | (?P<sign>==|!=|>=|<=|[><(){}\[\],=:])
    )""",
    re.VERBOSE,
)
_COMPARISONS = {"==": "=", "!=": "<>", ">": ">", ">=": ">=", "<": "<", "<=": "<="}
#: Text that needs no escapes: its reading is beyond doubt.
_PLAIN = re.compile(r'"([\w.:/ @+-]*)"')
_INTEGERS = ("int2", "int4", "int8")


class _Foreign(Exception):
    """The text has something that is not known."""


def condition(expression: Any, types: Mapping[str, str]) -> str:
    """SQL that holds for every row that an expression takes; empty when nothing of it can be said in SQL.

    Parameters
    ----------
    expression : pyarrow.compute.Expression
        Of columns of the table.
    types
        Column -> its type in PostgreSQL (``timestamptz``, ``int4``, ``inet`` ...).

    Examples
    --------
    >>> import pyarrow.compute as pc
    >>> condition((pc.field("port") == 22) & (pc.field("load") > 0.5), {"port": "int4", "load": "float8"})
    '"port" = 22'
    """
    try:
        parser = _Parser(_tokens(str(expression)), types)
        found = parser.node()
        return (found or "") if parser.done else ""
    except _Foreign:
        return ""


def columns_of(expression: Any, names: list[str]) -> list[str]:
    """Columns that an expression may read: those whose names are words of its text (in quotes too: one more does no harm)."""
    text = str(expression)
    return [name for name in names if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)]


def _tokens(text: str) -> list[tuple[str, str]]:
    found = []
    at = 0
    while at < len(text.rstrip()):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise _Foreign(text[at : at + 20])
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


class _Parser:
    """Reads the text of an expression as Arrow prints it: ``((a > 5) and is_valid(b))``. None: nothing can be said about a part."""

    def __init__(self, tokens: list[tuple[str, str]], types: Mapping[str, str]) -> None:
        self._tokens = tokens
        self._types = types
        self._at = 0

    @property
    def done(self) -> bool:
        return self._at == len(self._tokens)

    def _next(self, expected: str = "") -> tuple[str, str]:
        if self.done:
            raise _Foreign("ends early")
        kind, text = self._tokens[self._at]
        if expected and text != expected:
            raise _Foreign(text)
        self._at += 1
        return kind, text

    def _ahead(self, distance: int = 0) -> str:
        place = self._at + distance
        return self._tokens[place][1] if place < len(self._tokens) else ""

    def node(self) -> str | None:
        """One condition."""
        if self._ahead() != "(":
            return self._call()
        if self._ahead(2) in _COMPARISONS:
            return self._comparison()
        self._next("(")
        left = self.node()
        _, word = self._next()
        right = self.node()
        self._next(")")
        if word == "and":
            return " AND ".join(part for part in (left, right) if part) or None
        if word == "or":
            return f"({left} OR {right})" if left and right else None
        raise _Foreign(word)

    def _comparison(self) -> str | None:
        self._next("(")
        _, name = self._next()
        _, sign = self._next()
        value = self._next()
        self._next(")")
        return self._compared(name, _COMPARISONS[sign], value)

    def _call(self) -> str | None:
        _, word = self._next()
        reader: dict[str, Callable[[], str | None]] = {
            "is_valid": self._is_valid, "is_null": self._is_null, "is_in": self._is_in, "if_else": self._if_else,
        }  # fmt: skip
        if word not in reader:
            raise _Foreign(word)
        self._next("(")
        found = reader[word]()
        self._next(")")
        return found

    def _is_valid(self) -> str | None:
        name = self._column()
        return f"{name} IS NOT NULL" if name else None

    def _is_null(self) -> str | None:
        name = self._column()
        for word in (",", "{", "nan_is_null", "=", "false", "}"):
            self._next(word)
        return f"{name} IS NULL" if name else None

    def _is_in(self) -> str | None:
        """``is_in(port, {value_set=int32:[ 1, 2 ], null_matching_behavior=MATCH})``; a long list is cut in the text, and so not known."""
        _, name = self._next()
        for word in (",", "{", "value_set", "="):
            self._next(word)
        self._next()  # type of the values
        for word in (":", "["):
            self._next(word)
        values = []
        while self._ahead() != "]":
            values.append(self._next())
            if self._ahead() == ",":
                self._next(",")
        for word in ("]", ",", "null_matching_behavior", "=", "MATCH", "}"):
            self._next(word)
        parts = [self._compared(name, "=", value) for value in values]
        return f"({' OR '.join(part for part in parts if part)})" if parts and all(parts) else None

    def _if_else(self) -> str | None:
        """``if_else(is_valid(a), <condition on a>, null[bool])``: the condition, which takes no row where it is null."""
        self.node()
        self._next(",")
        found = self.node()
        for word in (",", "null", "[", "bool", "]"):
            self._next(word)
        return found

    def _column(self) -> str | None:
        _, name = self._next()
        return quoted(name) if name in self._types else None

    def _compared(self, name: str, sign: str, value: tuple[str, str]) -> str | None:
        """``column sign literal`` in SQL, where PostgreSQL and Arrow mean the same by it."""
        kind, text = value
        sql = self._types.get(name, "")
        if kind == "number" and sql in _INTEGERS:
            return f"{quoted(name)} {sign} {text}"
        if kind == "time" and sql == ("timestamptz" if text.endswith("Z") else "date"):
            return f"{quoted(name)} {sign} {sql} '{text}'"
        if kind == "text" and (plain := _PLAIN.fullmatch(text)) and sign == "=":
            return _equal(name, sql, plain[1])
        return None


def _equal(name: str, sql: str, text: str) -> str | None:
    """``column = text``. Addresses and UUIDs are text for DuckDB; the server has an index on their own types."""
    if sql in ("text", "varchar"):
        return f"{quoted(name)} = '{text}'"
    readers: dict[str, Callable[[str], object]] = {"inet": ip_address, "uuid": UUID}
    if sql not in readers:
        return None
    try:
        same = str(readers[sql](text)) == text
    except ValueError:
        return None
    return f"{quoted(name)} = {sql} '{text}'" if same else None


def quoted(name: str) -> str:
    """A name as PostgreSQL takes any."""
    return '"' + name.replace('"', '""') + '"'
