"""The models that explain alerts, loaded aside and kept: a registry that does not answer holds no alert back."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import numpy as np

from infra.errors import one_line
from infra.log import get
from jobs.scoring.explain import Explainer, NotExplainedError
from jobs.scoring.model import ScoringModel
from jobs.scoring.names import features_of
from jobs.sinks.tops import Missing

#: Models kept ready. A stream scores with one; a backlog may know older ones, and a damaged message any.
_KEPT = 8
#: A batch waits so long for a model that is asked for the first time; more of an alert's latency it is not worth.
_PATIENCE_S = 5.0
#: A model that could not be loaded is tried again after so long.
_RETRY_S = 60.0


class _Loading(threading.Thread):
    """A model being made ready: ``result`` is it, or why there is none; None while it is loaded."""

    def __init__(self, load: Callable[[], ScoringModel], what: str) -> None:
        super().__init__(name="explainer", daemon=True)
        self.result: Explainer | Missing | None = None
        self.began = time.monotonic()
        self._load, self._what = load, what

    def run(self) -> None:
        try:
            explainer = Explainer(self._load())
            explainer.explain(np.zeros((1, len(features_of(explainer.champion.record).names))))  # compiles
            self.result = explainer
        except NotExplainedError as e:
            self.result = Missing(f"model-kind: {e}")
        except Exception as e:  # the registry's, MLflow's; an alert does not tell where this machine keeps its models
            get("sink.alerts").warning("alerts are not explained", model=self._what, cause=one_line(e))
            self.result = Missing(f"model-missing: {self._what} cannot be loaded")


class Explainers:
    """Explainers of the models of one record type, by their versions.

    Parameters
    ----------
    champion
        Loads the model that scores now.
    by_version
        Loads the model that has scored before.
    """

    def __init__(self, champion: Callable[[], ScoringModel], by_version: Callable[[str], ScoringModel]) -> None:
        self._champion, self._by_version = champion, by_version
        self._known: OrderedDict[str, _Loading] = OrderedDict()
        self._first: _Loading | None = None

    def prefetch(self) -> None:
        """Begin to load the champion, before the first alert needs it."""
        self._first = self._loading(self._champion, "the champion")

    def of(self, version: str) -> Explainer | Missing:
        """The explainer of a version, or why there is none; the first time it waits a little for it."""
        if (first := self._first) is not None:
            first.join(_PATIENCE_S)
            if isinstance(first.result, Explainer):
                self._known[first.result.champion.version] = first
            self._first = None
        known = self._known.get(version)
        failed = known is not None and isinstance(known.result, Missing) and known.result.code == "model-missing"
        if known is None or (failed and time.monotonic() - known.began > _RETRY_S):
            known = self._loading(partial(self._by_version, version), f"version {version[:40]}")
            self._known[version] = known
            known.join(_PATIENCE_S)
        self._known.move_to_end(version)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return known.result or Missing("model-missing: it is still being loaded")

    @staticmethod
    def _loading(load: Callable[[], ScoringModel], what: str) -> _Loading:
        thread = _Loading(load, what)
        thread.start()
        return thread
