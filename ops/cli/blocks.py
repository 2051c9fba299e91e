"""``flowlake block``, ``unblock``, ``blocks`` and ``respond``: addresses that are cut off, for a time."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

import typer

from infra import config, durations
from infra.config import Settings
from infra.console import looks
from infra.console.options import ConfFile, Json, group, me
from infra.errors import ConfigError
from infra.names import printable
from infra.networks import Network
from infra.plurals import counted

app = group("Blocks of addresses: what holds, what was, and whether it is so.", "flowlake blocks list")
_SHOWN = ("address", "state", "left", "blocked_until", "asked_by", "why", "responder", "error", "alert_id", "incident_id")
_HISTORY = ("asked_at", "address", "state", "blocked_until", "asked_by", "why", "responder", "lifted_by", "error", "id")
#: Addresses that are named of those that an alert is about.
_NAMED = 5
#: `flowlake blocks sync --check` found a difference.
EXIT_DIFFERS = 10

By = Annotated[str, typer.Option("--by", help="Who does it; default: you.", show_default=False)]
Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="An address, or a network as 203.0.113.0/24; IPv4 or IPv6.")]


@app.callback()
def _group() -> None:
    """Blocks of addresses: what holds, what was, and whether it is so."""


def block(
    address: Address,
    duration: Annotated[
        str | None, typer.Option("--for", help="How long: 90s, 15m, 2h, 1h30m, 7d, 2w.", show_default="response.for_s")
    ] = None,
    why: Annotated[str, typer.Option("--why", help="The reason; stands in the list and in the audit.")] = "",
    alert: Annotated[str | None, typer.Option("--alert", help="The alert that it is about; says BLOCKED then.", metavar="ID")] = None,
    incident: Annotated[str | None, typer.Option("--incident", help="The incident that it is about.", metavar="ID")] = None,
    by: By = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, whomever it cuts off. What is protected stays so.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Though the alert or incident is not about the address.")] = False,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Block an address or a network for a time; it comes back by itself. Says first what the address was part of lately.

    Who is blocked already gets the longer of both times. The dry run is the default: response.responder says who really blocks.

    Example:  flowlake block 203.0.113.7 --for 2h --why 'guesses passwords' --incident 0b4c1f6e
    """
    from jobs.incidents import people
    from jobs.response import acts, addresses, book
    from jobs.response.machine import surroundings

    settings = config.load(conf_file)
    network = addresses.target(address)
    who = people.text(by or me(), "--by", people.MAX_NAME)
    reason = people.text(why, "--why", 1000) if why.strip() else ""
    seconds = durations.seconds(duration, "--for") if duration is not None else settings.response.for_s
    alert_id = incident_id = None
    if alert is not None or incident is not None:
        with people.acting(settings.alerts, who) as cursor:
            alert_id = book.alert_named(cursor, alert) if alert is not None else None
            incident_id = UUID(people.find(cursor, incident)["id"]) if incident is not None else None
            if alert_id is not None and not force:
                _about(network, "alert", alert_id, book.concerned(cursor, alert_id, None))
            if incident_id is not None and not force:
                _about(network, "incident", incident_id, book.concerned(cursor, None, incident_id))
    around = surroundings(settings)
    if around.unresolved:
        print(f"not protected, since it has no address now: {', '.join(map(printable, around.unresolved))}", file=sys.stderr)

    def confirm(reasons: list[str], found: Any) -> bool:
        return yes or _typed(addresses.show(network), reasons, found.words())

    ask = book.Ask(network, seconds, who, reason, alert=alert_id, incident=incident_id)
    done = acts.block(settings, ask, around, confirm)
    if as_json:
        print(json.dumps(_plain(done.row), indent=1, default=str))
    else:
        print("\n".join(_said(done)))


def _about(network: Network, what: str, key: UUID, concerned: Sequence[Network]) -> None:
    """A block that names an alert must be about it: the alert says BLOCKED then.

    Raises
    ------
    ConfigError
        None of the addresses is the one to block, or a part of it.
    """
    from jobs.response.addresses import overlap, show

    if any(overlap(network, one) for one in concerned):
        return
    named = ", ".join(map(show, concerned[:_NAMED])) + (f" and {len(concerned) - _NAMED} more" if len(concerned) > _NAMED else "")
    raise ConfigError(
        f"{what} {key} is not about {show(network)}: it is about {named or 'no address that is known'}",
        f"name one of those, leave --{what} out, or say --force",
    )


def _typed(address: str, reasons: list[str], words: str) -> bool:
    """Asks on a terminal, and only there; whoever means it types the address once more."""
    print(f"{address}: {words}", file=sys.stderr)
    if not sys.stdin.isatty():
        return False
    print("\n".join(reasons), file=sys.stderr)
    return bool(typer.prompt(f"to block it, type {address} again", default="", show_default=False, err=True).strip() == address)


def _said(done: Any) -> list[str]:
    row = done.row
    until = f"until {looks.plain(row['blocked_until'])} ({durations.words(row['seconds'])})"
    first = f"{row['address']} is blocked {until} by {row['responder']}"
    if row["state"] == "DRY_RUN":
        first = f"dry run: {row['address']} would be blocked {until}; nothing was done"
    why = f": {row['why']}" if row["why"] else ""
    lines = [first, f"{row['id']}  asked by {row['asked_by']}{why}", done.reach.words()]
    if row["state"] == "DRY_RUN":
        lines.append("to block for real, name who does it: response.responder, nftables or webhook")
    if done.written.held:
        how = "it holds longer now" if done.written.longer else "it holds longer than was asked for, and stays so"
        lines.insert(1, f"it was blocked before, by {row['asked_by']}: {how}")
    return [printable(line) for line in lines]


def unblock(address: Address, by: By = "", as_json: Json = False, conf_file: ConfFile = None) -> None:
    """End a block before its time.

    Example:  flowlake unblock 203.0.113.7
    """
    from jobs.incidents import people
    from jobs.response import acts, addresses

    settings = config.load(conf_file)
    row, around = acts.unblock(settings, addresses.target(address), people.text(by or me(), "--by", people.MAX_NAME))
    if as_json:
        print(json.dumps(_plain(row), indent=1, default=str))
        return
    print(printable(f"{row['address']} is no longer blocked{' (dry run)' if row['responder'] == 'dry-run' else ''}"))
    if around:
        print(f"but it is a part of {', '.join(around)}, which is: flowlake unblock {around[0]}")


@app.command("list", epilog="Examples:  flowlake blocks list   |   flowlake blocks list --json")
def list_(
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="So many, the newest.")] = 100,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """What is blocked now, or would be (dry run), by the database; `flowlake blocks sync --check` asks the responder."""
    _show(config.load(conf_file), None, False, limit, as_json)


@app.command(epilog="Examples:  flowlake blocks history   |   flowlake blocks history 203.0.113.7 --json")
def history(
    address: Annotated[str | None, typer.Argument(metavar="[ADDRESS]", help="Only what touched this.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="So many, the newest.")] = 20,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """What was asked for, done, refused and failed; who changed it when: flowlake audit list --target ip:ADDRESS."""
    _show(config.load(conf_file), address, True, limit, as_json)


def _show(settings: Settings, address: str | None, all_states: bool, limit: int, as_json: bool) -> None:
    from jobs.incidents import people
    from jobs.response import addresses, book

    network = addresses.target(address) if address is not None else None
    with people.acting(settings.alerts, me()) as cursor:
        rows = book.listed(cursor, network=network, all_states=all_states, limit=limit)
        others = 0 if rows else book.count(cursor)
    if not as_json:
        rows = [{**row, "left": durations.words(row["seconds"])} for row in rows]
    number = f"{'the newest ' if len(rows) == limit else ''}{counted(len(rows), 'block')}"  # there may be more
    dry = sum(row["state"] == "DRY_RUN" for row in rows)
    holds = "that would hold (dry run: nothing is blocked)" if rows and dry == len(rows) else "in force"
    also = f", {dry} of a dry run" if 0 < dry < len(rows) else ""
    title = f"{number}, newest first" if all_states else f"{number} {holds}{also}"
    looks.show(rows, _HISTORY if all_states else _SHOWN, form="json" if as_json else "table", title=title)
    if not rows:
        what = [f"address {addresses.show(network)}"] if network is not None else ["what holds now"]
        leads = "leave out the address" if all_states else "flowlake blocks history shows those that are over"
        looks.explain_empty("blocks", what, others, "flowlake block ADDRESS --for 2h makes one", leads)


@app.command(epilog="Examples:  flowlake blocks sync   |   flowlake blocks sync --check")
def sync(
    check: Annotated[bool, typer.Option("--check", help="Only look; exit code 10 where something differs.")] = False,
    by: By = "",
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Compare the database with what is really blocked, and mend it: after a reboot, or after somebody's hand.

    A webhook cannot be asked; messages that it has not taken are sent again.
    """
    from jobs.incidents import people
    from jobs.response import acts, addresses

    settings = config.load(conf_file)
    found = acts.sync(settings, people.text(by or me(), "--by", people.MAX_NAME), only_look=check)
    told = {name: [addresses.show(one) for one in getattr(found, name)] for name in ("missing", "extra", "other_time")}
    if as_json:
        print(json.dumps({**told, "structure": list(found.structure), "mended": bool(found) and not check}))
    else:
        for name, what in (("missing", "was not blocked"), ("extra", "was blocked, and should not be"), ("other_time", "had another time")):
            print("".join(f"{one} {what}\n" for one in told[name]), end="")
        print("".join(f"{one} was not as it should be\n" for one in found.structure), end="")
        print(f"{settings.response.responder}: {'in step' if not found else 'differs' if check else 'mended'}")
    if found and check:
        raise typer.Exit(EXIT_DIFFERS)


def respond(
    once: Annotated[bool, typer.Option("--once", help="Look once at all that has changed, compare once, and end.")] = False,
    conf_file: ConfFile = None,
) -> None:
    """Apply the rules that block by themselves (response.rules), and keep the blocks as the database has them. Runs until interrupted.

    Without rules it blocks nothing by itself. One process acts; a second waits to take over.

    Example:  flowlake respond --once
    """
    from infra import log, metrics
    from jobs.response import rules, service

    settings = config.load(conf_file)
    log.setup(settings.log)
    ours = settings.response
    names = ", ".join(rule.name for rule in ours.rules) or "none: nothing is blocked without a person"
    print(f"responder: {ours.responder}; rules: {names}", flush=True)
    for kind in rules.unknown(ours.rules):
        print(f"response.rules: {printable(kind)} is no kind of alert and no attack type of ours", file=sys.stderr)
    if once:
        done = service.once(settings)
        print(f"{done.blocked} blocked{' (dry run)' if ours.responder == 'dry-run' else ''}, {done.refused} refused, {done.failed} failed")
        return
    metrics.serve(settings.metrics.host, settings.metrics.respond_port)
    service.run(settings)


def _plain(row: Any) -> dict[str, Any]:
    return {name: looks.plain(value) for name, value in row.items()}
