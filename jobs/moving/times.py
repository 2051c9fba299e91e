"""Times as other systems write them: ISO 8601, seconds since 1970 and parts of them, dates with slashes."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.errors import ConfigError

US = pa.timestamp("us", tz="UTC")
_ISO = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}([.,]\d{1,9})?)?$"
_ISO_ZONE = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}([.,]\d{1,9})?)? ?(Z|[+-]\d{2}(:?\d{2})?)$"
_EPOCH = r"^\d{1,19}(\.\d+)?([eE]\+?\d+)?$"
_SLASHES = (
    r"^(?P<a>\d{1,2})[/.-](?P<b>\d{1,2})[/.-](?P<year>\d{4}),? +(?P<hour>\d{1,2}):(?P<minute>\d{2})"
    r"(?::(?P<second>\d{2})(?P<fraction>\.\d{1,9})?)?(?: ?(?P<half>[AaPp])\.?[Mm]\.?)?$"
)
#: Epochs by their size: the year 2001 in each unit is the least that is taken for it, seconds apart.
_UNITS = ((1e17, 1e-3), (1e14, 1.0), (1e11, 1e3), (0.0, 1e6))
_LATEST_US = 253_402_300_800_000_000  # the year 10,000


@dataclass(frozen=True)
class Clock:
    """How times are to be read.

    Parameters
    ----------
    zone
        Time zone of times that say none.
    day_first
        Whether ``3/7/2017`` is the 3rd of July; None: nobody has said.

    Raises
    ------
    ConfigError
        There is no such time zone.
    """

    zone: str = "UTC"
    day_first: bool | None = None

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as e:
            raise ConfigError(f"--timezone {self.zone!r}: no such time zone", "names are those of IANA: UTC, Europe/Berlin") from e


def times(text: pa.Array, clock: Clock) -> tuple[np.ndarray, np.ndarray]:
    """Microseconds since 1970 in UTC.

    Parameters
    ----------
    text : pa.StringArray of shape (n,)
    clock
        Zone and order of day and month.

    Returns
    -------
    us : ndarray of int64, shape (n,)
    good : ndarray of bool, shape (n,)
        Where the text is a time; elsewhere ``us`` is 0.

    Raises
    ------
    ConfigError
        A date with slashes, and nobody has said whether the day comes first.
    """
    text = pc.utf8_trim_whitespace(text)
    us, good = np.zeros(len(text), np.int64), np.zeros(len(text), bool)
    for pattern, read in ((_ISO, _iso), (_ISO_ZONE, _iso_zone), (_EPOCH, _epoch), (_SLASHES, _slashes)):
        mask = pc.match_substring_regex(text, pattern).to_numpy(zero_copy_only=False) & ~good
        if not mask.any():
            continue
        places = np.flatnonzero(mask)
        found, fine = read(text if len(places) == len(text) else text.take(pa.array(places)), clock)
        us[places], good[places] = np.where(fine, found, 0), fine
        if good.all():
            break
    return us, good


def _cast(text: pa.Array, kind: pa.DataType) -> tuple[pa.Array, np.ndarray]:
    """Times of text that has their form; some may still be none, as the 31st of June."""
    try:
        return text.cast(kind), np.ones(len(text), bool)
    except pa.ArrowInvalid:
        values, good = [], np.zeros(len(text), bool)
        for i in range(len(text)):
            try:
                values.append(text[i].cast(kind))
                good[i] = True
            except pa.ArrowInvalid:
                values.append(pa.scalar(0, pa.int64()).cast(kind))
        return pa.array([value.value for value in values], pa.int64()).cast(kind), good


def _shortened(text: pa.Array) -> pa.Array:
    """A point before the fraction, and of it microseconds at most."""
    if pc.any(pc.match_substring(text, ",")).as_py():
        text = pc.replace_substring(text, ",", ".")
    if pc.any(pc.greater(pc.utf8_length(text), 26)).as_py():
        text = pc.replace_substring_regex(text, r"(\.\d{6})\d+", r"\1")
    return text


def _iso(text: pa.Array, clock: Clock) -> tuple[np.ndarray, np.ndarray]:
    naive, good = _cast(_shortened(text), pa.timestamp("us"))
    return _utc(naive, clock), good


def _utc(naive: pa.Array, clock: Clock) -> np.ndarray:
    if clock.zone != "UTC":
        # The hour that comes twice in autumn is taken for the first, the one that is left out in spring for its end.
        naive = pc.assume_timezone(naive, clock.zone, ambiguous="earliest", nonexistent="latest")
    return np.asarray(naive.cast(pa.int64()))


def _iso_zone(text: pa.Array, _: Clock) -> tuple[np.ndarray, np.ndarray]:
    text = pc.replace_substring(_shortened(text), " Z", "Z")
    text = pc.replace_substring_regex(text, r" ([+-])", r"\1")
    found, good = _cast(text, US)
    return np.asarray(found.cast(pa.int64())), good


def _epoch(text: pa.Array, _: Clock) -> tuple[np.ndarray, np.ndarray]:
    whole = pc.match_substring_regex(text, r"^(?:\d{14,18}|1\d{18})$")
    if pc.all(whole).as_py():  # micro- or nanoseconds have more digits than a float holds
        numbers = np.asarray(text.cast(pa.int64()))
        return np.where(numbers >= 10**17, numbers // 1000, numbers), np.ones(len(text), bool)
    values = np.asarray(text.cast(pa.float64()))
    us = np.zeros(len(values))
    left = np.ones(len(values), bool)
    for least, factor in _UNITS:
        mask = left & (values >= least)
        us[mask] = np.rint(values[mask] * factor)
        left &= ~mask
    good = us < _LATEST_US
    return np.where(good, us, 0).astype(np.int64), good


def _slashes(text: pa.Array, clock: Clock) -> tuple[np.ndarray, np.ndarray]:
    if clock.day_first is None:
        raise ConfigError(
            f"time {text[0].as_py()!r}: is the day first, or the month?", "say --day-first (CICFlowMeter's dd/MM/yyyy) or --month-first"
        )
    parts = pc.extract_regex(text, _SLASHES)

    def number(name: str) -> np.ndarray:
        values = pc.struct_field(parts, name)
        return np.asarray(pc.if_else(pc.equal(values, ""), "0", values).cast(pa.float64()))

    day, month = (number("a"), number("b")) if clock.day_first else (number("b"), number("a"))
    hour, half = number("hour"), pc.utf8_lower(pc.struct_field(parts, "half"))
    evening = pc.equal(half, "p").to_numpy(zero_copy_only=False)
    halves = pc.not_equal(half, "").to_numpy(zero_copy_only=False)
    good = (
        (month >= 1) & (month <= 12) & (day >= 1) & (hour <= np.where(halves, 12, 23)) & (number("minute") < 60) & (number("second") < 60)
    )
    good &= ~halves | (hour >= 1)
    hour = np.where(halves, hour % 12 + 12 * evening, hour)
    first = (number("year").astype(np.int64) - 1970) * 12 + np.where(good, month, 1).astype(np.int64) - 1
    months = first.astype("datetime64[M]")
    length = ((months + 1).astype("datetime64[D]") - months.astype("datetime64[D]")).astype(int)
    good &= day <= length
    days = months.astype("datetime64[D]").astype(np.int64) + day.astype(np.int64) - 1
    seconds = ((days * 24 + hour.astype(np.int64)) * 60 + number("minute").astype(np.int64)) * 60 + number("second").astype(np.int64)
    us = seconds * 1_000_000 + np.rint(number("fraction") * 1e6).astype(np.int64)
    return _utc(pa.array(us).cast(pa.timestamp("us")), clock), good
