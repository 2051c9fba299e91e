"""What a model must show before it becomes champion: beside the champion, on the same records that it was not trained on.

A gate is open where a model keeps its bound, closed where it surely does not: where the whole interval (95 %) of what was measured lies
beyond the bound. Between the two it is undecided: with few records of an attack, chance may have made the difference, so it closes
nothing, and is told.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infra.config import Settings
from infra.errors import ModelError
from jobs.evaluation.reliability import reliability
from jobs.models import measure, versions
from jobs.models.measure import Decided
from jobs.scoring import registry, tracking
from jobs.scoring.model import ScoringModel
from jobs.training import heldout
from jobs.training.labelled import LabelledFlows
from schemas.packets import FLOWS
from schemas.records import RecordType

OPEN, CLOSED, UNDECIDED = "open", "closed", "undecided"
#: Seeds of generated traffic that no training uses by default.
SEEDS = (901, 902, 903)


@dataclass(frozen=True)
class HeldOut:
    """Labelled records that a gate looks at, and a sentence on where they come from."""

    flows: LabelledFlows
    origin: str


@dataclass(frozen=True)
class Gate:
    """One thing that a model must show.

    ``verdict`` is open, closed or undecided; ``said`` tells why, with the numbers. ``before`` and ``after`` are the champion's and the
    model's value, None where there is none to measure.
    """

    name: str
    verdict: str
    said: str
    before: float | None = None
    after: float | None = None

    def plain(self) -> dict[str, Any]:
        """For programs."""
        return {key: None if isinstance(value, float) and value != value else value for key, value in asdict(self).items()}


def check(
    settings: Settings, record: RecordType, version: str, champion: str | None, held_out: HeldOut | None = None, *, alone: bool = False
) -> list[Gate]:
    """All gates of a version, beside a champion (None: nothing to compare it with).

    With ``alone`` nothing else can score: it may be slow then, as slow scores are better than none.

    Raises
    ------
    ModelError
        The version cannot be used at all, or the registry cannot be reached.
    """
    model = registry.load_version(settings, record, version)  # refuses other features than ours
    found = [Gate("features", OPEN, f"feature-schema version {model.feature_version}, as computed here")]
    if champion is None:
        return [*found, latency(settings, model, held_out.flows if held_out else None, alone=alone)]
    held_out = held_out or held_out_of(settings, record, version)
    if held_out is None or not len(held_out.flows):
        found.append(Gate("held-out records", CLOSED, "the version brought none to compare it on; name some with --records"))
        return [*found, latency(settings, model, None)]
    found.append(latency(settings, model, held_out.flows))
    return found + compared(settings, model, _usable(settings, record, champion), held_out)


def _usable(settings: Settings, record: RecordType, champion: str) -> ScoringModel | None:
    """The champion; None where it cannot be used any more (other features, files gone), and so is worse than any that can."""
    try:
        return registry.load_version(settings, record, champion)
    except ModelError:
        return None


def held_out_of(settings: Settings, record: RecordType, version: str) -> HeldOut | None:
    """The held-out records that a version brought along; else, of flows, generated traffic of other seeds; else None."""
    with tempfile.TemporaryDirectory(prefix="flowlake-held-out-") as temp:
        try:
            file = versions.artifact(settings, record, version, heldout.FILE, Path(temp))
            return HeldOut(heldout.read(file), f"held-out records of version {version}")
        except tracking.ArtifactMissingError:
            return generated(settings) if record == FLOWS else None


def generated(settings: Settings, progress: Callable[[str], None] = lambda line: None) -> HeldOut:
    """Generated traffic of :data:`SEEDS`."""
    from jobs.metering.settings import MeterSettings
    from jobs.training.generated import generated_flows
    from jobs.training.train import SECONDS

    flows = generated_flows(SEEDS, duration_s=SECONDS, settings=settings.section(MeterSettings), progress=progress)
    return HeldOut(flows, f"generated traffic of seeds {SEEDS[0]} to {SEEDS[-1]}")


def latency(settings: Settings, model: ScoringModel, flows: LabelledFlows | None, *, alone: bool = False) -> Gate:
    """Whether a model is fast enough; where nothing else can score, a slow one is no reason to score nothing."""
    took, most = measure.latency(model, flows), settings.scoring.max_ms_per_1000
    said = f"{took:.2f} ms per 1,000 records, {most:g} at most (scoring.max_ms_per_1000)"
    if took > most and alone:
        return Gate("latency", UNDECIDED, f"{said}; nothing else can score", after=took)
    return Gate("latency", OPEN if took <= most else CLOSED, said, after=took)


def compared(settings: Settings, model: ScoringModel, champion: ScoringModel | None, held_out: HeldOut) -> list[Gate]:
    """Gates of what a model says of held-out records.

    Raises
    ------
    ModelError
        One of the models reads columns that they lack.
    """
    flows, rules = held_out.flows, settings.gates
    after = measure.decided(model, flows)
    found = [false_positives(after, flows, rules.max_fpr)]
    if champion is None:
        return found
    try:
        before = measure.decided(champion, flows)
    except ModelError as e:
        return [*found, Gate("recall", CLOSED, f"{e}; name others with --records")]
    found += [recall(name, rows, before, after, rules.recall_margin) for name, rows in _attacks(flows)]
    return [*found, calibration(before, after, flows, rules.ece_margin)]


def _attacks(flows: LabelledFlows) -> list[tuple[str, Any]]:
    names = sorted(set(flows.y[flows.attack].tolist()))
    return [("recall", flows.attack), *((f"recall of {name}", flows.y == name) for name in names)]


def false_positives(after: Decided, flows: LabelledFlows, most: float) -> Gate:
    """Whether the false-positive rate keeps its budget."""
    benign = ~flows.attack
    hits, n = int((after.flagged & benign).sum()), int(benign.sum())
    low, high = measure.rate(hits, n)
    if not n:
        return Gate("false positives", UNDECIDED, "no benign record to count them on")
    value = hits / n
    said = f"{hits:,} of {n:,} benign records ({value:.3%}, {low:.3%} to {high:.3%}), {most:.3%} at most (gates.max_fpr)"
    return Gate("false positives", OPEN if value <= most else CLOSED if low > most else UNDECIDED, said, after=value)


def recall(name: str, rows: Any, before: Decided, after: Decided, margin: float) -> Gate:
    """Whether a model finds as much of an attack as the champion, but for a margin."""
    n = int(rows.sum())
    was, now = before.flagged[rows], after.flagged[rows]
    lost, gained = int((was & ~now).sum()), int((~was & now).sum())
    low, high = measure.difference(lost, gained, n)
    change = (gained - lost) / n if n else 0.0
    verdict = CLOSED if high < -margin else UNDECIDED if change < -margin or not n else OPEN
    said = f"{was.mean() if n else 0:.3f} -> {now.mean() if n else 0:.3f} of {n:,} records ({lost:,} lost, {gained:,} gained"
    said += f"; difference {low:+.3f} to {high:+.3f}), {-margin:+.3f} at least (gates.recall_margin)"
    return Gate(name, verdict, said, float(was.mean()) if n else None, float(now.mean()) if n else None)


def calibration(before: Decided, after: Decided, flows: LabelledFlows, margin: float) -> Gate:
    """Whether P(attack) is as good a probability as the champion's, but for a margin."""
    both = [reliability(flows.attack, one.p_attack) for one in (before, after)]
    was, now = (float("nan") if found is None else found.expected_calibration_error for found in both)
    said = f"expected calibration error {was:.4f} -> {now:.4f}, {was + margin:.4f} at most (gates.ece_margin)"
    return Gate("calibration", OPEN if np.nan_to_num(now) <= np.nan_to_num(was) + margin else CLOSED, said, was, now)
