"""Block, unblock and compare: the guard rails first, then the database, then the responder, then what came of it.

What is wanted is written down before the responder is called, and no transaction is open while it works: a webhook that hangs holds nobody
up, and whoever ends in between leaves a row that says what there is to do (:func:`sync`).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg2

from infra import durations
from infra.config import Settings
from infra.errors import ConfigError, ResponseError, StoreError, one_line
from jobs.incidents import people
from jobs.response import book, hooks, reach
from jobs.response.addresses import Network, show, size
from jobs.response.book import Ask, BookedBlock
from jobs.response.counters import BLOCKS, HOLDING, MENDED
from jobs.response.machine import Surroundings
from jobs.response.reach import Reach
from jobs.response.responder import BlockOrder, Drift, Responder, made
from jobs.sinks import postgres
from jobs.sinks.stores import StoreUnavailable

#: Seconds to wait for another's act on the same address.
_TURN_S = 60
#: Seconds after which an act that nobody has reported as done is done again.
_LOST_S = 60.0
#: Given the reasons to ask and the blast radius: whether to go on.
Confirm = Callable[[list[str], Reach], bool]
_LIST = "flowlake blocks list shows what is blocked"


@dataclass(frozen=True)
class BlockResult:
    """What a block has come to."""

    written: BookedBlock
    reach: Reach

    @property
    def row(self) -> Any:
        return self.written.row


def refusal(settings: Settings, ask: Ask, around: Surroundings) -> str:
    """Why this may not be blocked whoever asks and whatever is confirmed; empty: it may."""
    ours = settings.response
    if why := around.why_not(ask.network):
        return f"{show(ask.network)} is protected: {why}"
    if size(ask.network) > ours.max_addresses:
        unit = "addresses" if ask.network.version == 4 else "networks of 64 bits"
        return f"{show(ask.network)} is {size(ask.network):,} {unit}: more than response.max_addresses ({ours.max_addresses:,})"
    if not 0 < ask.seconds <= ours.max_for_s:
        most = durations.words(ours.max_for_s)
        return f"{durations.words(ask.seconds)} is no time for a block: 1s to {most} (response.max_for_s)"
    return ""


def doubts(settings: Settings, network: Network, found: Reach) -> list[str]:
    """What somebody has to confirm before this is blocked."""
    ours, reasons = settings.response, []
    if size(network) > ours.confirm_addresses:
        reasons.append(f"{size(network):,} addresses, more than response.confirm_addresses ({ours.confirm_addresses:,})")
    if found.unknown:
        reasons.append("it is not known whom it would cut off")
    elif not found.complete:
        reasons.append(f"it was part of more flows than were looked at ({found.flows:,})")
    elif found.partners > ours.confirm_hosts:
        reasons.append(f"{found.partners:,} hosts exchanged data with it, more than response.confirm_hosts ({ours.confirm_hosts:,})")
    return reasons


def block(settings: Settings, ask: Ask, around: Surroundings, confirm: Confirm) -> BlockResult:
    """Block an address or network.

    Raises
    ------
    ResponseError
        It is protected, whitelisted, too large or too much (written down as REFUSED); or the responder could not do it (FAILED).
    ConfigError
        It was not confirmed: nothing has happened, nothing is written down.
    StoreError
        The database is away or refuses: nothing has happened.
    """
    responder = made(settings.response.responder, settings.response)
    if why := refusal(settings, ask, around):
        raise _refused(settings, ask, why)
    found = reach.of(settings, ask.network)
    reasons = doubts(settings, ask.network, found)
    if reasons and not confirm(reasons, found):
        raise ConfigError(f"{show(ask.network)} was not blocked: {'; '.join(reasons)}", "say --yes if it is meant")
    with people.acting(settings.alerts, ask.by) as cursor:
        book.one_at_a_time(cursor)
        book.expire(cursor)
        why = too_much(cursor, settings, ask)
        if not why:
            written = book.write(cursor, ask, responder.name, found)
    if why:
        raise _refused(settings, ask, why, found)
    return carry_out(settings, responder, ask, written, found)


def too_much(cursor: Any, settings: Settings, ask: Ask) -> str:
    """What the database has against it: the whitelist, and the number of blocks; empty: nothing."""
    ours = settings.response
    if entry := hooks.whitelisted(cursor, ask.network):
        return f"{show(ask.network)} is whitelisted: {entry}"
    if book.holding_one(cursor, ask.network, ours.responder) is not None:
        return ""
    holding, by_rules, lately = book.counted(cursor, ours.responder)
    if holding >= ours.max_active:
        return f"{holding:,} blocks hold, as many as response.max_active allows"
    if ask.rule and by_rules >= ours.auto_max_active:
        return f"{by_rules:,} blocks by rules hold, as many as response.auto_max_active allows"
    if ask.rule and lately >= ours.auto_per_minute:
        return f"{lately:,} blocks by rules in the last minute, as many as response.auto_per_minute allows"
    return ""


def _refused(settings: Settings, ask: Ask, why: str, found: Reach | None = None) -> ResponseError:
    with people.acting(settings.alerts, ask.by) as cursor:
        book.refuse(cursor, ask, settings.response.responder, why, found)
    BLOCKS.labels("refused", "rule" if ask.rule else "person").inc()
    return ResponseError(f"refused: {why}", "what is protected: docs/how-to/block-an-attacker.md; flowlake blocks history shows refusals")


def carry_out(settings: Settings, responder: Responder, ask: Ask, written: BookedBlock, found: Reach) -> BlockResult:
    """Have the responder do what was written down, and note what came of it."""
    who = "rule" if ask.rule else "person"
    key = written.row["id"]
    if written.held and not written.longer and written.row["applied_at"] is not None and not responder.whole:
        with people.acting(settings.alerts, ask.by) as cursor:
            book.done(cursor, key)
        return BlockResult(written, found)
    try:
        told(settings, responder, key, "block", ask.by)
    except ResponseError as e:
        with people.acting(settings.alerts, ask.by) as cursor:
            book.failed(cursor, key, one_line(e), extending=written.held)
        BLOCKS.labels("failed", who).inc()
        what = f"the longer time of {show(ask.network)} was not carried out" if written.held else f"{show(ask.network)} is not blocked"
        raise ResponseError(f"{what}: {e}", e.hint) from e
    with people.acting(settings.alerts, ask.by) as cursor:
        book.done(cursor, key)
        row = book.one(cursor, key)
    BLOCKS.labels(row["state"].lower(), who).inc()
    return BlockResult(BookedBlock(row, written.held, written.longer), found)


def told(settings: Settings, responder: Responder, key: str, action: str, by: str) -> None:
    """Call the responder with what the database says now; one at a time for the same address.

    Raises
    ------
    ResponseError
        It could not do it.
    """
    with people.acting(settings.alerts, by) as cursor:
        order = book.order(book.one(cursor, key), action, by)
    with _turn(settings, responder, order):
        with people.acting(settings.alerts, by) as cursor:
            row = book.one(cursor, key)
            holding = book.holding(cursor, responder.name) if responder.whole else {}
        lifted = row["state"] not in ("ACTIVE", "DRY_RUN")
        if not responder.whole and lifted != (action == "unblock"):
            return  # somebody has undone it while this waited for its turn
        responder.carry_out(book.order(row, action, by), holding)


@contextmanager
def _turn(settings: Settings, responder: Responder, order: BlockOrder | None = None) -> Iterator[None]:
    number = 0 if responder.whole or order is None else zlib.crc32(show(order.network).encode()) >> 1 or 1
    try:
        connection = postgres.connect(settings.alerts, "flowlake-response")
    except StoreUnavailable as e:
        raise StoreError(str(e), "start it: flowlake up") from e
    with closing(connection):
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"SET lock_timeout = {_TURN_S * 1000}")
                cursor.execute("SELECT pg_advisory_lock(%s, %s)", (postgres.LOCK_RESPONDER, number))
        except psycopg2.errors.LockNotAvailable as e:
            raise ResponseError(f"another's act has not ended within {_TURN_S} s", _LIST) from e
        yield


def unblock(settings: Settings, network: Network, by: str) -> tuple[Any, list[str]]:
    """Lift the block of an address or network; returns its row, and the blocked networks that the address is still a part of.

    Raises
    ------
    ConfigError
        It is not blocked, or only as a part of a network.
    ResponseError
        The responder could not do it: the block still holds.
    """
    with people.acting(settings.alerts, by) as cursor:
        book.one_at_a_time(cursor)
        book.expire(cursor)
        row = book.holding_one(cursor, network)
        around = book.wider(cursor, network)
        if row is None:
            if around:
                raise ConfigError(f"{show(network)} is blocked as a part of {', '.join(around)}", f"flowlake unblock {around[0]}")
            raise ConfigError(f"{show(network)} is not blocked", _LIST)
        book.lift(cursor, row["id"], people.text(by, "--by", people.MAX_NAME))
    try:
        told(settings, made(row["responder"], settings.response), row["id"], "unblock", by)
    except (ResponseError, ConfigError) as e:
        with people.acting(settings.alerts, by) as cursor:
            book.failed(cursor, row["id"], one_line(f"not lifted: {e}"), lifting=True)
        raise ResponseError(f"{show(network)} is still blocked: {e}", e.hint) from e
    with people.acting(settings.alerts, by) as cursor:
        return book.one(cursor, row["id"]), around


def sync(settings: Settings, by: str, *, only_look: bool = False) -> Drift:
    """Compare what is to be blocked with what the responder holds, and mend it: after a reboot, or where somebody changed it by hand.

    Raises
    ------
    ResponseError
        The responder cannot be looked at, or not be mended.
    """
    responder = made(settings.response.responder, settings.response)
    with _turn(settings, responder):
        with people.acting(settings.alerts, by) as cursor:
            if not only_look:
                book.expire(cursor)
            holding = book.holding(cursor, responder.name)
        found = responder.mend(holding, only_look=only_look)
    HOLDING.labels(responder.name).set(len(holding))
    if only_look:
        return found
    MENDED.labels(responder.name).inc(len(found.missing) + len(found.extra) + len(found.other_time))
    _lost(settings, responder, by)
    return found


def _lost(settings: Settings, responder: Responder, by: str) -> None:
    """Blocks whose maker ended before he could say that they are done; what is told all that holds has done them by now."""
    with people.acting(settings.alerts, by) as cursor:
        rows = book.unapplied(cursor, responder.name, _LOST_S)
    for row in rows:
        try:
            if not responder.whole:
                told(settings, responder, row["id"], "block", by)
        except ResponseError as e:
            with people.acting(settings.alerts, by) as cursor:
                book.failed(cursor, row["id"], one_line(e), extending=True)
            continue
        with people.acting(settings.alerts, by) as cursor:
            book.done(cursor, row["id"])
