"""What must hold of every row of a record type: constraints, as a source declares them and as they follow from its columns.

They are data: :mod:`jobs.quality` evaluates them on Arrow tables in each batch, and makes expectations of them for the nightly run.
Nothing is said of a null but by :class:`NotNull`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

#: An IPv4 address in dotted decimal, as ``inet_pton`` reads it.
_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
IPV4 = rf"^(?:{_BYTE}\.){{3}}{_BYTE}$"
_HEX = r"[0-9a-fA-F]{1,4}"


def _shortened(before: int) -> str:
    """IPv6 with ``::`` for one group or more, behind so many others."""
    head = rf"(?:{_HEX}:){{{before - 1}}}{_HEX}" if before else ""
    most = 7 - before
    tails = [rf"(?:{_HEX}:){{0,{most - 1}}}{_HEX}"] if most else []
    tails += [rf"(?:{_HEX}:){{0,{most - 2}}}(?:{_BYTE}\.){{3}}{_BYTE}"] if most > 1 else []
    return rf"^{head}::(?:{'|'.join(tails)})?$"


#: An IPv6 address in any of the forms of RFC 4291, the last 32 bits in dotted decimal among them; no zone, no prefix length.
IPV6 = "|".join(
    [
        rf"^(?:{_HEX}:){{7}}{_HEX}$",
        rf"^(?:{_HEX}:){{6}}(?:{_BYTE}\.){{3}}{_BYTE}$",
        *(_shortened(before) for before in range(8)),
    ]
)
UUID = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
#: The largest finite double: a bound that infinity and NaN (in SQL above everything) do not keep.
LARGEST = 1.7976931348623157e308
#: Sums of floats may be wrong in their last digits: what is larger by this share is taken as equal.
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Constraint:
    """One thing that must hold of each row. Which are there: the classes below.

    Parameters
    ----------
    nightly : bool
        It is looked at by the nightly run alone, and not in each batch of a store.
    """

    nightly: bool = field(default=False, kw_only=True)

    @property
    def code(self) -> str:
        """Kind of the constraint."""
        raise NotImplementedError

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that it looks at."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """What rows that fail are counted and found by: ``range(src_port)``."""
        return f"{self.code}({', '.join(self.columns)})"

    @property
    def said(self) -> str:
        """What is expected, as a reason ends."""
        raise NotImplementedError


@dataclass(frozen=True)
class _OfOne(Constraint):
    """About one column."""

    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)


@dataclass(frozen=True)
class NotNull(_OfOne):
    """There is a value."""

    code = "null"
    said = "a value"


@dataclass(frozen=True)
class Range(_OfOne):
    """A number from ``low`` to ``high``, ends included. What is no number (NaN) and what is infinite lies in no range."""

    low: float = -LARGEST
    high: float = LARGEST

    code = "range"

    @property
    def said(self) -> str:
        if (self.low, self.high) == (-LARGEST, LARGEST):
            return "a finite number"
        if self.high == LARGEST:
            return f"at least {self.low:g}"
        return f"at most {self.high:.12g}" if self.low == -LARGEST else f"{self.low:.12g} to {self.high:.12g}"


@dataclass(frozen=True)
class OneOf(_OfOne):
    """One of some values (``values`` are all texts or all integers)."""

    values: tuple[str, ...] | tuple[int, ...]

    code = "one-of"

    @property
    def said(self) -> str:
        return f"one of {', '.join(map(str, self.values))}"


@dataclass(frozen=True)
class Address(_OfOne):
    """Text that is an IPv4 or IPv6 address."""

    code = "address"
    said = "an IPv4 or IPv6 address"


@dataclass(frozen=True)
class Pattern(_OfOne):
    """Text that a regular expression (RE2's syntax, with its anchors) finds something in; ``what`` names it."""

    regex: str
    what: str

    code = "pattern"

    @property
    def said(self) -> str:
        return self.what


@dataclass(frozen=True)
class NoNul(_OfOne):
    """Text without the character NUL, which PostgreSQL has no place for."""

    code = "nul"
    said = "text without NUL"


@dataclass(frozen=True)
class PlausibleTime(_OfOne):
    """A time that can be: not before ``quality.earliest``, and not further ahead of the clock than ``quality.ahead_s``."""

    code = "time"
    said = "a time between quality.earliest and quality.ahead_s from now"


@dataclass(frozen=True)
class Order(Constraint):
    """The sum of some columns is not above the sum of others; columns are numbers, or one time on each side."""

    lower: tuple[str, ...]
    upper: tuple[str, ...]

    code = "order"

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.lower, *self.upper)

    @property
    def said(self) -> str:
        return f"{' + '.join(self.lower)} <= {' + '.join(self.upper)}"


@dataclass(frozen=True)
class Together(Constraint):
    """``column`` has ``value`` in just those rows in which ``other`` has ``other_value``."""

    column: str
    value: Any
    other: str
    other_value: Any

    code = "together"

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column, self.other)

    @property
    def said(self) -> str:
        return f"{self.column} is {self.value} where {self.other} is {self.other_value}, and nowhere else"


def ordered(*columns: str) -> tuple[Order, ...]:
    """Each column is not above the next: ``ordered("min", "mean", "max")``."""
    return tuple(Order((low,), (high,)) for low, high in pairwise(columns))


def nightly_beyond(columns: Iterable[str], rules: Iterable[Constraint]) -> tuple[Constraint, ...]:
    """Rules, those that look at other columns than these marked as nightly: a store need not read its messages whole for them."""
    cheap = set(columns)
    return tuple(rule if cheap.issuperset(rule.columns) else replace(rule, nightly=True) for rule in rules)
