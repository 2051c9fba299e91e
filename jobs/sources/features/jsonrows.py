"""Flows as JSON: an object, an array of objects, or an object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from infra.errors import one_line
from infra.names import valid_text
from jobs.sources.features.names import column_of
from jobs.sources.features.rows import GivenRows, NoFlows

_BOM = b"\xef\xbb\xbf"


class JsonRow(NamedTuple):
    """One object: its values by record column, the object or line itself, and why it is none."""

    values: dict[str, Any]
    given: Any
    wrong: str = ""


def parse(value: bytes, most: int, *, lines: bool = False) -> list[JsonRow]:
    """Rows of one message.

    Parameters
    ----------
    value
        UTF-8 (or UTF-16 and UTF-32, as RFC 4627 tells them apart). ``NaN`` and ``Infinity`` are taken for numbers, as Python and
        CICFlowMeter write them.
    most
        Rows that a message may have.
    lines
        Whether it is known to be one object a line; else that is tried where the whole is no JSON.

    Raises
    ------
    NoFlows
        There is no object in it, or it has too many.
    """
    value = value.removeprefix(_BOM)
    try:
        found = list(_of(json.loads(value))) if not lines else list(_by_line(value))
    except (ValueError, RecursionError) as e:
        found = list(_by_line(value)) if b"\n" in value.strip() else []
        if not any(not row.wrong for row in found):
            raise NoFlows(f"json: {_why(e)}") from e
    if len(found) > most:
        raise NoFlows(f"rows: {len(found):,} in a message, at most {most:,}")
    if found and all(row.wrong for row in found):
        raise NoFlows(found[0].wrong)
    return found


def _of(parsed: Any) -> Iterator[JsonRow]:
    for one in parsed if isinstance(parsed, list) else (parsed,):
        if isinstance(one, dict):
            yield JsonRow(_named(one), one)
        else:
            yield JsonRow({}, one, f"json: expected an object, found {type(one).__name__}")


def _by_line(value: bytes) -> Iterator[JsonRow]:
    for line in value.splitlines():
        if not line.strip():
            continue
        try:
            yield from _of(json.loads(line))
        except (ValueError, RecursionError) as e:
            yield JsonRow({}, line, f"json: {_why(e)}")


def _why(error: BaseException) -> str:
    return "too deeply nested" if isinstance(error, RecursionError) else one_line(error, 200)


def _named(given: dict[str, Any]) -> dict[str, Any]:
    """Values by record column; of two names for one column the one that is nearer to ours."""
    values: dict[str, Any] = {}
    ranks: dict[str, int] = {}
    for name, value in given.items():
        found = column_of(name)
        if found and value is not None and found[1] < ranks.get(found[0], 1 << 30):
            values[found[0]], ranks[found[0]] = value, found[1]
    return values


def rows_of(found: Sequence[JsonRow], source: Sequence[int]) -> GivenRows:
    """Rows of several messages; ``source`` is the number of each one's message."""
    names = dict.fromkeys(name for row in found for name in row.values)
    columns = {name: _array([row.values.get(name) for row in found]) for name in names}
    wrong = {place: row.wrong for place, row in enumerate(found) if row.wrong}

    def raw(chosen: Sequence[int]) -> bytes:
        return b"\n".join(_line(found[place].given) for place in chosen)

    return GivenRows(columns, np.array(source, np.int64), raw, wrong)


def _line(given: Any) -> bytes:
    return given if isinstance(given, bytes) else json.dumps(given).encode()


def _array(values: list[Any]) -> pa.Array:
    kinds = {type(value) for value in values} - {type(None)}
    try:
        if kinds <= {bool}:
            return pa.array(values, pa.bool_())
        if kinds == {int}:
            return pa.array(values, pa.int64())
        if kinds == {float}:
            return pa.array(values, pa.float64(), from_pandas=False)
    except (pa.ArrowException, OverflowError):  # beyond 64 bits: as text it is told so
        pass
    return pa.array([None if value is None else _text(value) for value in values], pa.string())


def _text(value: Any) -> str:
    """A value as text: what is no number stays what it is, so that it can be named in the reason."""
    return valid_text(value) if isinstance(value, str) else json.dumps(value)
