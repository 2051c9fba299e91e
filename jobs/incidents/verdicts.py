"""Verdicts of people as labels to train with, and who said so: flows of a false alarm are benign, those of one confirmed an attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from infra.config import Settings
from infra.errors import ConfigError
from jobs.incidents import flows
from jobs.sinks import labels
from schemas.labels import UNKNOWN

#: ``source`` of the labels.
SOURCE = "incidents"


def benign(settings: Settings, alerts: Sequence[Mapping[str, Any]], by: str, why: str = "") -> int:
    """Label the records of alerts; returns how many.

    Raises
    ------
    StoreError
        The lake, or the hot store, is away or refuses.
    """
    return _put(settings, [(alert, "0") for alert in alerts], by, why)


def confirmed(settings: Settings, alerts: Sequence[Mapping[str, Any]], by: str, why: str = "", kind: str = "") -> int:
    """Label the records of alerts as the attack that each alert names, or all as ``kind``; returns how many.

    An attack of which the model said no more than that it knows none such (:data:`schemas.labels.UNKNOWN`) is ``ATTACK`` unless a kind is
    given: no record is labelled so.

    Raises
    ------
    ConfigError
        ``kind`` is no name of an attack.
    StoreError
        The lake, or the hot store, is away or refuses.
    """
    try:
        if kind and not labels.verdict(kind)[0]:
            raise labels.BadLabel("is no attack")
    except labels.BadLabel as e:
        raise ConfigError(f"--attack-type {kind[:60]!r}: {e}", "name the attack, such as SSH_BRUTE_FORCE") from e
    said = [(alert, kind or ("1" if alert["attack_type"] == UNKNOWN.name else alert["attack_type"])) for alert in alerts]
    return _put(settings, said, by, why)


def _put(settings: Settings, said: Sequence[tuple[Mapping[str, Any], str]], by: str, why: str) -> int:
    now = datetime.now(UTC)
    note = {"source": SOURCE, "labelled_by": by, "note": why[:1000]}
    rows = [
        labels.row(
            {"record_key": key, "record_type": alert["record_type"], "label": label, **note},
            flows.record_of(settings, alert["record_type"]),
            {},
            now,
        )
        for alert, label in said
        for key in flows.keys(settings, alert)
    ]
    if rows:
        labels.put(settings, rows)
    return len(rows)
