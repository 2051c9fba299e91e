"""When an hour of a model is odd, and when that is an alarm. Pure.

Each measure of an hour has a PSI and the limit that it exceeds without any change with a small probability. Four rules, in this order:

- ``few``: an hour with fewer rows than ``drift.least_rows`` is counted, not judged;
- ``sudden``: PSI is beyond a limit that all measures of all hours of a week together exceed with probability ``drift.false_alarms``;
- ``several``: a share of the features (``drift.several``) is odd in one hour, odd being beyond the limit of probability ``drift.odd``;
  features say much the same as each other, so three of twenty are nothing;
- ``sustained``: one measure is odd in so many (``drift.sustained``) of the last six hours, this one included.

No rule calls a shift odd that is smaller than ``drift.least_psi``: with enough rows any difference is significant, and most mean nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from infra.sections import DriftSettings
from jobs.watching import measures, statistics
from jobs.watching.reference import Reference
from jobs.watching.statistics import Counts, Distance

OK, ODD, ALARM, FEW = "ok", "odd", "alarm", "few"
SUDDEN, SEVERAL, SUSTAINED = "sudden", "several", "sustained"
_WEEK_HOURS = 168
_LAST_HOURS = 6
_LEAST_FEATURES = 3


@dataclass(frozen=True)
class HourCounts:
    """What was counted of an hour of one model and sensor.

    Attributes
    ----------
    hour
        Since 1970.
    rows
        Of the hour.
    counts
        By measure int64[k + 1], bins of the reference.
    """

    hour: int
    rows: int
    counts: Mapping[str, Counts]


@dataclass
class Deviation:
    """One measure of one hour, and what is to be thought of it. ``distance`` is None where there was no value to compare."""

    hour: int
    rows: int
    measure: str
    distance: Distance | None
    state: str
    reason: str = ""
    share: float | None = None
    usual_share: float | None = None


@dataclass
class JudgedHour:
    """One hour of a model and sensor."""

    hour: int
    rows: int
    usual_rows: float
    findings: list[Deviation] = field(default_factory=list)

    @property
    def alarms(self) -> list[Deviation]:
        """Measures that are an alarm, the farthest beyond its limit first."""
        found = [one for one in self.findings if one.state == ALARM]
        return sorted(found, key=lambda one: -(one.distance.psi / one.distance.limit if one.distance else 0.0))


def judge(reference: Reference, hours: Sequence[HourCounts], settings: DriftSettings) -> list[JudgedHour]:
    """What is to be thought of the hours of one model and sensor, in the order of time.

    Parameters
    ----------
    reference
        What they are compared with.
    hours
        Any hours; for ``sustained`` those before each should be among them.
    settings
        The limits.
    """
    sure = settings.false_alarms / (_WEEK_HOURS * max(len(reference.edges), 1))
    odd_in: dict[str, list[int]] = defaultdict(list)
    found = []
    for one in sorted(hours, key=lambda one: one.hour):
        judged = JudgedHour(one.hour, one.rows, reference.rows_like(one.hour))
        judged.findings = [_finding(reference, one, name, settings, sure) for name in reference.edges]
        _several(judged, settings)
        for finding in judged.findings:
            _sustained(finding, odd_in[finding.measure], settings)
        found.append(judged)
    return found


def _finding(reference: Reference, one: HourCounts, name: str, settings: DriftSettings, sure: float) -> Deviation:
    now, like = one.counts[name], reference.pooled(name, one.hour)
    finding = Deviation(one.hour, one.rows, name, None, FEW if one.rows < settings.least_rows else OK)
    kind, _ = measures.split(name)
    if not now.sum() or not like.sum():
        return finding
    if kind in measures.SHARES:
        finding.share, finding.usual_share = float(now[1] / now.sum()), float(like[1] / like.sum())
    varies = reference.spread(name)
    finding.distance = statistics.distance(like, now, varies, settings.odd, seen=True)
    least = settings.least_psi_share if kind in measures.SHARES else settings.least_psi
    away = finding.distance
    if finding.state == FEW or away.psi - away.bias < least:
        return finding
    if away.psi > statistics.distance(like, now, varies, sure).limit:
        finding.state, finding.reason = ALARM, SUDDEN
    elif away.psi > away.limit:
        finding.state = ODD
    return finding


def _several(judged: JudgedHour, settings: DriftSettings) -> None:
    """Features that are odd together. Shares say the same as their features once more: they do not count."""
    features = [one for one in judged.findings if measures.split(one.measure)[0] == measures.FEATURE]
    odd = [one for one in features if one.state in (ODD, ALARM)]
    if len(odd) >= max(_LEAST_FEATURES, settings.several * len(features)):
        for one in odd:
            one.state, one.reason = ALARM, one.reason or SEVERAL


def _sustained(finding: Deviation, odd_hours: list[int], settings: DriftSettings) -> None:
    if finding.state in (OK, FEW):
        return
    odd_hours.append(finding.hour)
    recent = [hour for hour in odd_hours if hour > finding.hour - _LAST_HOURS]
    if finding.state == ODD and len(recent) >= settings.sustained:
        finding.state, finding.reason = ALARM, SUSTAINED
