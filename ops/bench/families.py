"""A model of one family of classifiers, fitted to generated traffic to be compared with the registry's."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from jobs.metering.settings import MeterSettings
from jobs.scoring.model import ScoringModel
from jobs.training.fit import Choices, fit
from jobs.training.generated import generated_flows


def fitted(
    family: str, seeds: Sequence[int], *, seconds: float, max_fpr: float, settings: MeterSettings | None, say: Callable[[str], None]
) -> ScoringModel:
    """:func:`jobs.training.fit.fit` to preset ``train``: the last fifth of the seeds chooses the threshold, the others train.

    Parameters
    ----------
    family
        Of :data:`jobs.training.families.FAMILIES`.
    seeds
        Of the generator.
    seconds
        Capture time of each seed.
    max_fpr
        False-positive rate that the threshold is to keep.
    settings
        Metering rules.
    say
        Told what is being done.
    """
    flows = generated_flows(seeds, duration_s=seconds, settings=settings, progress=say)
    validating = np.isin(flows.group, [str(s) for s in seeds[-max(1, len(seeds) // 5) :]])
    say(f"fitting {family} to {int((~validating).sum()):,} records")
    begin = time.monotonic()
    made = fit(flows.where(~validating), flows.where(validating), Choices(family=family, max_fpr=max_fpr, novelty_fpr=0.0, cross=False))
    say(f"fitted in {time.monotonic() - begin:.0f} s")
    return made.model
