"""What the commands ``whitelist`` and ``maintenance`` share: options, conditions as people give them, what is said of an entry."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, cast
from zoneinfo import ZoneInfo

import typer

from infra import config, durations
from infra.config import Settings
from infra.console import looks, times
from infra.console.options import me
from infra.errors import ConfigError, one_line
from infra.names import printable
from infra.networks import network
from infra.plurals import counted
from schemas.labels import ATTACKS, KINDS, kind_named
from schemas.suppression import DIRECTIONS, REPEATS, Direction, Repeat, Sort

if TYPE_CHECKING:
    from jobs.suppression.entries import NewEntry

_SHOWN = ("id", "what", "state", "since", "until", "hits", "last_hit", "by", "why")

Address = Annotated[str | None, typer.Argument(metavar="ADDRESS", help="Address or network, IPv4 or IPv6; none: any.", show_default=False)]
Number = Annotated[int, typer.Argument(metavar="NUMBER", min=1, max=2**63 - 1, help="The first column of `list`.")]
Why = Annotated[str, typer.Option("--why", help="Why; it is kept.")]
MaybeWhy = Annotated[str, typer.Option("--why", help="Why; it is kept.", show_default=False)]
By = Annotated[str, typer.Option("--by", help="Who does it; default: you.", show_default=False)]
Side = Annotated[str, typer.Option("--direction", help="What the address is of an alert: source, target or either.")]
AlertKind = Annotated[
    str | None,
    typer.Option("--kind", help="scan, flood, brute-force, repeated, per-flow, or an attack type such as SYN_SCAN.", show_default=False),
]
Port = Annotated[str | None, typer.Option("--port", help="Destination port, or a range: 8000-8100.", show_default=False)]
Sensor = Annotated[str | None, typer.Option("--sensor", help="Only alerts of this sensor.", show_default=False)]
Domain = Annotated[str | None, typer.Option("--domain", help="Only alerts of this observation domain.", show_default=False)]
For = Annotated[str | None, typer.Option("--for", help="For so long: 15m, 2h, 1h30m, 7d, 2w.", show_default=False)]
Until = Annotated[
    str | None, typer.Option("--until", help="Until: 2026-03-01T12:00 (UTC unless it says otherwise), or +2h.", show_default=False)
]
AlsoOpen = Annotated[bool, typer.Option("--also-open", help="Silence open alerts too that have been told and that it fits.")]
Everything = Annotated[bool, typer.Option("--yes-everything", help="Silence nearly everything; it must end soon.")]
Tell = Annotated[bool, typer.Option("--tell", help="Tell after all what it has silenced.")]


def conditions_of(
    settings: Settings, address: str | None, kind: str | None, port: str | None, direction: str, sensor: str | None, domain: str | None,
    option: str = "--direction",
) -> dict[str, Any]:  # fmt: skip
    """What an entry states, of the options."""
    if direction not in DIRECTIONS:
        raise ConfigError(f"{option} {one_line(direction, 60)!r}", f"one of: {', '.join(DIRECTIONS)}")
    if address is None and direction != "either":
        raise ConfigError(f"{option} {direction} without an address", "say the address or network first")
    low, high = _ports(port)
    of_kind, attack_type = _kind(settings, kind)
    for name, value in (("--sensor", sensor), ("--domain", domain)):
        if value is not None and not (value.strip() and value.isprintable()):
            raise ConfigError(f"{name} {one_line(value, 60)!r} is no name", "leave it out to mean any")
    return {
        "network": network(address) if address is not None else None, "direction": cast(Direction, direction), "kind": of_kind,
        "attack_type": attack_type, "port_low": low, "port_high": high, "sensor_id": sensor, "domain": domain,
    }  # fmt: skip


def _ports(text: str | None) -> tuple[int | None, int | None]:
    if text is None:
        return None, None
    first, dash, last = text.strip().partition("-")
    ends = [first.strip(), last.strip() if dash else first.strip()]
    if not all(end.isascii() and end.isdigit() and int(end[:6]) <= 65535 for end in ends):
        raise ConfigError(f"--port {one_line(text, 60)!r} is no port", "0 to 65535, or a range: 8000-8100")
    low, high = map(int, ends)
    if low > high:
        raise ConfigError(f"--port {one_line(text, 60)!r} is reversed", f"--port {high}-{low}")
    return low, high


def _kind(settings: Settings, given: str | None) -> tuple[str | None, str | None]:
    """A kind, or an attack type that some source knows or some alert has."""
    from jobs.incidents import people
    from jobs.sinks import ask
    from schemas.alerts import TABLE

    if given is None:
        return None, None
    kinds = KINDS[1:]  # benign is no alert
    if kind_named(given) in kinds:
        return kind_named(given), None
    known = people.labels_of(settings)
    if given in known and known[given].kind != "benign":
        return None, given
    if given.upper() in known and known[given.upper()].kind != "benign":
        raise ConfigError(f"--kind {one_line(given, 60)!r}: attack types are written in capitals", f"--kind {given.upper()}")
    if "\0" not in given and ask.query(settings.alerts, f"SELECT 1 AS one FROM {TABLE} WHERE attack_type = %s LIMIT 1", [given]):
        return None, given
    raise ConfigError(
        f"--kind {one_line(given, 60)!r} is no kind of alert, and no alert is of that type",
        f"kinds: {', '.join(kinds)}, {', '.join(ATTACKS)}",
    )


def end_of(lasts: str | None, until: str | None, start: datetime, now: datetime) -> datetime | None:
    """When it ends; None: when it is removed."""
    if lasts and until:
        raise ConfigError("--for and --until are both given", "say one of them")
    end = start + durations.span(lasts, "--for") if lasts else times.moment(until, "--until", now) if until else None
    if end is not None and end <= start:
        begins = "the past" if start == now else f"before it begins ({looks.plain(start)})"
        raise ConfigError(f"--until {until}: that is {'in ' if start == now else ''}{begins}", "give a later time, or --for 2h")
    return end


def window(start: str, lasts: str | None, until: str | None, every: str | None, last: str | None, timezone: str) -> dict[str, Any]:
    """Times of a maintenance window, of the options."""
    try:
        zone = ZoneInfo(timezone)
    except (ValueError, OSError, LookupError) as e:
        raise ConfigError(f"--timezone {one_line(timezone, 60)!r} is no time zone", "such as UTC or Europe/Zurich") from e
    now = datetime.now(UTC)
    begins = times.moment(start, "--from", now, zone)
    ends = end_of(lasts, until and looks.plain(times.moment(until, "--until", now, zone)), begins, now)
    if ends is None:
        raise ConfigError("a maintenance window has an end", "--for 2h, or --until 2026-03-01T12:00")
    every = _repeat(every)
    if every and ends - begins > timedelta(days=1 if every == "day" else 7):
        raise ConfigError(f"a window of {ends - begins} cannot come again every {every}", "it must be shorter than that")
    if last and not every:
        raise ConfigError("--repeat-until without --every", "say --every day or --every week")
    stops = times.moment(last, "--repeat-until", now, zone) if last else None
    if stops is not None and stops <= begins:
        raise ConfigError(f"--repeat-until {last} is before it begins ({looks.plain(begins)})", "give a later time")
    return {"starts_at": begins, "ends_at": ends, "repeats": every, "repeats_until": stops, "timezone": timezone}


def _repeat(every: str | None) -> Repeat:
    """``day`` or ``week``, or as long a time: ``1d``, ``24h``, ``7d``, ``1w``."""
    given = (every or "").strip().lower()
    known: dict[float | None, Repeat] = {86_400.0: "day", 604_800.0: "week"}
    found = given if given in REPEATS else known.get(durations.read(given))
    if found is None or (every is not None and not given):
        raise ConfigError(f"--every {one_line(every or '', 60)!r} is neither a day nor a week", f"one of: {', '.join(REPEATS[1:])}, 1d, 1w")
    return cast(Repeat, found)


def add(
    settings: Settings, sort: Sort, why: str, by: str, columns: Mapping[str, Any], also_open: bool, everything: bool, as_json: bool
) -> None:
    """Make an entry, and say what it does."""
    from jobs.incidents import people
    from jobs.suppression import conditions, entries

    who = by or me()
    acting = entries.Acting(settings.alerts, people.labels_of(settings))
    new: NewEntry = entries.NewEntry(sort, why, **columns)
    with people.acting(settings.alerts, who) as cursor:
        row, (fitting, raised) = entries.add(cursor, new, who, acting, everything=everything)
        silenced = entries.silence_told(cursor, row, who, acting) if also_open else []
        left = 0 if also_open else len(conditions.matching(cursor, row["id"]))
        row = entries.find(cursor, row["id"], sort)
    numbers = {"alerts_last_7_days": raised, "of_these_it_fits": fitting, "silenced": len(silenced), "open_and_told": left}
    if as_json:
        print(json.dumps({**_plain(row), **numbers}, indent=1))
        return
    print(
        f"{row['id']}  {_what(row)}  until {_until(row) or 'it is removed'}  by {printable(row['created_by'])}: {printable(row['reason'])}"
    )
    if row["state"] == "over":
        print("it is over already: only what happened within it and comes late is silenced")
    print(f"what it states fits {fitting:,} of {counted(raised, 'alert')} of the last {entries.MEASURED_DAYS} days")
    if silenced:
        print(f"silenced: {counted(len(silenced), 'open alert')}")
    elif left:
        have, them = ("has", "it") if left == 1 else ("have", "them")
        print(f"{counted(left, 'open alert')} that it fits {have} been told: flowlake {sort} apply {row['id']} silences {them} too")


def apply(sort: Sort, number: int, by: str, conf_file: Any) -> None:
    """Silence what has been told."""
    from jobs.incidents import people
    from jobs.suppression import entries

    settings, who = config.load(conf_file), by or me()
    with people.acting(settings.alerts, who) as cursor:
        entry = entries.find(cursor, number, sort)
        ids = entries.silence_told(cursor, entry, who, entries.Acting(settings.alerts, people.labels_of(settings)))
    print(f"silenced by {number}: {counted(len(ids), 'open alert')}")


def end_entry(sort: Sort, number: int, why: str, by: str, tell: bool, as_json: bool, conf_file: Any) -> None:
    """End an entry, and say what becomes of what it silenced."""
    from jobs.incidents import people
    from jobs.suppression import entries

    settings, who = config.load(conf_file), by or me()
    with people.acting(settings.alerts, who) as cursor:
        row, told = entries.end(cursor, number, sort, who, why, entries.Acting(settings.alerts, people.labels_of(settings)), tell=tell)
    if as_json:
        print(json.dumps({**_plain(row), "told": told}, indent=1))
        return
    rest = f"told after all: {counted(told, 'alert')}" if tell else f"what it silenced stays so: {counted(row['hits'], 'alert')}"
    print(f"{number}  {_what(row)}  ended by {printable(row['ended_by'])}; {rest}")


def show_list(sort: Sort, ended: bool, as_json: bool, conf_file: Any) -> None:
    """Show the entries of a sort."""
    from jobs.incidents import people
    from jobs.suppression import entries

    with people.acting(config.load(conf_file).alerts, me()) as cursor:
        rows = entries.listed(cursor, sort, ended=ended)
        others = 0 if rows or ended else len(entries.listed(cursor, sort, ended=True))
    what = ("whitelist entry", "whitelist entries") if sort == "whitelist" else ("maintenance window", "maintenance windows")
    show(rows, as_json, f"{counted(len(rows), *what)}, the newest first")
    if not rows:
        leads = f"flowlake {sort} list --all shows those that are over"
        looks.explain_empty(what[1], ["what holds or is to come"], others, f"flowlake {sort} add makes one; its --help has examples", leads)


def show(rows: Sequence[Mapping[str, Any]], as_json: bool, title: str, more: Sequence[str] = ()) -> None:
    """Show entries; ``more``: further columns, behind what they state."""
    if as_json:
        print(json.dumps([_plain(row) for row in rows], indent=1))
        return
    shown = [
        {**row, "what": _what(row), "since": row["next_start"], "until": _until(row), "by": row["created_by"], "why": row["reason"]}
        for row in rows
    ]
    looks.show(shown, (*_SHOWN[:2], *more, *_SHOWN[2:]), form="table", title=title)


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: looks.plain(value) for name, value in row.items()}


def _what(row: Mapping[str, Any]) -> str:
    """The condition in words."""
    parts = []
    if row["network"]:
        whole = "/32" if ":" not in row["network"] else "/128"
        parts.append(f"{'' if row['direction'] == 'either' else row['direction'] + ' '}{row['network'].removesuffix(whole)}")
    parts += [f"{name} {row[column]}" for name, column in (("kind", "kind"), ("type", "attack_type"), ("sensor", "sensor_id"),
                                                           ("domain", "domain")) if row[column]]  # fmt: skip
    if row["port_low"] is not None:
        parts.append(f"port {_range(row)}")
    if row["repeats"]:
        until = f" until {looks.plain(row['repeats_until'])}" if row["repeats_until"] else ""
        parts.append(f"every {row['repeats']}{until} ({row['timezone']})")
    return printable(", ".join(parts) or "everything")


def asks(row: Mapping[str, Any], about: Mapping[str, Any], side: str) -> list[str]:
    """What an entry asks of an alert beyond what is known of it: ``port is 22``, ``the host is its source``.

    Parameters
    ----------
    row
        The entry, which fits as far as is known.
    about
        ``kind``, ``attack_type``, ``port``: null where they are not known.
    side
        What the host is of the alert: source, target or either.
    """
    found = []
    if row["network"] and side == "either" and row["direction"] != "either":
        found.append(f"it is the {row['direction']}")
    if row["attack_type"] and not about["attack_type"]:
        found.append(f"type is {row['attack_type']}")
    if row["kind"] and not about["kind"]:
        found.append(f"kind is {row['kind']}")
    if row["port_low"] is not None and about["port"] is None:
        found.append(f"port is {_range(row)}")
    found += [f"{name} is {row[column]}" for name, column in (("sensor", "sensor_id"), ("domain", "domain")) if row[column]]
    return [printable(one) for one in found]


def _range(row: Mapping[str, Any]) -> str:
    return f"{row['port_low']}" + (f"-{row['port_high']}" if row["port_high"] != row["port_low"] else "")


def _until(row: Mapping[str, Any]) -> str:
    """When it ends; of a window that comes again, the occurrence that is, or is the next."""
    end = row["ended_at"] or row["next_end"]
    return looks.plain(end) if end else ""
