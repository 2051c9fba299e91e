"""A model for each size of windows: fitted to runs of hours, its threshold chosen by whole benign days."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from infra.config import Settings
from infra.errors import ConfigError
from jobs.metering.settings import MeterSettings
from jobs.scoring.model import ScoringModel
from jobs.training import registering
from jobs.training.alarms import Who, allowed, must_lie_below
from jobs.training.evaluate import Quality, evaluate
from jobs.training.fit import Choices, Fitted, fit
from jobs.training.threshold import between
from jobs.training.waiting import signs_of_life
from jobs.training.windowruns import LabelledWindows, WindowRun, joined, window_run
from schemas.records import RecordType
from sensors.generate import preset

#: False alarms a day of each size, seconds: less than one in sum. Most are left to the largest, which sees what no other does.
ALARMS_PER_DAY = {5: 1 / 8, 30: 1 / 4, 180: 1 / 2}
#: Benign windows that are fitted to, at most; there are far more of the smallest size, all alike.
_MOST_BENIGN = 150_000

Progress = Callable[[str], None]


@dataclass(frozen=True)
class WindowTraining:
    """What models of windows are trained on.

    Attributes
    ----------
    seeds
        Generator seeds of runs with attacks (preset ``slow``); the last fifth calibrates and judges, the others train.
    hours
        Capture time of each.
    quiet_seeds
        Of benign runs (preset ``quiet``); the first third trains too, the others choose the threshold.
    quiet_hours
        Capture time of each.
    """

    seeds: tuple[int, ...] = tuple(range(1001, 1061))
    hours: float = 4.0
    quiet_seeds: tuple[int, ...] = tuple(range(2001, 2061))
    quiet_hours: float = 8.0

    def __post_init__(self) -> None:
        if len(set(self.seeds)) < 2 or len(set(self.quiet_seeds)) < 2:
            raise ConfigError("windows are trained on two seeds with attacks and two benign ones at least", "one to fit, one to judge by")


#: What takes minutes.
QUICK = WindowTraining(seeds=tuple(range(1001, 1011)), quiet_seeds=tuple(range(2001, 2007)))


@dataclass(frozen=True)
class WindowRuns:
    """The runs of a training, by what they are for."""

    fitting: tuple[WindowRun, ...]
    validating: tuple[WindowRun, ...]
    quiet: tuple[WindowRun, ...]  # for the threshold


@dataclass(frozen=True)
class SizeModel:
    """A model of one size, and how it did on the runs that calibrated it.

    Attributes
    ----------
    size
        Seconds.
    fitted
        Its threshold is that of whole benign days.
    quality
        By windows.
    below
        The highest score that a benign window of those days may have.
    version
        Of the registry; None where it was not registered.
    """

    size: int
    fitted: Fitted
    quality: Quality
    below: float
    version: str | None


def generated_runs(training: WindowTraining, settings: MeterSettings | None = None, progress: Progress = print) -> WindowRuns:
    """Generate what a training needs, windows of every size; ``progress`` is told of each run."""

    def made(name: str, seeds: Sequence[int], hours: float) -> list[WindowRun]:
        runs = []
        for seed in seeds:
            run = window_run(preset(name, seed=seed, duration_s=hours * 3600), settings)
            sizes = ", ".join(f"{len(found):,} of {size} s" for size, found in run.windows.items())
            progress(f"{name} {seed}: {run.packets:,} packets, {len(run.attacks)} campaigns; windows: {sizes}")
            runs.append(run)
        return runs

    slow, quiet = made("slow", training.seeds, training.hours), made("quiet", training.quiet_seeds, training.quiet_hours)
    last, third = max(1, len(slow) // 5), max(1, len(quiet) // 3)
    return WindowRuns((*slow[:-last], *quiet[:third]), tuple(slow[-last:]), tuple(quiet[third:]))


def train_size(
    size: int,
    runs: WindowRuns,
    record: RecordType,
    *,
    seed: int = 7,
    alarms_per_day: float | None = None,
    settings: Settings | None = None,
    progress: Progress = print,
) -> SizeModel:
    """Fit the model of one size; the same runs and seed give the same model.

    Parameters
    ----------
    size
        Of the windows, seconds.
    runs
        See :func:`generated_runs`.
    record
        Record type of these windows.
    seed
        Of every random choice.
    alarms_per_day
        False alarms to be expected on a benign day; None: what :data:`ALARMS_PER_DAY` says. A budget that the benign runs are too short
        for gives none at all on them.
    settings
        Of the registry that it is registered in; None: in none.
    progress
        Told what is being done.

    Raises
    ------
    ModelError
        The runs hold no attack, or the registry cannot be reached.
    """
    train, validation = _part(runs.fitting, size, seed), _part(runs.validating, size, seed)
    progress(f"{size} s: fitting to {len(train):,} windows")
    with signs_of_life(f"{size} s: fitting", progress):
        fitted = fit(train.flows, validation.flows, Choices(family="boosted", novelty_fpr=0.0, seed=seed), record=record)
    quiet = joined([run.windows[size] for run in runs.quiet])
    days = sum(run.seconds for run in runs.quiet) / 86_400
    progress(f"{size} s: choosing the threshold by {len(quiet):,} windows of {days:.1f} benign days")
    scores, who = scored(fitted.model, quiet)
    budget = ALARMS_PER_DAY[size] if alarms_per_day is None else alarms_per_day
    if budget * days < 1.0:
        few = f"{days:.1f} benign days are too few for {budget:.3g} false alarms a day"
        progress(f"warning: {few}; the highest score there is the threshold")
    most = allowed(budget, days)
    below = must_lie_below(scores, who, quiet.begin, size, most)
    at = between(below, scored(fitted.model, validation)[0][validation.flows.attack])
    note = f"threshold {at:.4f} by {days:.1f} benign days, {most} false alarms on them, for {budget:.3g} a day"
    fitted = replace(fitted, model=replace(fitted.model, threshold=at), notes=(*fitted.notes, note))
    quality, _, _ = evaluate(fitted.model, validation.flows)
    progress(f"{size} s: {note}; {quality.recall:.1%} of the attacks' windows")
    made = SizeModel(size, fitted, quality, below, None)
    if settings is None:
        return made
    version = registering.register_generated(
        settings, record, fitted, quality,
        data=f"windows of {size} s of generated traffic, presets slow and quiet",
        fitting=train.flows, validating=validation.flows, seed=seed,
        tags={"threshold_rule": note, "data_version": f"generated:hours:{','.join(np.unique(train.flows.group).tolist())}"},
    )  # fmt: skip
    return replace(made, version=version)


def scored(model: ScoringModel, windows: LabelledWindows) -> tuple[npt.NDArray[np.float64], list[Who]]:
    """P(attack) float64[n] of windows, and whose alarm each would be: its run, its source, its likeliest attack."""
    proba = model.predict(windows.flows.matrix(model.columns))
    certainly = replace(model, threshold=np.nextafter(0.0, 1.0))  # the type of every window, flagged or not
    p_attack, _, kind = certainly.decide(proba)
    names = np.array(model.verdicts)[kind].tolist()
    return p_attack, list(zip(windows.flows.group.tolist(), windows.flows.host.tolist(), names, strict=True))


def _part(runs: Sequence[WindowRun], size: int, seed: int) -> LabelledWindows:
    """Windows that say what they are; of the benign ones not more than are of use."""
    found = joined([run.windows[size] for run in runs])
    found = found.where(found.certain)
    benign = np.flatnonzero(~found.flows.attack)
    if len(benign) <= _MOST_BENIGN:
        return found
    keep = found.flows.attack.copy()
    keep[np.random.default_rng(seed).choice(benign, _MOST_BENIGN, replace=False)] = True
    return found.where(keep)
