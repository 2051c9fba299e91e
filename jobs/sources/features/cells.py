"""Columns of a sender as values of a flow record: numbers, times, texts, addresses; and why a row has none."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs.metering.identity import address_texts
from jobs.moving import values
from jobs.moving.times import TimeReading, times
from jobs.sinks.addresses import packed
from schemas.cicflowcsv import CSV
from schemas.features import FEATURE_VERSION
from schemas.flows import RULES
from schemas.rules import Range

#: Longest text of a cell, bytes.
_LONGEST = 256
_WORDS = {"": None, "null": None, "none": None, "na": None, "n/a": None, "-": None}
#: Largest count, duration or size: up to here sums of two are exact, as whole numbers and as floats.
_MOST = 2.0**53
#: What CICFlowMeter writes for the window of what is not TCP.
_NO_WINDOW = frozenset({"fwd_init_win_bytes", "bwd_init_win_bytes"})
#: What wraps at 16 or 32 bits in CICFlowMeter: a negative one says nothing.
_WRAPS = frozenset({"fwd_header_length", "bwd_header_length", "fwd_seg_size_min"})
BOUNDS: dict[str, tuple[float, float]] = {rule.column: (rule.low, rule.high) for rule in RULES if isinstance(rule, Range)}
#: ``feature_version`` of flows whose features CICFlowMeter, or somebody else, has computed.
FOREIGN = "cicflowmeter"
_ID = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
#: What texts must look like, and what is said of those that do not.
_FORMS: dict[str, tuple[str, str]] = {
    "community_id": (r"^1:[A-Za-z0-9+/]{27}=$", "no Community ID v1"),
    "end_reason": (r"^(fin|rst|idle|active|evicted|forced)$", "not one of fin, rst, idle, active, evicted, forced"),
    "feature_version": (
        f"^({re.escape(FEATURE_VERSION)}|{FOREIGN})$",
        f"of another version than ours, {FEATURE_VERSION}; leave it out where the features are not",
    ),
}
Problems = dict[int, str]


@dataclass(frozen=True)
class KnownValues:
    """Values of a column: an array of n rows, and where the sender has said nothing (its value is of no meaning there)."""

    values: NDArray
    known: NDArray[np.bool_]


def texts(array: pa.Array, problems: Problems) -> pa.Array:
    """Any array as text; null where nothing is said: no value, or a word for none."""
    if not pa.types.is_string(array.type):
        return array.cast(pa.string())
    array = pc.utf8_trim_whitespace(array)
    long = pc.greater(pc.binary_length(array), _LONGEST).fill_null(False)
    if pc.any(long).as_py():
        problems.update(dict.fromkeys(np.flatnonzero(_mask(long)).tolist(), f"a text of more than {_LONGEST} bytes"))
        array = pc.if_else(long, pa.scalar(None, pa.string()), array)
    nothing = pc.is_in(pc.utf8_lower(array), pa.array(list(_WORDS)))
    return pc.if_else(nothing, pa.scalar(None, pa.string()), array)


def numbers(array: pa.Array, name: str, kind: pa.DataType, problems: Problems) -> KnownValues:
    """Numbers of a record column of type ``kind``; whole ones may come as ``12.0``."""
    if name not in _WRAPS:
        return _numbers(array, name, kind, problems)
    own: Problems = {}
    found = _numbers(array, name, kind, own)
    wrapped = [row for row, why in own.items() if why == values.RANGE]
    problems.update({row: why for row, why in own.items() if why != values.RANGE})
    known = found.known.copy()
    known[wrapped] = False
    return KnownValues(found.values, known)


def _numbers(array: pa.Array, name: str, kind: pa.DataType, problems: Problems) -> KnownValues:
    """The same of a column as it is defined.

    NaN and infinity are what :data:`schemas.cicflowcsv.CSV` says of the column, or no values.
    """
    low, high = BOUNDS.get(name, CSV.bounds.get(name, (-np.inf, np.inf)))
    low = -1.0 if name in _NO_WINDOW else low
    high = min(high, _MOST) if pa.types.is_integer(kind) else high
    if array.null_count == len(array):
        return KnownValues(np.zeros(len(array), kind.to_pandas_dtype()), np.zeros(len(array), bool))
    if pa.types.is_boolean(array.type):
        known = _mask(array.is_valid())
        problems.update(dict.fromkeys(np.flatnonzero(known).tolist(), values.NO_NUMBER))
        return KnownValues(np.zeros(len(array), kind.to_pandas_dtype()), np.zeros(len(array), bool))
    if pa.types.is_string(array.type):
        return _of_text(array, name, kind, problems, (low, high))
    known = _mask(array.is_valid())
    whole = pa.types.is_integer(kind)
    found = array.fill_null(0).to_numpy(zero_copy_only=False)
    if pa.types.is_floating(array.type):
        odd = ~np.isfinite(found)
        undefined = CSV.undefined.get(name)
        if undefined is None:
            problems.update(dict.fromkeys(np.flatnonzero(odd).tolist(), values.NOT_FINITE))
        found = np.where(odd, undefined or 0.0, found)
        found = np.rint(found) if whole else found
    beyond = (found < low) | (found > high)
    for row in np.flatnonzero(beyond & known).tolist():
        problems.setdefault(row, values.RANGE)
    found = np.where(beyond, 0, found).astype(kind.to_pandas_dtype())
    return KnownValues(np.maximum(found, 0) if name in _NO_WINDOW else found, known)


def _of_text(array: pa.Array, name: str, kind: pa.DataType, problems: Problems, bounds: tuple[float, float]) -> KnownValues:
    array = texts(array, problems)
    known = _mask(array.is_valid())
    said = array.drop_null()
    if words := CSV.words.get(name):
        said = values.spoken(said, words)
    own: values.Problems = {}
    found, _ = values.numbers(said, kind, own, undefined=CSV.undefined.get(name), bounds=bounds)
    at = np.flatnonzero(known)
    problems.update({int(at[row]): why for row, why in own.items()})
    out = np.zeros(len(array), kind.to_pandas_dtype())
    out[at] = found.to_numpy(zero_copy_only=False)
    return KnownValues(np.maximum(out, 0) if name in _NO_WINDOW else out, known)


def moments(array: pa.Array, clock: TimeReading, problems: Problems) -> KnownValues:
    """Times, microseconds since 1970: of Arrow, ISO 8601, CICFlowMeter's dates, or seconds since 1970 and parts of them."""
    if pa.types.is_timestamp(array.type):
        if array.type.tz is None:
            array = pc.assume_timezone(array, clock.zone, ambiguous="earliest", nonexistent="latest")
        return KnownValues(np.asarray(array.cast(pa.int64()).fill_null(0)), _mask(array.is_valid()))
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.string())
    array = texts(array, problems)
    known = _mask(array.is_valid())
    us, good = times(array.drop_null(), clock)
    at = np.flatnonzero(known)
    problems.update(dict.fromkeys(at[~good].tolist(), "not a time"))
    out = np.zeros(len(array), np.int64)
    out[at] = us
    return KnownValues(out, known)


def truths(array: pa.Array, problems: Problems) -> KnownValues:
    """Booleans: as such, or as true and false, 1 and 0."""
    if pa.types.is_boolean(array.type):
        return KnownValues(_mask(array.fill_null(False)), _mask(array.is_valid()))
    array = pc.utf8_lower(texts(array, problems))
    known = _mask(array.is_valid())
    right = pc.is_in(array, pa.array(["true", "t", "1", "1.0", "false", "f", "0", "0.0"]))
    problems.update(dict.fromkeys(np.flatnonzero(known & ~_mask(right)).tolist(), "not true or false"))
    return KnownValues(_mask(pc.is_in(array, pa.array(["true", "t", "1", "1.0"]))), known)


def words(array: pa.Array, name: str, problems: Problems) -> pa.Array:
    """A column of text; null where nothing is said. Control characters are no text: PostgreSQL has no NUL, and a name is one line."""
    array = texts(array, problems)
    if name == "flow_id":  # a text of addresses and ports is no identity: one is made
        good = pc.match_substring_regex(array, _ID)
        return pc.utf8_lower(pc.if_else(good, array, pa.scalar(None, pa.string())))
    pattern, why = _FORMS.get(name, (r"^[^\x00-\x1f\x7f]*$", "control characters in a text"))
    bad = pc.invert(pc.match_substring_regex(array, pattern)).fill_null(False)
    problems.update(dict.fromkeys(np.flatnonzero(_mask(bad)).tolist(), why))
    return array


@dataclass(frozen=True)
class Addresses:
    """Addresses of n rows: version 4 or 6, the halves of 128 bits (IPv4 in the lower 32), and as text."""

    version: NDArray[np.uint8]
    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    text: pa.Array
    known: NDArray[np.bool_]


def addresses(array: pa.Array, problems: Problems) -> Addresses:
    """IP addresses, written as the meter writes them."""
    coded = texts(array, problems).fill_null("").dictionary_encode()
    known = np.ones(len(coded.dictionary), bool)
    parts = np.zeros((len(coded.dictionary), 3), np.uint64)
    parts[:, 0] = 4
    wrong = np.zeros(len(coded.dictionary), bool)
    for place, said in enumerate(coded.dictionary.to_pylist()):
        try:
            raw = packed(said) if said else b""
        except ValueError:
            raw, wrong[place] = b"", True
        known[place] = bool(said)
        number = int.from_bytes(raw, "big")
        parts[place] = (6 if len(raw) == 16 else 4, number >> 64, number & ((1 << 64) - 1))
    at = np.asarray(coded.indices)
    problems.update(dict.fromkeys(np.flatnonzero(wrong[at]).tolist(), values.NO_ADDRESS))
    version, high, low = parts[at, 0].astype(np.uint8), parts[at, 1].copy(), parts[at, 2].copy()
    return Addresses(version, high, low, address_texts(version, high, low), known[at])


def _mask(array: pa.Array | pa.Scalar) -> NDArray[np.bool_]:
    """Booleans as NumPy has them; null is False."""
    return np.asarray(array.fill_null(False).to_numpy(zero_copy_only=False), bool)
