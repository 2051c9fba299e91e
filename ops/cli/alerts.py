"""``flowlake alerts``: the alerts, followed live if wished, one as a page, its frames, and resolved."""

from __future__ import annotations

import json
import shutil
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from infra import config
from infra.config import Settings
from infra.console import looks, times
from infra.console.options import ConfFile, Json, me
from infra.errors import ConfigError
from infra.names import printable
from infra.plurals import counted, so_many
from jobs.sinks import ask
from ops.cli import alertlines, frames
from schemas.alerts import TABLE
from schemas.labels import ATTACKS, FORMER_KINDS, KINDS, STORM, kind_named

_SHOWN = ("timestamp", "severity", "attack_type", "src_ip", "dst_ip", "flow_count", "confidence", "last_seen", "resolved_by", "id")
_KINDS = (*KINDS[1:], STORM)  # benign is no alert
_POLL_S = 0.5
#: How much later than the next one a transaction may become visible.
_LATE = timedelta(seconds=10)
_ALL = 1_000_000

Id = Annotated[str, typer.Argument(metavar="ID", help="The alert's id, as `flowlake alerts` shows it, or its beginning.")]
By = Annotated[str, typer.Option("--by", help="Who does it; default: you.", show_default=False)]
Limit = Annotated[int, typer.Option(min=1, max=1_000_000, help="Newest alerts, so many.")]
OfKind = Annotated[
    str | None, typer.Option("--kind", help="scan, flood, brute-force, repeated, per-flow, storm, or an attack type such as SYN_FLOOD.")
]
OnlyOpen = Annotated[bool, typer.Option("--open", help="Only alerts that nobody has resolved.")]
Since = Annotated[str | None, typer.Option(help="Since: 15m, 2h, 7d, 2w, or 2026-03-01T12:00.")]
Suppressed = Annotated[bool, typer.Option("--suppressed", help="Also those that the whitelist or a maintenance window silences.")]

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    help="The alerts: a list of them, one as a page, the frames behind it, resolving.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(
    invoke_without_command=True,
    epilog="Examples:  flowlake alerts --open   |   flowlake alerts --kind flood --json   |   flowlake alerts --follow   |   "
    "flowlake alerts show 0b4c1f6e   |   flowlake alerts resolve 0b4c1f6e --by anna",
)
def look(
    context: typer.Context,
    limit: Limit = 20,
    kind: OfKind = None,
    only_open: OnlyOpen = False,
    since: Since = None,
    suppressed: Suppressed = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on and print alerts as they are raised (Ctrl-C ends it).")] = False,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """The newest alerts; one row a flood's target, a scan's source, a brute-forced or repeating pair, or else a flow."""
    if context.invoked_subcommand is None:
        _look(conf_file, limit, kind, only_open, since, follow, as_json, suppressed)


@app.command("list", epilog="Examples:  flowlake alerts list --open   |   flowlake alerts list --kind SYN_FLOOD --since 2h --json")
def list_(
    limit: Limit = 20,
    kind: OfKind = None,
    only_open: OnlyOpen = False,
    since: Since = None,
    suppressed: Suppressed = False,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """The newest alerts, as without a command."""
    _look(conf_file, limit, kind, only_open, since, False, as_json, suppressed)


@app.command("follow", epilog="Examples:  flowlake alerts follow   |   flowlake alerts follow --kind scan --json")
def follow_(
    limit: Limit = 20,
    kind: OfKind = None,
    only_open: OnlyOpen = False,
    since: Since = None,
    suppressed: Suppressed = False,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """The newest alerts, and then those that are raised, a line each (Ctrl-C ends it)."""
    _look(conf_file, limit, kind, only_open, since, True, as_json, suppressed)


def _look(
    conf_file: Path | None,
    limit: int,
    kind: str | None,
    only_open: bool,
    since: str | None,
    follow: bool,
    as_json: bool,
    suppressed: bool,
) -> None:
    settings = config.load(conf_file)
    began = ask.query(settings.alerts, "SELECT clock_timestamp() AS now")[0]["now"] if follow else None
    moment = times.since(since)
    rows = read(settings, limit=limit, kind=kind, only_open=only_open, since=moment, suppressed=suppressed)
    if not suppressed:
        _say_hidden(count(settings, kind, only_open, moment, silenced=True))
    if began is not None:
        _follow(settings, rows, began, kind, only_open, as_json, suppressed)
    else:
        if kind and not rows:
            _known(settings, kind)
        there = len(rows) if as_json or len(rows) < limit else count(settings, kind, only_open, moment, None if suppressed else False)
        title = f"{so_many(len(rows), there, 'alert')}, newest first"
        if as_json or not rows or not sys.stdout.isatty():
            looks.show(rows, (*_SHOWN, "suppressed_by") if suppressed else _SHOWN, form="json" if as_json else "table", title=title)
        else:
            short = alertlines.in_lines(rows, shutil.get_terminal_size().columns)
            looks.show(short, tuple(short[0]), form="table", title=title)
        if not rows:
            _explain(settings, looks.given(kind=kind, open=only_open, since=since), suppressed)


def _explain(settings: Settings, conditions: list[str], suppressed: bool) -> None:
    """Why the list is empty. Those that are silenced were counted before."""
    from jobs.sinks import postgres

    shown = "" if suppressed else "WHERE suppressed_by IS NULL"
    (row,) = ask.query(settings.alerts, f"SELECT count(*) AS there, max(timestamp) AS newest FROM {TABLE} {shown}")
    if not row["there"] and not suppressed and count(settings, None, False, None, silenced=True):
        return
    what = f"alerts in {postgres.where(settings.alerts)}"
    newest = f"the newest is of {looks.plain(row['newest'])}; leave out a condition, or look further back"
    looks.explain_empty(what, conditions, row["there"], looks.NO_ROWS, newest)


def _say_hidden(hidden: int) -> None:
    if hidden:
        verb = "is" if hidden == 1 else "are"
        print(f"{counted(hidden, 'suppressed alert')} {verb} not shown: --suppressed shows them too", file=sys.stderr)


@app.command(epilog="Example:  flowlake alerts show 0b4c1f6e")
def show(alert_id: Id, as_json: Json = False, conf_file: ConfFile = None) -> None:
    """An alert as a page: what, who, when, how many, why, what was done about it, and what leads on."""
    from jobs.incidents import page, people
    from ops.cli import alertpage

    settings = config.load(conf_file)
    with people.acting(settings.alerts, me()) as cursor:
        found = page.read(cursor, alert_id, people.labels_of(settings))
    if as_json:
        print(json.dumps(looks.nested(found), indent=1, default=str))
    else:
        print("\n".join(alertpage.lines(found)))


def _known(settings: Settings, kind: str) -> None:
    """A kind, a label of ours, or one that alerts have: models of one's own may have labels of their own."""
    if kind_named(kind) in (*_KINDS, *ATTACKS) or ask.query(
        settings.alerts, f"SELECT 1 AS one FROM {TABLE} WHERE attack_type = %s LIMIT 1", [kind]
    ):
        return
    raise ConfigError(
        f"--kind {kind!r} is no kind of alert, and no alert is of that type", f"kinds: {', '.join(_KINDS)}, {', '.join(ATTACKS)}"
    )


@app.command(epilog="Examples:  flowlake alerts pcap 0b4c1f6e --out x.pcap   |   flowlake alerts pcap 0b4c1f6e --out - | tshark -r -")
def pcap(
    alert_id: Id,
    out: frames.Out,
    limit: frames.Limit = 100_000,
    force: frames.Force = False,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """The frames of an alert's flows as a capture file, while the topic raw-packets still holds them; says what it no longer does."""
    from jobs.incidents import page, people

    settings = config.load(conf_file)
    with people.acting(settings.alerts, me()) as cursor:
        row = page.alert(cursor, alert_id)
    frames.write(settings, f"alert {row['id']}", [row], out, limit, force=force, as_json=as_json)


@app.command(epilog="Example:  flowlake alerts resolve 0b4c1f6e --by anna --action 'blocked at the border'")
def resolve(
    alert_id: Id,
    by: By = "",
    action: Annotated[str | None, typer.Option(help="What was done; goes into action_taken.", show_default=False)] = None,
    conf_file: ConfFile = None,
) -> None:
    """Mark an alert as resolved; whoever resolves it second is told who was first."""
    from jobs.incidents import page, people

    who = by or me()
    with people.acting(config.load(conf_file).alerts, who) as cursor:
        row = page.resolve(cursor, alert_id, who, action)
        left = page.left_open(cursor, row["id"])
    print(f"{row['id']}  {looks.word(row['attack_type'])}  resolved by {row['resolved_by']} at {looks.plain(row['resolved_at'])}")
    if left is not None:
        short = left["id"][:8]
        print(f"it was the last open alert of incident {short}, which is still {looks.word(left['status'])}: {looks.word(left['title'])}")
        print(f"to close it: flowlake incidents resolve {short} --why 'what was done'")


def read(
    settings: Settings,
    *,
    limit: int,
    kind: str | None = None,
    only_open: bool = False,
    since: datetime | None = None,
    created_since: datetime | None = None,
    suppressed: bool = False,
) -> list[dict[str, Any]]:
    """Newest alerts first; with ``suppressed`` also those that are silenced.

    Raises
    ------
    ConfigError
        ``kind`` is neither a kind nor an attack type in capitals.
    StoreError
        The database cannot be reached, or holds no alerts table yet.
    """
    where, values = _conditions(kind, only_open, since, created_since)
    if not suppressed:
        where.append("suppressed_by IS NULL")
    order = "created_at" if created_since else "timestamp"
    sql = (
        "SELECT id::text, timestamp, host(src_ip) AS src_ip, host(dst_ip) AS dst_ip, attack_type, kind, severity, confidence, "
        "flow_count, first_seen, last_seen, action_taken, details, resolved_at, resolved_by, suppressed_by, suppressed_at, "
        "incident_id::text, domain, sensor_id, model_version, created_at, updated_at "
        f"FROM {TABLE} WHERE {' AND '.join(where)} ORDER BY {order} DESC, id LIMIT %s"
    )
    rows = ask.query(settings.alerts, sql, [*values, limit])
    return [{**row, "kind": kind_named(row["kind"])} for row in rows]


def count(settings: Settings, kind: str | None, only_open: bool, since: datetime | None, silenced: bool | None) -> int:
    """Alerts that there are: those that are silenced, those that are not, or all (None)."""
    where, values = _conditions(kind, only_open, since, None)
    if silenced is not None:
        where.append(f"suppressed_by IS {'NOT ' if silenced else ''}NULL")
    return int(ask.query(settings.alerts, f"SELECT count(*) AS there FROM {TABLE} WHERE {' AND '.join(where)}", values)[0]["there"])


def _conditions(kind: str | None, only_open: bool, since: datetime | None, created_since: datetime | None) -> tuple[list[str], list[Any]]:
    where, values = ["true"], list[Any]()
    if kind:
        of_kind = kind_named(kind) in _KINDS
        where.append("kind = ANY(%s)" if of_kind else "attack_type = %s")
        values.append(_spellings(kind_named(kind)) if of_kind else kind)
        if not of_kind and kind in map(str.lower, ATTACKS):
            raise ConfigError(f"--kind {kind!r}: attack types are written in capitals", f"--kind {kind.upper()}")
    if only_open:
        where.append("resolved_at IS NULL")
    for column, moment, sign in (("timestamp", since, ">="), ("created_at", created_since, ">")):
        if moment:
            where.append(f"{column} {sign} %s")
            values.append(moment)
    return where, values


def _spellings(kind: str) -> list[str]:
    """What rows of a kind may say: until the query ``alerts`` of this version has run, the database holds former names."""
    return [kind, *(former for former, now in FORMER_KINDS.items() if now == kind)]


def _follow(
    settings: Settings, rows: list[dict[str, Any]], began: datetime, kind: str | None, only_open: bool, as_json: bool, suppressed: bool
) -> None:
    """Print the rows, then those raised since ``began`` (the database's clock): a line each.

    Ids are remembered for a while: a transaction may become visible after a later one.
    """
    seen: dict[str, datetime] = {}
    newest = began
    while True:
        for row in sorted((row for row in rows if row["id"] not in seen), key=lambda row: row["created_at"]):
            seen[row["id"]] = row["created_at"]
            newest = max(newest, row["created_at"])
            print(_line(row, as_json), flush=True)
        time.sleep(_POLL_S)
        after = newest - _LATE
        seen = {key: created for key, created in seen.items() if created >= after}
        rows = read(settings, limit=_ALL, kind=kind, only_open=only_open, created_since=after, suppressed=suppressed)


def _line(row: dict[str, Any], as_json: bool) -> str:
    if as_json:
        return json.dumps({name: looks.plain(value) for name, value in row.items()}, default=str)
    return printable(
        f"{looks.plain(row['timestamp'])}  severity {row['severity']}  {row['attack_type']:<16} {alertlines.ends(row):<33}  "
        f"flows {row['flow_count']}  confidence {row['confidence']:.2f}  {row['id']}"
    )
