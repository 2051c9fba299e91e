"""Drift told to people: a condition of the platform for each model and sensor whose last hours have an alarm, over when they have none."""

from __future__ import annotations

from collections.abc import Sequence

from infra.config import Settings
from infra.names import printable, visible
from infra.plurals import counted
from jobs.notifying import conditions
from jobs.notifying.conditions import Condition
from jobs.watching import tables
from jobs.watching.drift import Watched
from schemas.incidents import PRIORITIES

#: What channels filter by.
KIND = "MODEL_DRIFT"
#: Hours that are looked at, the newest among them: so many without an alarm, and it is over.
LAST_HOURS = 6
_MEASURES = 5


def tell(settings: Settings, records: Sequence[str], watched: Sequence[Watched]) -> tuple[int, int]:
    """Tell what a run over the newest hours of some record types has found; how many conditions are news, and how many are over.

    What has not served in these hours, a version that was replaced or a sensor that is gone, is over too.

    Raises
    ------
    StoreError
        The database of the alerts is away or refuses.
    """
    done = [0, 0]
    for name in dict.fromkeys(records):
        some = [one for one in watched if one.record == name]
        if not some:  # nothing was scored at all: the stream is down, and no model is right again
            continue
        newest = max((one.hours[-1].hour for one in some if one.hours), default=0)
        wrong = [found for one in some if (found := condition(settings, one, newest)) is not None]
        for i, n in enumerate(conditions.say(settings.alerts, KIND, f"{name}|", wrong, [_name(one) for one in some if not one.hours])):
            done[i] += n
    return done[0], done[1]


def condition(settings: Settings, one: Watched, newest: int) -> Condition | None:
    """What is wrong with a model on a sensor; None where the hours up to ``newest`` are without an alarm, or nothing was judged."""
    alarms = [hour for hour in one.alarms if hour.hour > newest - LAST_HOURS]
    if not alarms:
        return None
    hour = alarms[-1]
    first, last = tables.hour_time(alarms[0].hour), tables.hour_time(hour.hour)
    measures = [f"{f.measure}: PSI {f.distance.psi:.2f}, limit {f.distance.limit:.2f}" for f in hour.alarms[:_MEASURES] if f.distance]
    more = [f"and {counted(len(hour.alarms) - _MEASURES, 'measure')} more"] if len(hour.alarms) > _MEASURES else []
    against = "its training" if one.reference == "training" else "the week it was served"
    said = [f"{last:%Y-%m-%d %H:00} UTC against {against} ({hour.alarms[0].reason}):", *measures, *more]
    return Condition(
        kind=KIND,
        name=_name(one),
        title=printable(f"Model {one.model_version} drifts: {one.record} of {one.sensor_id or 'no sensor'} are no longer what it knows"),
        description=visible("\n".join([*said, "Look: flowlake drift"])),
        source=printable(one.sensor_id),
        level=PRIORITIES.index(settings.drift.priority),
        first=first,
        last=last,
    )


def _name(one: Watched) -> str:
    return printable(f"{one.record}|{one.model_version}|{one.sensor_id}")
