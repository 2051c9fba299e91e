"""When a flow began and ended, from whatever an exporter says of it.

Uptimes count milliseconds in 32 bits and begin anew after 49.7 days (RFC 3954, 5.1); absolute times are seconds, milliseconds, or NTP's
seconds since 1900 with a fraction, of which a second era begins in 2036 (RFC 7011, 6.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.flowexport.columns import FlowMark
from jobs.flowexport.rules import DecodeRules

Times = NDArray[np.int64]
Given = dict[str, NDArray[Any]]

_SPAN_MS = 1 << 32
_HALF_MS = 1 << 31
#: Seconds from 1900 to 1970; those of one era of NTP.
_NTP_EPOCH, _NTP_ERA = 2_208_988_800, 1 << 32
_MS, _S = 1000, 1_000_000
#: Longest flow that is believed.
_LONGEST_US = 30 * 86_400 * _S


@dataclass
class Clock:
    """Of each record: receipt and export (us), uptime at the export and start of the exporter (ms; -1 and 0: not said)."""

    received: Times
    exported: Times
    uptime: Times
    boot: Times


def flow_times(given: Given, clock: Clock, rules: DecodeRules) -> tuple[Times, Times, NDArray[np.uint32]]:
    """Start and end (us since the epoch), and marks of the times.

    Parameters
    ----------
    given
        Times of the records by the names of targets (:mod:`jobs.flowexport.targets`), ``_start_ms`` and others.
    clock
        Of the exporter.
    rules
        How far from ours it may be.
    """
    skew = clock.received - clock.exported
    wrong = np.abs(skew) > rules.clock_tolerance_us
    marks = np.where(wrong, np.uint32(FlowMark.CLOCK_WRONG), np.uint32(0))
    base = np.where(wrong, clock.received, clock.exported)
    shift = np.where(wrong, skew, 0)
    start, end, more = _said(given, clock, base, shift)
    return _plausible(start, end, clock.received, marks | more, rules)


def _said(given: Given, clock: Clock, base: Times, shift: Times) -> tuple[Times, Times, NDArray[np.uint32]]:
    """Start and end as the exporter says them, by our clock, and marks."""
    start, end = _absolute(given, "start"), _absolute(given, "end")
    marks = np.zeros(len(base), np.uint32)
    if start is not None:
        start = start + shift
    if end is not None:
        end = end + shift
    if start is None and end is None and ("_start_uptime" in given or "_end_uptime" in given):
        start, end, marks = _by_uptime(given, clock, base)
    if start is None and "_start_delta" in given:
        start = base - given["_start_delta"].astype(np.int64)
    if end is None and "_end_delta" in given:
        end = base - given["_end_delta"].astype(np.int64)
    if start is None and end is None:
        marks |= np.uint32(FlowMark.TIME_MISSING)
    duration = _duration(given)
    if end is None:
        end = base if start is None else base if duration is None else start + duration
    if start is None:
        start = end if duration is None else end - duration
    return start, end, marks


def _absolute(given: Given, which: str) -> Times | None:
    """Times since the epoch, from the finest field there is."""
    if (ntp := given.get(f"_{which}_ntp")) is not None:
        seconds, fraction = ntp >> np.uint64(32), ntp & np.uint64(0xFFFF_FFFF)
        whole = seconds.astype(np.int64)
        whole = np.where(whole < _NTP_EPOCH, whole + _NTP_ERA, whole) - _NTP_EPOCH
        return whole * _S + (fraction * np.uint64(_S) >> np.uint64(32)).astype(np.int64)
    for name, most, unit in ((f"_{which}_ms", 1 << 52, _MS), (f"_{which}_s", 1 << 42, _S)):
        if name in given:
            return np.minimum(given[name], np.uint64(most)).astype(np.int64) * unit
    return None


def _duration(given: Given) -> Times | None:
    for name, unit in (("_duration_us", 1), ("_duration_ms", _MS)):
        if name in given:
            return np.minimum(given[name], np.uint64(1 << 42)).astype(np.int64) * unit
    return None


def _by_uptime(given: Given, clock: Clock, base: Times) -> tuple[Times | None, Times | None, NDArray[np.uint32]]:
    """From milliseconds of uptime: how long ago by the uptime of the export, which the header says, or the exporter's start.

    Where neither is known, the flow ends with its export.
    """
    start, end = (_ms(given, which) for which in ("_start_uptime", "_end_uptime"))
    boot = clock.boot
    if "_boot_ms" in given:
        boot = np.minimum(given["_boot_ms"], np.uint64(1 << 52)).astype(np.int64)
    at = np.where(clock.uptime >= 0, clock.uptime, (clock.exported // _MS - boot) % _SPAN_MS)
    known = (clock.uptime >= 0) | (boot > 0)
    lasted = (end - start) % _SPAN_MS * _MS if start is not None and end is not None else np.zeros(len(base), np.int64)
    mark = FlowMark.TIME_MISSING if start is None or end is None else FlowMark.TIME_RELATIVE
    marks = np.where(known, np.uint32(0), np.uint32(mark))
    return _ago(start, at, base, known, base - lasted), _ago(end, at, base, known, base), marks


def _ms(given: Given, name: str) -> Times | None:
    return given[name].astype(np.int64) if name in given else None


def _ago(moment: Times | None, uptime: Times, base: Times, known: NDArray[np.bool_], otherwise: Times) -> Times | None:
    """So long before ``base`` as an uptime was before another one, the nearer way round; ``otherwise`` where that is not known."""
    if moment is None:
        return None
    ago = (uptime - moment + _HALF_MS) % _SPAN_MS - _HALF_MS
    return np.where(known, base - ago * _MS, otherwise)


def _plausible(
    start: Times, end: Times, received: Times, marks: NDArray[np.uint32], rules: DecodeRules
) -> tuple[Times, Times, NDArray[np.uint32]]:
    """Times that can be: a flow ends before it is received, not long before, and begins before it ends."""
    lasted = np.where((start <= end) & (end - start <= _LONGEST_US), end - start, 0)
    wrong = (end > received + rules.clock_tolerance_us) | (end < received - rules.oldest_us)
    end = np.where(wrong, received, end)
    without = (start > end) | (end - start > _LONGEST_US)  # a start that cannot be, 0 among them
    marks = marks | np.where(wrong | without, np.uint32(FlowMark.TIME_REPLACED), np.uint32(0))
    return np.where(wrong, end - lasted, np.where(without, end, start)), end, marks
