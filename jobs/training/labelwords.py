"""What a column of labels says, whatever its type: the same where a file is learned from, compared on and scored."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from infra.errors import ModelError
from schemas.labels import BENIGN, NOTHING, UNKNOWN

#: The label of an attack of which nobody has said which.
ATTACK = "ATTACK"
#: Words for the two labels of data without kinds of attack.
_WORDS = {"0": BENIGN, "false": BENIGN, "benign": BENIGN, "normal": BENIGN, "1": ATTACK, "true": ATTACK, "attack": ATTACK}
#: What becomes of rows with such a label (:func:`unknown`).
LEFT_OUT = f"labelled {UNKNOWN.name} taken as without a label: so a model calls what it does not know"
#: A whole number that went through a column of floating-point numbers.
_WHOLE = re.compile(r"(-?\d+)\.0*")


def words(column: pa.Array | pa.ChunkedArray, origin: str) -> npt.NDArray[np.str_]:
    """The labels of a column as text, str[n]: ``BENIGN`` and ``ATTACK`` by any word for them, "" where nothing is said.

    Raises
    ------
    ModelError
        The column's type holds no labels; ``origin`` names the file.
    """
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_nested(kind) or pa.types.is_temporal(kind):
        raise ModelError(f"{origin}: labels of type {kind}", "write them as text, or as 0 and 1")
    said = np.array([_text(value) for value in column.to_pylist()], dtype=str)
    unique, index = np.unique(said, return_inverse=True)
    return np.array([_word(one) for one in unique.tolist()], dtype=str)[index] if len(said) else said


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    return str(value).strip()


def _word(said: str) -> str:
    if said.lower() in NOTHING:
        return ""
    whole = _WHOLE.fullmatch(said)
    name = whole[1] if whole else said
    return _WORDS.get(name.lower(), name)


def unknown(said: npt.NDArray[np.str_]) -> npt.NDArray[np.bool_]:
    """bool[n]: which labels are ``UNKNOWN``: no record is labelled so, it is what a model says."""
    return np.array([one.upper() == UNKNOWN.name for one in said.tolist()], dtype=bool)


def once(names: Sequence[str], wanted: Sequence[str], origin: str) -> None:
    """See that each of the wanted columns is there once.

    Raises
    ------
    ModelError
        One is there more often: which of them is meant, is not known.
    """
    for name in dict.fromkeys(wanted):
        if (count := list(names).count(name)) > 1:
            raise ModelError(f"{origin}: {count} columns {name}", "leave out all but one of them")
