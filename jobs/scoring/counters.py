"""Metrics of scoring (:mod:`infra.metrics`): which models are in force, what was refused, what the workers have counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import Counter, Gauge

from infra.metrics import REGISTRY
from jobs.scoring.tally import ALIKE, FAILED, RECORDS, SECONDS, UNLIKE, Key, TallySum

IN_FORCE = Gauge(
    "flowlake_model_in_force",
    "1 for the version that scores (champion), or looks on (challenger)",
    ["record", "role", "version"],
    registry=REGISTRY,
)
SINCE = Gauge("flowlake_model_in_force_since_seconds", "When it was put in force", ["record", "role"], registry=REGISTRY)
REFUSED = Counter("flowlake_model_refusals", "Times a model was refused", ["record", "role"], registry=REGISTRY)
AWAY = Gauge("flowlake_model_registry_away", "1 while the registry cannot be asked", ["record"], registry=REGISTRY)
SCORED = Counter("flowlake_scored_records", "Records scored, by version", ["record", "version"], registry=REGISTRY)
SCORING_SECONDS = Counter(
    "flowlake_scoring_seconds", "Seconds of scoring, over all workers, by version", ["record", "version"], registry=REGISTRY
)
SHADOW = Counter(
    "flowlake_shadow_records",
    "Records that champion and challenger label alike, or not",
    ["record", "champion", "challenger", "labels"],
    registry=REGISTRY,
)
SHADOW_FAILURES = Counter("flowlake_shadow_failures", "Tasks whose challenger failed", ["record", "challenger"], registry=REGISTRY)

_MOVED: dict[str, Callable[..., Any]] = {
    RECORDS: SCORED.labels,
    SECONDS: SCORING_SECONDS.labels,
    ALIKE: lambda *names: SHADOW.labels(*names, "alike"),
    UNLIKE: lambda *names: SHADOW.labels(*names, "unlike"),
    FAILED: SHADOW_FAILURES.labels,
}


class Workers:
    """Takes what the workers have counted into the metrics.

    Parameters
    ----------
    failed
        Called with record type, version and the number of tasks in which a challenger has failed anew.
    """

    def __init__(self, failed: Callable[[str, str, float], None]) -> None:
        self._sum = TallySum()
        self._failed = failed

    def take(self, told: dict[str, Any]) -> None:
        """What one process has told (:meth:`jobs.scoring.tally.ProcessTally.plain`); what is none is left out."""
        try:
            news = list(self._sum.news(str(told["process"]), told["counts"]))
        except (KeyError, TypeError, ValueError):
            return
        for key, more in news:
            self._move(key, more)

    def _move(self, key: Key, more: float) -> None:
        if (metric := _MOVED.get(key[0])) is None:
            return
        metric(*key[1:]).inc(more)
        if key[0] == FAILED:
            self._failed(key[1], key[2], more)
