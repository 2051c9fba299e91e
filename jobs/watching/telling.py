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


def tell(settings: Settings, watched: Sequence[Watched]) -> tuple[int, int]:
    """Tell what a run over the newest hours has found; how many conditions are news, and how many are over.

    Raises
    ------
    StoreError
        The database of the alerts is away or refuses.
    """
    wrong = [found for one in watched if (found := condition(settings, one)) is not None]
    names = {one.name for one in wrong}
    right = [name for one in watched if one.hours and (name := _name(one)) not in names]
    return conditions.say(settings.alerts, KIND, wrong, right)


def condition(settings: Settings, one: Watched) -> Condition | None:
    """What is wrong with a model on a sensor; None where its last hours are without an alarm, or nothing was judged."""
    if not one.hours:
        return None
    alarms = [hour for hour in one.alarms if hour.hour > one.hours[-1].hour - LAST_HOURS]
    if not alarms:
        return None
    newest = alarms[-1]
    first, last = tables.hour_time(alarms[0].hour), tables.hour_time(newest.hour)
    measures = [f"{f.measure}: PSI {f.distance.psi:.2f}, limit {f.distance.limit:.2f}" for f in newest.alarms[:_MEASURES] if f.distance]
    more = [f"and {counted(len(newest.alarms) - _MEASURES, 'measure')} more"] if len(newest.alarms) > _MEASURES else []
    against = "its training" if one.reference == "training" else "the week it was served"
    said = [f"{last:%Y-%m-%d %H:00} UTC against {against} ({newest.alarms[0].reason}):", *measures, *more]
    return Condition(
        kind=KIND,
        name=_name(one),
        title=printable(f"Model {one.model_version} drifts: {one.record} of {one.sensor_id or 'no sensor'} are no longer what it knows"),
        description=visible("\n".join([*said, "Look: flowlake drift"])),
        source=one.sensor_id,
        level=PRIORITIES.index(settings.drift.priority),
        first=first,
        last=last,
    )


def _name(one: Watched) -> str:
    return f"{one.record}|{one.model_version}|{one.sensor_id}"
