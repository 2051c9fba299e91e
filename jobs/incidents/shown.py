"""The records behind an alert or an incident, as commands of sources show them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from infra.config import Settings
from infra.console import looks
from infra.console.options import me
from infra.errors import ConfigError
from jobs.incidents import behind
from jobs.incidents.behind import Wanted
from schemas.records import RecordType


def exclude(*, alert: str | None, incident: str | None, as_json: bool, as_csv: bool) -> None:
    """See that options that exclude each other were not given both.

    Raises
    ------
    ConfigError
        They were.
    """
    if as_json and as_csv:
        raise ConfigError("--json and --csv exclude each other", "choose one")
    if alert is not None and incident is not None:
        raise ConfigError("--alert and --incident exclude each other", "choose one")


def show(
    settings: Settings,
    record: RecordType,
    wanted: Wanted,
    columns: Sequence[str],
    form: str,
    *,
    alert: str | None,
    incident: str | None,
    noun: str,
    store: str | None = None,
    nothing: str = "",
) -> None:
    """Show what is behind an alert or an incident; what a reader has to know of it goes to standard error.

    Parameters
    ----------
    settings
        Where alerts and records are.
    record
        Type of the records.
    wanted
        Which of them.
    columns
        What a table shows.
    form
        As of :func:`infra.console.looks.show`.
    alert, incident
        One of them: an id, or the beginning of it.
    noun
        What people call the records: ``flows``.
    store
        The only one that is looked into.
    nothing
        Said of an alert without records, behind "no flows behind alert ... are stored"; empty: nothing is said.

    Raises
    ------
    ConfigError
        No such alert or incident.
    StoreError
        A store cannot be reached.
    """
    from jobs.incidents import page, people

    with people.acting(settings.alerts, me()) as cursor:
        if alert is not None:
            rows = [page.alert(cursor, alert)]
            what = f"alert {rows[0]['id']}"
        else:
            found = people.find(cursor, incident or "")
            rows = people.alerts_of(cursor, found["id"])
            what = f"incident {found['id']}"
    there = behind.find(settings, record, rows, wanted, store)
    shown = f"{there.total:,} {noun}" if len(there.rows) == there.total else f"the first {len(there.rows):,} of {there.total:,} {noun}"
    looks.show(there.rows, columns, form=form, title=f"{shown} behind {what}, in the order of time ({there.store})")
    notes = list(there.notes)
    if len(there.rows) < there.total:
        notes.append(f"{there.total - len(there.rows):,} {noun} more are not shown; --limit {there.total} shows all")
    if not there.rows and nothing:
        notes.append(f"no {noun} behind {what} are stored: {nothing}")
    for note in notes:
        print(note, file=sys.stderr)
