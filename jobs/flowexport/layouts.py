"""A template compiled: which bytes of a record go where.

Records of a template of fixed lengths are one NumPy array of a structured dtype. Of one with variable lengths, the parts of fixed length
are put together first, so that they are read in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from jobs.flowexport.elements import REVERSE_PEN, VARIABLE, Element
from jobs.flowexport.extras import key
from jobs.flowexport.targets import BY_SOURCE, ElementKey, FieldShape, FieldTarget

#: Number, 1 to 8 bytes.
_MOST_NUMBER = 8
_NATIVE = {1: ">u1", 2: ">u2", 4: ">u4", 8: ">u8"}


class FieldSpec(NamedTuple):
    """A field of a template: enterprise (0: none), element, bytes (:data:`VARIABLE`: in the record)."""

    enterprise: int
    element: int
    length: int


class Read(NamedTuple):
    """One field that goes to a target: name and shape of that, place in the fixed part, bytes, and its name in the dtype."""

    target: str
    shape: FieldShape
    offset: int
    length: int
    name: str


class KeptField(NamedTuple):
    """A field that goes to the extras: its key, place in the fixed part, bytes."""

    key: int
    offset: int
    length: int


class VariableField(NamedTuple):
    """A field of variable length: its key, the target that wants it (empty: none), whether it is kept, bytes of fixed fields before it."""

    key: int
    target: str
    shape: FieldShape
    kept: bool
    before: int


@dataclass(frozen=True)
class Layout:
    """What :func:`compiled` makes of a template.

    Attributes
    ----------
    fixed
        Bytes of all fields of fixed length.
    least
        Bytes of the shortest record.
    dtype
        Of the fixed part; a field for each of ``reads``.
    reads, kept, variable
        Fields by where they go.
    tail
        Bytes of fixed fields behind the last variable one.
    targets
        Names of all targets that a record has.
    biflow
        There are fields of the reverse direction.
    """

    fixed: int
    least: int
    dtype: np.dtype
    reads: tuple[Read, ...]
    kept: tuple[KeptField, ...]
    variable: tuple[VariableField, ...]
    tail: int
    targets: frozenset[str] = field(default_factory=frozenset)
    biflow: bool = False


def readable(shape: FieldShape, length: int) -> bool:
    """Whether a field of so many bytes can be read in this way (:data:`VARIABLE`: it is looked at in the record)."""
    if length == 0:
        return False
    if shape is FieldShape.NUMBER:
        return length <= _MOST_NUMBER
    if shape is FieldShape.FLOAT:
        return length in (4, 8)
    if shape is FieldShape.IPV4:
        return length == 4
    if shape is FieldShape.IPV6:
        return length == 16
    return True


def _format(read: Read) -> object:
    if read.shape is FieldShape.NUMBER:
        return _NATIVE.get(read.length, ("u1", (read.length,)))
    if read.shape is FieldShape.FLOAT:
        return f">f{read.length}"
    if read.shape is FieldShape.IPV4:
        return "<u4"  # bytes as they are
    if read.shape is FieldShape.IPV6:
        return ("<u8", (2,))
    return ("u1", (read.length,))


def _chosen(fields: tuple[FieldSpec, ...]) -> dict[int, FieldTarget]:
    """By its number in the template, each field that goes to a target: of a target's sources the best, of identical ones the first."""
    best: dict[str, tuple[int, int]] = {}
    for i, f in enumerate(fields):
        found = BY_SOURCE.get(ElementKey(f.enterprise, f.element))
        if found is None:
            continue
        target, rank = found
        wanted = target.shape in (FieldShape.FRAME, FieldShape.OPAQUE) if f.length == VARIABLE else readable(target.shape, f.length)
        if wanted and (target.name not in best or rank < best[target.name][0]):
            best[target.name] = (rank, i)
    return {i: BY_SOURCE[ElementKey(fields[i].enterprise, fields[i].element)][0] for _, i in best.values()}


#: Layouts that are kept: many exporters share one, and one of many fields is some hundred kB.
@lru_cache(1024)
def compiled(fields: tuple[FieldSpec, ...]) -> Layout:
    """The layout of records of these fields."""
    chosen = _chosen(fields)
    reads, kept, variable = [], [], []
    seen: dict[tuple[int, int], int] = {}
    offset = before = 0
    for i, f in enumerate(fields):
        ordinal = seen.get((f.enterprise, f.element), 0)
        seen[f.enterprise, f.element] = ordinal + 1
        number = key(f.enterprise, f.element, ordinal)
        target = chosen.get(i)
        if f.length == VARIABLE:
            shape = target.shape if target else FieldShape.OPAQUE
            name = target.name if target else ""
            variable.append(VariableField(number, name, shape, target is None or target.also, offset - before))
            before = offset
            continue
        if target:
            reads.append(Read(target.name, target.shape, offset, f.length, f"f{i}"))
        padding = f.enterprise == 0 and f.element == Element.PADDING
        if f.length and not padding and (target is None or target.also):
            kept.append(KeptField(number, offset, f.length))
        offset += f.length
    made = {"names": [r.name for r in reads], "formats": [_format(r) for r in reads], "offsets": [r.offset for r in reads]}
    dtype = np.dtype({**made, "itemsize": max(offset, 1)})  # type: ignore[call-overload]  # of formats of several kinds
    targets = frozenset([r.target for r in reads] + [v.target for v in variable if v.target])
    biflow = any(f.enterprise == REVERSE_PEN for f in fields) or "reverse_bytes" in targets
    return Layout(offset, offset + len(variable), dtype, tuple(reads), tuple(kept), tuple(variable), offset - before, targets, biflow)
