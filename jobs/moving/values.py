"""Columns of text as values of a record: numbers, addresses, labels."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.sinks.addresses import packed

_NUMBER = r"^[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|[iI]nf(inity)?|INF(INITY)?|[nN]a[nN]|NAN)$"
#: What stands for no value.
_NOTHING = ("", "null", "none", "na", "n/a", "-")
#: From here on not every whole number is a float.
_WHOLE = 2.0**53
_INT = {8: 2**7, 16: 2**15, 32: 2**31, 64: 2**63}
EMPTY, NO_NUMBER, NOT_FINITE, RANGE, NO_ADDRESS, NO_LABEL = (
    "empty",
    "not a number",
    "not finite",
    "out of range",
    "not an IP address",
    "not a label",
)

Problems = dict[int, str]  # row -> why its value is none


def floats(text: pa.Array, problems: Problems) -> np.ndarray:
    """Numbers; NaN where there is none, with its reason."""
    try:
        return np.array(text.cast(pa.float64()))
    except pa.ArrowInvalid:
        text = pc.utf8_trim_whitespace(text)
    good = pc.match_substring_regex(text, _NUMBER).to_numpy(zero_copy_only=False)
    nothing = pc.is_in(pc.utf8_lower(text), pa.array(_NOTHING)).to_numpy(zero_copy_only=False)
    for row in np.flatnonzero(~good):
        problems[int(row)] = EMPTY if nothing[row] else NO_NUMBER
    return np.array(pc.if_else(pa.array(good), text, pa.scalar("nan")).cast(pa.float64()))


def numbers(
    text: pa.Array, kind: pa.DataType, problems: Problems, *, undefined: float | None, bounds: tuple[float, float] | None
) -> tuple[pa.Array, int]:
    """A column of a numeric type.

    Parameters
    ----------
    text
        As the file has it: integers may be written as ``12.0``.
    kind
        Of the record's column.
    problems
        Gets the rows that hold no such number.
    undefined
        What NaN, infinity and nothing stand for; None: they are no values.
    bounds
        Least and largest value.

    Returns
    -------
    values : pa.Array
        0 in the rows that are no numbers.
    changed : int
        Values that were rounded, or replaced by ``undefined``.
    """
    whole = pa.types.is_integer(kind)
    if whole and kind == pa.int64() and bounds is None:
        try:
            return text.cast(pa.int64()), 0
        except pa.ArrowInvalid:
            pass
    found = floats(text, problems)
    changed = 0
    if not np.isfinite(found).all():
        odd = ~np.isfinite(found)
        if undefined is None:
            for row in np.flatnonzero(odd):
                problems.setdefault(int(row), NOT_FINITE)
        else:
            for row in np.flatnonzero(odd):
                if problems.get(int(row)) == EMPTY:
                    del problems[int(row)]
            changed += int(odd.sum()) - sum(bool(odd[row]) for row in problems)
        found[odd] = undefined or 0.0
    low, high = bounds or (-np.inf, np.inf)
    if whole:
        low, high = max(low, -_INT[kind.bit_width]), min(high, _INT[kind.bit_width] - 1)
        rounded = np.rint(found)
        changed += int((rounded != found).sum())
        found = rounded
    beyond = (found < low) | (found > high)
    exact = _exact(text, found) if whole else {}
    if whole:
        beyond |= found >= _INT[kind.bit_width]  # 2^63 - 1 is no float
        for place, number in exact.items():
            beyond[place] = not (low <= number <= high and number < _INT[kind.bit_width])
    for row in np.flatnonzero(beyond):
        problems.setdefault(int(row), RANGE)
    if problems:
        found[list(problems)] = 0.0
    if not exact:
        return pa.array(found).cast(kind), changed
    kept = [0 if row in problems else exact.get(row, int(value)) for row, value in enumerate(found.tolist())]
    return pa.array(kept, kind), changed


def _exact(text: pa.Array, found: np.ndarray) -> dict[int, int]:
    """Rows of whole numbers that a float does not hold, and these numbers."""
    large = [int(row) for row in np.flatnonzero(np.abs(found) >= _WHOLE)]
    cells = {row: str(text[row].as_py()).strip() for row in large}
    return {row: int(cell) for row, cell in cells.items() if re.fullmatch(r"[+-]?[0-9]{1,19}", cell)}


def spoken(text: pa.Array, words: Mapping[str, str]) -> pa.Array:
    """Words replaced by the numbers that they stand for; what is no such word stays."""
    coded = text.dictionary_encode()
    said = [words.get(word.strip().lower(), word) for word in coded.dictionary.to_pylist()]
    return pa.array(said, pa.string()).take(coded.indices)


def addresses(text: pa.Array, problems: Problems, *, nobody: str | None) -> pa.Array:
    """IP addresses; ``nobody`` where the field is empty (None: then it is a problem)."""
    coded = text.dictionary_encode()
    found: list[str] = []
    wrong: dict[int, str] = {}
    for place, word in enumerate(coded.dictionary.to_pylist()):
        address = word.strip()
        if address.lower() in _NOTHING:
            if nobody is None:
                wrong[place] = EMPTY
            found.append(nobody or "")
            continue
        try:
            packed(address)
        except ValueError:
            wrong[place] = NO_ADDRESS
        found.append(address)
    if wrong:
        indices = np.asarray(coded.indices)
        for place, why in wrong.items():
            problems.update(dict.fromkeys(np.flatnonzero(indices == place).tolist(), why))
    return pa.array(found, pa.string()).take(coded.indices)


def labels(text: pa.Array, benign: str, known: Mapping[str, str], problems: Problems) -> tuple[np.ndarray, pa.Array]:
    """Labels, written as 0 and 1 or as the name of an attack.

    Returns
    -------
    predicted : ndarray of int8
    attacks : pa.StringArray
        The name; ``ATTACK`` where the file says 1 and no more.
    """
    coded = text.dictionary_encode()
    values, names = [], []
    wrong: dict[int, str] = {}
    for place, word in enumerate(coded.dictionary.to_pylist()):
        said = word.strip()
        number, name = _label(said, benign, known)
        if number is None:
            wrong[place] = EMPTY if said.lower() in _NOTHING else NO_LABEL
        values.append(number or 0)
        names.append(name)
    indices = np.asarray(coded.indices)
    for place, why in wrong.items():
        problems.update(dict.fromkeys(np.flatnonzero(indices == place).tolist(), why))
    return np.array(values, np.int8)[indices] if values else np.zeros(0, np.int8), pa.array(names, pa.string()).take(coded.indices)


#: What CICFlowMeter writes where nobody has labelled.
_UNLABELLED = ("needmanuallabel", "no label", "unknown", "unlabelled", "unlabeled")
ATTACK = "ATTACK"


def _label(said: str, benign: str, known: Mapping[str, str]) -> tuple[int | None, str]:
    low = said.lower()
    try:
        number = float({"true": "1", "false": "0"}.get(low, said))
    except ValueError:
        if low in _NOTHING or low in _UNLABELLED:
            return None, ""
        name = benign if low.endswith(" - attempted") else known.get(low, said)
        return (0, benign) if name.lower() == benign.lower() else (1, ATTACK if low in ("attack", "anomaly", "malicious") else name)
    if number in (0.0, 1.0):
        return int(number), benign if number == 0 else ATTACK
    return None, ""
