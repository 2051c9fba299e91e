"""``flowlake incidents``: the stories that alerts tell, taken, noted, closed, merged and split."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from infra import config
from infra.config import Settings
from infra.console import looks, times
from infra.console.options import ConfFile, Json, group, me
from infra.errors import ConfigError
from infra.names import printable, visible
from infra.plurals import counted, so_many
from ops.cli import alertlines, frames, lines
from schemas.incidents import ACTIONS, STATUSES, UNDONE
from schemas.packets import FLOWS
from schemas.windowrecords import WINDOW_TYPES

app = group("Incidents: alerts that belong together, as few stories.", "flowlake incidents list --open")
_SHOWN = ("id", "priority", "status", "title", "alerts", "flows", "first_seen", "last_seen", "assigned_to")
_ALERTS = ("first_seen", "severity", "attack_type", "src_ip", "dst_ip", "flow_count", "confidence", "resolved_by", "id")

Id = Annotated[str, typer.Argument(metavar="ID", help="The incident's id, one that it had, or the beginning of one.")]
By = Annotated[str, typer.Option("--by", help="Who does it; default: you.", show_default=False)]


@app.callback()
def _group() -> None:
    """Incidents: alerts that belong together, as few stories."""


@app.command("list", epilog="Examples:  flowlake incidents list --open   |   flowlake incidents list --status RESOLVED --since 7d --json")
def list_(
    undone: Annotated[bool, typer.Option("--open", help="Only those that nobody has closed.")] = False,
    status: Annotated[str | None, typer.Option(help=f"One of: {', '.join(STATUSES)}.", show_default=False)] = None,
    assigned: Annotated[str | None, typer.Option("--assigned", help="Only those of this person.", show_default=False)] = None,
    since: Annotated[str | None, typer.Option(help="Seen since: 15m, 2h, 7d, 2w, or 2026-03-01T12:00.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="So many.")] = 20,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Incidents, the most urgent first, those that are closed behind."""
    from jobs.incidents import people

    if status is not None and status.upper() not in STATUSES:
        raise ConfigError(f"--status {status!r}", f"one of: {', '.join(STATUSES)}")
    settings = config.load(conf_file)
    with people.acting(settings.alerts, me()) as cursor:
        rows, there = people.listed(
            cursor, undone=undone, status=status and status.upper(), assigned=assigned, since=times.since(since), limit=limit
        )
        others = 0 if rows else people.count(cursor)
    shown = [{**row, **{name: row["metadata"].get(name, 0) for name in ("alerts", "flows")}} for row in rows]
    title = f"{so_many(len(rows), there, 'incident')}, the most urgent first"
    if as_json or not sys.stdout.isatty():
        looks.show(shown, _SHOWN, form="json" if as_json else "table", title=title)
    else:
        short = in_lines(shown, shutil.get_terminal_size().columns)
        looks.show(short, tuple(short[0]) if short else _SHOWN, form="table", title=title)
    if not rows:
        conditions = looks.given(open=undone, status=status, assigned=assigned, since=since)
        looks.explain_empty(
            "incidents", conditions, others, "an alert makes one; flowlake alerts list shows the alerts, also those without"
        )


def in_lines(rows: Sequence[Mapping[str, Any]], width: int) -> list[dict[str, Any]]:
    """Incidents, one line each, with the beginning of the id, and of the title what fits.

    Parameters
    ----------
    rows
        At least columns id, priority, status, title, alerts, flows, last_seen and assigned_to.
    width
        Columns of the terminal.
    """
    told = lines.differing(rows, {"status": "OPEN", "assigned_to": None})
    found = [
        {
            "id": row["id"][:8],
            "priority": row["priority"],
            **{name: looks.word(row[name] or "", 16) for name in told},
            "alerts": row["alerts"],
            "flows": row["flows"],
            "last_seen": lines.minute(row["last_seen"]),
        }
        for row in rows
    ]
    return lines.in_lines(found, [row["title"] for row in rows], width, "title")


@app.command(epilog="Example:  flowlake incidents show 0b4c1f6e")
def show(incident: Id, as_json: Json = False, conf_file: ConfFile = None) -> None:
    """An incident as a page: what happened, its alerts, its notes, and what was done about it."""
    from jobs.incidents import people
    from jobs.sinks import grants

    settings = config.load(conf_file)
    with people.acting(settings.alerts, me()) as cursor:
        found = people.find(cursor, incident)
        alerts = people.alerts_of(cursor, found["id"])
        notes = people.notes_of(cursor, found["id"])
        done = people.history(cursor, found["id"]) if grants.may_read(cursor, ACTIONS) else None
    if notes is None or done is None:
        unread = " and ".join(name for name, rows in (("its notes", notes), ("its history", done)) if rows is None)
        print(f"{unread}: not for {settings.alerts.user} to read; ask for the role flowlake_responder", file=sys.stderr)
    if as_json:
        print(json.dumps(looks.nested({**found, "alerts": alerts, "notes": notes, "history": done}), indent=1, default=str))
        return
    print(visible("\n".join(_page(found, len(alerts)))))
    title = f"{counted(len(alerts), 'alert')}, in the order of time"
    if sys.stdout.isatty():
        short = alertlines.in_lines(alerts, shutil.get_terminal_size().columns, "first_seen")
        looks.show(short, tuple(short[0]) if short else _ALERTS, form="table", title=title)
    else:
        looks.show(alerts, _ALERTS, form="table", title=title)
    said = [visible(f"{looks.plain(n['at'])}  {n['author']}: {n['note']}") for n in notes or []]
    acts = [printable(f"{looks.plain(d['timestamp'])}  {d['user_id']}: {d['what']}") for d in done or []]
    for title, rows in (("notes", said), ("history", acts), ("next", commands(found, alerts))):
        if rows:
            print(f"\n{title}")
            print("\n".join(f"  {row}" for row in rows))


def commands(incident: Mapping[str, Any], alerts: Sequence[Mapping[str, Any]]) -> list[str]:
    """What leads on from an incident with its alerts."""
    short = incident["id"][:8]
    found = [f"flowlake alerts show {alerts[0]['id'][:8]}"] if alerts else []
    if any(alert["record_type"] == FLOWS.name for alert in alerts):
        found += [f"flowlake flows --incident {short}", f"flowlake incidents pcap {short} --out {short}.pcap"]
    if any(alert["record_type"] in WINDOW_TYPES for alert in alerts):
        found.append(f"flowlake windows show --incident {short}")
    if incident["status"] not in UNDONE:
        return [*found, f"flowlake incidents reopen {short}"]
    return [
        *found,
        *([] if incident["assigned_to"] else [f"flowlake incidents assign {short} --to NAME"]),
        f"flowlake incidents note {short} 'what was found'",
        f"flowlake incidents resolve {short} --why 'what was done'",
        f"flowlake incidents false-positive {short} --why 'what it was'",
    ]


def _page(found: dict[str, Any], alerts: int) -> list[str]:
    about = found["metadata"]
    span = f"{looks.plain(found['first_seen'])} to {looks.plain(found['last_seen'])}"
    lines = [
        looks.word(found["title"], 300),
        f"{found['priority']}  {found['status']}  assigned to {found['assigned_to'] or 'nobody'}",
        f"{found['id']}  {span}  {counted(alerts, 'alert')}, {counted(about.get('flows', 0), 'flow')}",
        "",
        found["description"],
    ]
    if about.get("techniques"):
        lines.append(f"MITRE ATT&CK: {', '.join(about['techniques'])}")
    for name, words in (("follows", "follows the closed incident"), ("split_from", "taken out of")):
        lines += [f"{words} {one}" for one in about.get(name, [])]
    if found["closed_by"]:
        lines.append(f"closed by {found['closed_by']} at {looks.plain(found['closed_at'])}")
    return [*lines, ""]


@app.command(epilog="Example:  flowlake incidents pcap 0b4c1f6e --out story.pcap")
def pcap(
    incident: Id,
    out: frames.Out,
    limit: frames.Limit = 100_000,
    force: frames.Force = False,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """The frames of the flows behind all alerts of an incident, while the topic raw-packets still holds them."""
    from jobs.incidents import people

    settings = config.load(conf_file)
    with people.acting(settings.alerts, me()) as cursor:
        found = people.find(cursor, incident)
        alerts = people.alerts_of(cursor, found["id"])
    frames.write(settings, f"incident {found['id']}", alerts, out, limit, force=force, as_json=as_json)


@app.command(epilog="Example:  flowlake incidents assign 0b4c1f6e --to anna")
def assign(
    incident: Id,
    to: Annotated[str, typer.Option("--to", help="Who takes it; empty: nobody.")],
    by: By = "",
    conf_file: ConfFile = None,
) -> None:
    """Give an incident to somebody; it is being investigated then. One that is closed is to be opened again first."""
    from jobs.incidents import people

    with people.acting(config.load(conf_file).alerts, by or me()) as cursor:
        _say(people.assign(cursor, incident, to))


@app.command(epilog="Example:  flowlake incidents note 0b4c1f6e 'the host is back from repair'")
def note(
    incident: Id,
    words: Annotated[str, typer.Argument(metavar="TEXT", help="What there is to say.")],
    by: By = "",
    conf_file: ConfFile = None,
) -> None:
    """Write something down."""
    from jobs.incidents import people

    who = by or me()
    with people.acting(config.load(conf_file).alerts, who) as cursor:
        _say(people.note(cursor, incident, who, words))


@app.command(
    epilog="Examples:  flowlake incidents resolve 0b4c1f6e --by anna --why 'account locked, host cleaned'   |   "
    "flowlake incidents resolve 0b4c1f6e --confirmed --why 'found the tool on the host'"
)
def resolve(
    incident: Id,
    by: By = "",
    why: Annotated[str, typer.Option("--why", "--note", help="What was found and done; becomes a note.")] = "",
    confirmed: Annotated[
        bool, typer.Option("--confirmed", help="It was an attack: its flows are labelled so, for the next training (table labels).")
    ] = False,
    attack_type: Annotated[str, typer.Option("--attack-type", help="With --confirmed: what it was, where its alerts are wrong.")] = "",
    conf_file: ConfFile = None,
) -> None:
    """Close an incident, and its alerts with it. With --confirmed its flows become labels, with who and when."""
    from jobs.incidents import people, verdicts

    if attack_type and not confirmed:
        raise ConfigError(f"--attack-type {attack_type!r} without --confirmed", "say --confirmed, too: only then flows are labelled")
    settings: Settings = config.load(conf_file)
    who = by or me()
    with people.acting(settings.alerts, who) as cursor:
        done = people.close(cursor, incident, who, "RESOLVED", why)
        # Within the transaction, as of a false positive.
        labelled = verdicts.confirmed(settings, people.alerts_of(cursor, done["id"]), who, why, attack_type) if confirmed else 0
    _say(done)
    if confirmed:
        print(f"labelled as an attack: {counted(labelled, 'flow')}")


@app.command("false-positive", epilog="Example:  flowlake incidents false-positive 0b4c1f6e --by anna --why 'our own scanner'")
def false_positive(
    incident: Id,
    by: By = "",
    why: Annotated[str, typer.Option("--why", "--note", help="What it was; becomes a note, and goes with the labels.")] = "",
    conf_file: ConfFile = None,
) -> None:
    """Close an incident that was none; its flows are labelled benign, for the next training (table labels of the lake)."""
    from jobs.incidents import people, verdicts

    settings: Settings = config.load(conf_file)
    who = by or me()
    with people.acting(settings.alerts, who) as cursor:
        done = people.close(cursor, incident, who, "FALSE_POSITIVE", why)
        alerts = people.alerts_of(cursor, done["id"])
        # Within the transaction: where the labels cannot be kept, the incident is not closed either.
        labelled = verdicts.benign(settings, alerts, who, why)
    _say(done)
    print(f"labelled benign: {counted(labelled, 'flow')}")


@app.command(epilog="Example:  flowlake incidents reopen 0b4c1f6e --by anna")
def reopen(incident: Id, by: By = "", conf_file: ConfFile = None) -> None:
    """Open a closed incident again; its alerts stay as they are."""
    from jobs.incidents import people

    with people.acting(config.load(conf_file).alerts, by or me()) as cursor:
        before = people.find(cursor, incident)
        _say(people.reopen(cursor, incident))
    if before["status"] == "FALSE_POSITIVE":
        print("its flows stay labelled benign for the next training; the last word counts: flowlake lake label import", file=sys.stderr)


@app.command(epilog="Example:  flowlake incidents merge 0b4c1f6e 77aa01d2 --by anna")
def merge(
    incidents: Annotated[list[str], typer.Argument(metavar="ID", help="Two or more; they become the first.")],
    by: By = "",
    conf_file: ConfFile = None,
) -> None:
    """Put incidents together; the ids of the others lead to the first."""
    from jobs.incidents import people

    settings = config.load(conf_file)
    with people.acting(settings.alerts, by or me()) as cursor:
        _say(people.merge(cursor, incidents, people.labels_of(settings)))


@app.command(epilog="Example:  flowlake incidents split 9f1c6c1e-3f1c-5d2e-9a53-d5a3a9a0c7de --by anna")
def split(
    alerts: Annotated[
        list[str], typer.Argument(metavar="ALERT", help="Ids of alerts, as `flowlake incidents show` lists them, or their beginnings.")
    ],
    by: By = "",
    conf_file: ConfFile = None,
) -> None:
    """Take alerts out of their incidents, into one of their own; the rule leaves them there."""
    from jobs.incidents import people

    settings = config.load(conf_file)
    with people.acting(settings.alerts, by or me()) as cursor:
        _say(people.split(cursor, alerts, people.labels_of(settings)))


@app.command(epilog="Example:  flowlake incidents edit 0b4c1f6e --title 'Penetration test of March' --priority LOW")
def edit(
    incident: Id,
    title: Annotated[str, typer.Option("--title", help="What it is to be called.")] = "",
    priority: Annotated[str, typer.Option("--priority", help="LOW, MEDIUM, HIGH or CRITICAL.")] = "",
    by: By = "",
    conf_file: ConfFile = None,
) -> None:
    """Call an incident something else, or think it more or less urgent."""
    from jobs.incidents import people

    who = by or me()
    with people.acting(config.load(conf_file).alerts, who) as cursor:
        _say(people.edit(cursor, incident, who, title=title, priority=priority))


def _say(row: dict[str, Any]) -> None:
    to = f", assigned to {row['assigned_to']}" if row["assigned_to"] else ""
    print(printable(f"{row['id']}  {row['priority']}  {row['status']}{to}  {row['title']}"))
