"""The models that score what a collector stores itself: those in force in the registry, renewed while it runs."""

from __future__ import annotations

import pickle
import threading

from infra.config import Settings
from infra.errors import ModelError, one_line
from infra.log import get
from jobs.scoring.handout import Offer
from jobs.scoring.keeper import Keeper
from jobs.scoring.modelset import ModelSet
from schemas.exportedflows import EXPORTED_FLOWS

_LOG = get("netflow.direct")


class DirectModels:
    """Follows the registry every ``scoring.poll_s`` seconds, as the stream's driver does.

    Attributes
    ----------
    value
        The models in force; None: none was ever promoted, or none can be had. Ask once for a batch.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._end = threading.Event()
        self._keeper: Keeper | None = None
        self._told = False
        self.value: ModelSet | None = None
        self._look()
        self._thread = threading.Thread(target=self._follow, name="models", daemon=True)
        self._thread.start()

    def _put(self, offer: Offer) -> None:
        self.value = pickle.loads(offer.body)

    def _look(self) -> None:
        if self._keeper is not None:
            self._keeper.look()
            return
        keeper = Keeper(self._settings, EXPORTED_FLOWS, self._put)
        try:
            keeper.begin()
        except ModelError as e:
            if not self._told:
                _LOG.warning("exported flows are not scored", why=one_line(e), next=e.hint)
            self._told = True
            return
        self._keeper = keeper

    def _follow(self) -> None:
        while not self._end.wait(self._settings.scoring.poll_s):
            try:
                self._look()
            except Exception:  # whatever it is, the next look may do
                _LOG.exception("looking for models failed")

    def close(self) -> None:
        """Follow no more."""
        self._end.set()
