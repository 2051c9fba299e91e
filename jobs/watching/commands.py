"""The commands that watch models, for ``flowlake`` and for the entry points of ``spark-submit``; progress goes to standard error."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra import config, log
from infra.config import Settings
from infra.console.options import ConfFile, Json, me
from infra.errors import StoreError
from infra.names import printable
from infra.plurals import counted
from jobs.watching.span import between

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from jobs.watching.drift import Watched
    from schemas.records import RecordType

#: Exit code of ``drift`` where there is an alarm.
ALARMED = 10
_SHOWN = 5

RecordOption = Annotated[
    str | None, typer.Option("--record", help="Record type, such as flows; default: all that are scored.", show_default=False)
]
From = Annotated[
    str | None,
    typer.Option("--from", help="From this time of events on: 2026-03-01, 2026-03-01T12:00 (UTC) or 7d (ago).", show_default=False),
]
To = Annotated[str | None, typer.Option("--to", help="Up to this time, which is not in it.", show_default=False)]


def drift(
    first: From = None,
    until: To = None,
    record: RecordOption = None,
    baseline: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--baseline",
            metavar="FROM TO",
            help="Make this week the reference of what has served in it; judge nothing.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Compare what each model was served, hour by hour, with what it was trained on: features, scores, alerts, data quality.

    Looks at the last drift.hours whole hours, unless --from and --to say otherwise. Results are rows of the Delta table model_drift and a
    page (var/drift/index.html). Without --to alarms are told to the channels of the notifications, and that they are over.

    Exit code: 0 without an alarm, 10 with one.
    """
    from jobs.watching import drift as watching
    from jobs.watching import stored

    settings = config.load(conf_file)
    log.setup(settings.log)
    now = watching.utc_now()
    records = stored.scored(settings, record)
    default = watching.last_hours(settings, now)
    if baseline:
        span = between(*baseline, default, ("--baseline FROM", "--baseline TO"))
        _take(settings, records, span, now, as_json=as_json)
        return
    span = between(first, until, default)
    found: list[Watched] = []
    with _spark(settings, "flowlake-drift") as spark:
        for kind in _there(settings, spark, records):
            found += watching.run(spark, settings, kind, span, who=me(), now=now, say=say)
    page = _keep(settings, found, records, now)
    if until is None:  # what was long ago is no news
        _tell(settings, [one.name for one in records], found)
    if as_json:
        print(json.dumps([one.as_dict() for one in found], indent=1))
    else:
        for one in found:
            _show(one)
        if not found:
            print(f"nothing was scored in {span}")
        print(f"page: {page}")
    if any(one.alarms for one in found):
        raise typer.Exit(ALARMED)


drift.epilog = "Examples:  flowlake drift   |   flowlake drift --from 7d   |   flowlake drift --baseline 2026-03-01 2026-03-08"  # type: ignore[attr-defined]


def backtest(
    version: Annotated[str, typer.Argument(help="Registered version, such as 3; or champion.")],
    first: From = None,
    until: To = None,
    record: Annotated[str, typer.Option("--record", help="Record type that the model scores.")] = "flows",
    write: Annotated[
        str,
        typer.Option(
            "--write", metavar="TABLE", help="Write each verdict into a Delta table of its own: a name beside the lake, a folder or URI."
        ),
    ] = "",
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Score what lies in the lake with any registered version: the alerts it would have raised, those it would have missed, how sure it is.

    Compares with what was decided then, and with the labels of records where there are some; by day, sensor and kind of attack. Looks
    at the last seven days, unless --from and --to say otherwise. The stores stay as they are. A page is written, too (var/backtest).
    """
    from datetime import timedelta

    from jobs.watching import backtest as testing
    from jobs.watching import backtestpage, drift, stored
    from jobs.watching.span import EventSpan

    settings = config.load(conf_file)
    log.setup(settings.log)
    (kind,) = stored.scored(settings, record)
    now = drift.utc_now()
    span = between(first, until, EventSpan(now - timedelta(days=7), now))
    with _spark(settings, "flowlake-backtest") as spark:
        found = testing.run(spark, settings, kind, version, span, write=write, say=say)
    try:
        page = backtestpage.write(settings, found)
    except OSError as e:
        raise StoreError(
            f"the page cannot be kept in {testing.folder(settings)}: {e.strerror}", "set paths.var to a folder of yours"
        ) from e
    if as_json:
        print(json.dumps(found.as_dict(), indent=1))
    else:
        backtestpage.show(found)
        print(f"page: {page}")


backtest.epilog = (  # type: ignore[attr-defined]  # shown under --help
    "Examples:  flowlake models backtest 3 --from 7d   |   flowlake models backtest champion --from 2026-03-01 --to 2026-03-08 --json"
)


def say(line: str) -> None:
    """A line of progress."""
    print(printable(line), file=sys.stderr, flush=True)


class _spark:
    """The session of a command; one that was there before stays."""

    def __init__(self, settings: Settings, app: str) -> None:
        self._settings, self._app = settings, app

    def __enter__(self) -> SparkSession:
        from pyspark.sql import SparkSession

        from jobs.runtime import session

        self._own = SparkSession.getActiveSession() is None
        self._session = session.build(self._settings, self._app)
        return self._session

    def __exit__(self, *_: object) -> None:
        if self._own:
            self._session.stop()


def _there(settings: Settings, spark: SparkSession, records: list[RecordType]) -> list[RecordType]:
    """Record types whose table is there; a single one must be.

    Raises
    ------
    StoreError
        None is.
    """
    from jobs.watching.stored import ScoredTable

    found, missing = [], None
    for one in records:
        try:
            ScoredTable(spark, settings, one)
        except StoreError as e:
            if "there is no table" not in str(e):
                raise
            missing = missing or e  # the first is told
            continue
        found.append(one)
    if missing and not found:
        raise missing
    return found


def _take(settings: Settings, records: list[RecordType], span: Any, now: datetime, *, as_json: bool) -> None:
    from jobs.watching import drift as watching

    told: list[dict[str, Any]] = []
    with _spark(settings, "flowlake-drift") as spark:
        for one in _there(settings, spark, records):
            for (version, sensor), made in watching.take_baseline(spark, settings, one, span, who=me(), now=now, say=say).items():
                told.append(
                    {
                        "record": one.name,
                        "model_version": version,
                        "sensor_id": sensor,
                        "hours": len(made.parts),
                        "rows": int(made.rows.sum()),
                    }
                )
    if as_json:
        print(json.dumps(told, indent=1))
        return
    for row in told:
        print(
            printable(
                f"{row['record']}, model {row['model_version']} on {row['sensor_id'] or 'no sensor'}: {counted(row['rows'], 'row')} in "
                f"{counted(row['hours'], 'hour')} are its reference now"
            )
        )


def _tell(settings: Settings, records: list[str], found: list[Watched]) -> None:
    """Put alarms beside the alerts. A site without their database watches models all the same; that nobody is told, it is told."""
    from jobs.watching import telling

    try:
        news, over = telling.tell(settings, records, found)
    except StoreError as e:
        if any(one.alarms for one in found):
            say(f"the alarms are not told to the channels: {e}" + (f" ({e.hint})" if e.hint else ""))
        return
    for count, what in ((news, "told to the channels of flowlake notify"), (over, "over, which is told, too")):
        if count:
            say(f"{counted(count, 'alarm')} {what}")


def _keep(settings: Settings, found: list[Watched], records: list[RecordType], now: datetime) -> str:
    from jobs.watching import drift as watching
    from jobs.watching import driftpage

    try:
        watching.write_metrics(settings, found)
        return str(driftpage.write(settings, [one.name for one in records], now))
    except OSError as e:
        raise StoreError(
            f"results cannot be kept in {watching.folder(settings)}: {e.strerror}", "set paths.var to a folder of yours"
        ) from e


def _show(one: Watched) -> None:
    where = f"{one.record}, model {one.model_version} on {one.sensor_id or 'no sensor'}"
    if one.note:
        print(printable(f"{where}: {counted(one.rows, 'row')}, {one.note}"))
        return
    state = f"{counted(len(one.alarms), 'alarm')}" if one.alarms else "no alarm"
    against = "the training" if one.reference == "training" else "the week it was served"
    print(printable(f"{where}: {counted(one.rows, 'row')} in {counted(len(one.hours), 'hour')}, against {against}: {state}"))
    for hour in one.alarms[-_SHOWN:]:
        from jobs.watching import tables

        measures = ", ".join(f"{f.measure} (PSI {f.distance.psi:.2f}, limit {f.distance.limit:.2f})" for f in hour.alarms[:3] if f.distance)
        more = f" and {len(hour.alarms) - 3} more" if len(hour.alarms) > 3 else ""
        print(printable(f"  {tables.hour_time(hour.hour):%Y-%m-%d %H:00}: {hour.alarms[0].reason}: {measures}{more}"))
