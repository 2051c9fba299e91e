"""What becomes of a version that was just registered: champion where none can score, or where that is asked for; else it waits.

Either way through the gates (:func:`jobs.models.promotion.promote`). A first version has no champion beside it: of it the gates
ask only that it can be used; one that is slow is told, as slow scores are better than none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from infra.config import Settings
from infra.errors import ModelError
from jobs.models import promotion
from jobs.models.promotion import GateError
from jobs.models.request import PromotionRequest
from jobs.scoring import registry
from jobs.scoring.aliases import PromotionConflictError
from jobs.scoring.model import ScoringModel
from schemas.packets import FLOWS
from schemas.records import RecordType


@dataclass(frozen=True)
class Settled:
    """What became of a version, and why; ``refused`` where a promotion was asked for and a gate, or another promotion, stood before it."""

    promoted: bool = False
    why: str = "not registered"
    refused: GateError | PromotionConflictError | None = None

    def state(self) -> str:
        """In words."""
        return f"{'champion' if self.promoted else 'it waits'}: {self.why}"

    def plain(self) -> dict[str, Any]:
        """For programs."""
        return {"promoted": self.promoted, "why": self.why}


def settle(settings: Settings, record: RecordType, version: str, request: PromotionRequest) -> Settled:
    """Make a version champion where that is asked for, or where the record type has none that this program can score with.

    Raises
    ------
    ModelError
        The version cannot be used at all, or the registry cannot be reached.
    """
    why = request.reason or "asked for by the training"
    if not request.promote:
        missing, why = _missing(settings, record)
        if not missing:
            return Settled(False, why)
    try:
        promotion.promote(settings, record, version, force=request.force, reason=why)
    except (GateError, PromotionConflictError) as e:  # the version stays, and can be promoted later
        return Settled(False, str(e), e if request.promote else None)
    return Settled(True, why)


def _missing(settings: Settings, record: RecordType) -> tuple[bool, str]:
    """Whether a record type lacks a champion that can score, and what is the matter."""
    try:
        champion = registry.load_champion(settings, record)
    except registry.ModelMissingError:
        return True, "the first one"
    except registry.ModelVersionError as e:
        return True, f"the champion cannot be used: {e}"
    except ModelError as e:  # damaged, or its files are gone: perhaps they come back
        return False, f"the champion cannot be used: {e}"
    return False, f"champion {champion.version} stays"


def ensure_champion(settings: Settings, progress: Callable[[str], None] = lambda line: None) -> ScoringModel:
    """The champion of flows; trained first, on generated traffic, where there is none or it is of another feature-schema version.

    Raises
    ------
    ModelError
        The registry cannot be reached, or holds a champion that cannot be used for another reason: that is for a person to decide.
    """
    from jobs.training.train import GENERATED, train

    try:
        return registry.load_champion(settings, FLOWS)
    except registry.ModelMissingError:
        progress("the first model: takes a minute or more")
    except registry.ModelVersionError as e:
        progress(f"{e}: training one")
    report = train(settings, choices=GENERATED, ways=(), progress=progress)  # a first start does not wait for further trainings
    assert report.version is not None
    progress(f"model version {report.version}: {settle(settings, FLOWS, report.version, PromotionRequest()).state()}")
    return registry.load_champion(settings, FLOWS)
