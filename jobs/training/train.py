"""Training: from traffic or labelled records to a registered model and an account of its quality."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from infra.config import Settings
from infra.errors import ConfigError, ModelError
from jobs.metering.settings import MeterSettings
from jobs.scoring import registry
from jobs.scoring.model import ScoringModel
from jobs.training.evaluate import ClassQuality, Confusion, Quality, evaluate, judge
from jobs.training.fit import FOREST, Choices, Fitted, fit
from jobs.training.generated import generated_flows
from jobs.training.labelled import LabelledFlows, concat
from jobs.training.plots import write_files
from jobs.training.sources import Sourced, TrainingData, load
from schemas.packets import FLOWS

#: Generator seeds of the first model, and seconds of traffic of each. Many short runs teach more than few long ones: each has
#: its own hosts, tools and campaigns.
SEEDS: tuple[int, ...] = tuple(range(101, 123))
SECONDS = 18.0

Progress = Callable[[str], None]


@dataclass(frozen=True)
class TrainingReport:
    """What a training yielded.

    Attributes
    ----------
    model
        The model, its version that of the registry ("new" when not registered).
    quality
        By part: ``held_out``, ``held_out_closed``, ``held_out_interim``; from records: ``random``,
        ``by_day``.
    classes, confusion
        Those of the first part.
    importance
        Feature and importance, the largest first.
    version
        Registry version; None when not registered.
    promoted
        Whether it became the champion.
    why
        Reason for promoting it or not.
    notes
        What was dropped or left out.
    data_version
        What was read: versions of tables, a checksum of files, the seeds of a generator.
    seconds
        Wall clock of the training.
    """

    model: ScoringModel
    quality: dict[str, Quality]
    classes: list[ClassQuality]
    confusion: Confusion
    importance: list[tuple[str, float]]
    version: str | None
    promoted: bool
    why: str
    notes: tuple[str, ...]
    data_version: str
    seconds: float


def train(
    settings: Settings,
    *,
    seeds: Sequence[int] = SEEDS,
    seconds: float = SECONDS,
    wanted: TrainingData | None = None,
    choices: Choices | None = None,
    register: bool = True,
    promote: bool = False,
    progress: Progress = lambda line: None,
) -> TrainingReport:
    """Train a model on generated traffic, or on labelled records, judge it on flows held out and register it.

    Parameters
    ----------
    settings
        Registry and metering rules.
    seeds
        Generator seeds; the last seventh (at least one) is held out, the fifth before it chooses the
        threshold, the rest trains.
    seconds
        Capture time of each seed's traffic.
    wanted
        Labelled records instead (:mod:`jobs.training.sources`).
    choices
        Number of features, false-positive rate, seed of the training.
    register
        Log to MLflow and register a version.
    promote
        Make it the champion whatever there is; otherwise only where there is none that can be used, or where
        it is better on the held-out flows.
    progress
        Told what is being done, one line at a time.

    Raises
    ------
    ConfigError
        Fewer than three distinct seeds, or options that do not go together.
    ModelError
        The records cannot be used, or the registry cannot be reached.
    StoreError
        The lake cannot be read.
    """
    begin = time.monotonic()
    choices = choices or Choices()
    if register:
        registry.check(settings)  # a registry that cannot be used is better known before the work
    sourced: Sourced | None = None
    if wanted is None:
        source = f"generated traffic, preset train, {seconds:g} s of each seed {_spell(seeds)}"
        data_version = f"generated:{seconds:g}s:{_spell(seeds)}"
        data, notes = _from_seeds(settings, seeds, seconds, choices, progress)
    else:
        sourced = load(settings, replace(wanted, seed=choices.seed), progress)
        source, data_version = sourced.data, sourced.version
        data, notes = _from_records(sourced, choices, progress)
    fitted, test, quality = data
    part, classes, confusion = next(iter(quality.values()))
    model, version, promoted, why = fitted.model, None, False, "not registered"
    if register:
        promoted, why = (True, "asked for") if promote else _should_promote(settings, part, test)
        progress("registering")
        with tempfile.TemporaryDirectory(prefix="flowlake-report-") as temp:
            training = registry.Training(
                data=source,
                params={
                    **FOREST,
                    **vars(choices),
                    "data_version": data_version,
                    "threshold": model.threshold,
                    "columns": ",".join(model.columns),
                },
                metrics={k: v for name, (q, _, _) in quality.items() for k, v in q.metrics(name).items()},
                files=[*write_files(Path(temp), fitted, test, classes, confusion), *([sourced.write(Path(temp))] if sourced else [])],
                data_version=data_version,
            )
            version = registry.register(
                settings,
                FLOWS,
                fitted.estimator,
                columns=model.columns,
                threshold=model.threshold,
                training=training,
                promote=promoted,
                usual=model.usual,
                attack_types=model.attack_types,
                calibration=model.calibration,
                novelty=model.novelty,
            )
    importance = sorted(zip(model.columns, fitted.importance, strict=True), key=lambda pair: -pair[1])
    return TrainingReport(
        model=model,
        quality={name: q for name, (q, _, _) in quality.items()},
        classes=classes,
        confusion=confusion,
        importance=importance,
        version=version,
        promoted=promoted,
        why=why,
        notes=tuple(notes),
        data_version=data_version,
        seconds=time.monotonic() - begin,
    )


def ensure_champion(settings: Settings, progress: Progress = lambda line: None) -> ScoringModel:
    """The champion; trained first, on generated traffic, where there is none or it is of another feature-schema version.

    Raises
    ------
    ModelError
        The registry cannot be reached, or holds a champion that cannot be used for another reason: that is for a person to decide.
    """
    try:
        return registry.load_champion(settings, FLOWS)
    except (registry.ModelMissingError, registry.ModelVersionError) as e:
        progress(f"{e}: training one")
    train(settings, promote=True, progress=progress)
    return registry.load_champion(settings, FLOWS)


_Judged = dict[str, tuple[Quality, list[ClassQuality], Confusion]]
_Outcome = tuple[tuple[Fitted, LabelledFlows, _Judged], tuple[str, ...]]


def _from_seeds(settings: Settings, seeds: Sequence[int], seconds: float, choices: Choices, progress: Progress) -> _Outcome:
    if len(set(seeds)) != len(seeds) or len(seeds) < 3:
        raise ConfigError(
            f"seeds {_spell(seeds) or 'none'}: three distinct ones are needed", "one to train, one for the threshold, one held out"
        )
    flows = generated_flows(seeds, duration_s=seconds, settings=settings.section(MeterSettings), progress=progress)
    held_out, validating = max(1, len(seeds) // 7), max(1, len(seeds) // 5)  # a threshold from one or two runs wanders
    names = np.array([str(s) for s in seeds])
    cuts = np.split(names, [len(names) - held_out - validating, len(names) - held_out])
    parts = [flows.where(np.isin(flows.group, some)) for some in cuts]
    progress(f"fitting to {len(parts[0]):,} records")
    fitted = fit(parts[0], parts[1], choices)
    test = parts[2]
    judged = {
        name: evaluate(fitted.model, part)
        for name, part in (
            ("held_out", test),
            ("held_out_closed", test.where(test.closed)),
            ("held_out_interim", test.where(~test.closed)),
        )
        if len(part)
    }
    return (fitted, test, judged), ()


def _from_records(loaded: Sourced, choices: Choices, progress: Progress) -> _Outcome:
    """A random split 60 : 20 : 20 gives the model; leaving out one day after the other says what it would do on a day it has not seen."""
    flows = loaded.flows
    progress(f"{len(flows):,} labelled records")
    rows = np.random.default_rng(choices.seed).permutation(len(flows))
    a, b = int(0.6 * len(rows)), int(0.8 * len(rows))
    train_rows, validation_rows, test_rows = np.sort(rows[:a]), np.sort(rows[a:b]), np.sort(rows[b:])
    fitted = fit(flows.where(train_rows), flows.where(validation_rows), choices)
    test = flows.where(test_rows)
    judged = {"random": evaluate(fitted.model, test)}
    notes = list(loaded.notes)
    days = [d for d in np.unique(flows.group).tolist() if d]
    if len(days) < 2:
        notes.append("fewer than two days: no split by day")
    else:
        judged_days, skipped = _by_day(flows, days, choices, progress)
        if judged_days:
            judged["by_day"] = judged_days
        notes += skipped
    return (fitted, test, judged), tuple(notes)


def _by_day(
    flows: LabelledFlows, days: Sequence[str], choices: Choices, progress: Progress
) -> tuple[tuple[Quality, list[ClassQuality], Confusion] | None, list[str]]:
    """Every day judged by a model of the other days; decisions of all days together, each by its own model's threshold."""
    attack, kinds, tested, notes = [], [], [], []
    for day in days:
        progress(f"leaving out {day}")
        others, held_out = flows.where(flows.group != day), flows.where(flows.group == day)
        inner = np.random.default_rng(choices.seed).random(len(others)) < 0.75
        try:
            fitted = fit(others.where(inner), others.where(~inner), choices)
        except ModelError as e:
            notes.append(f"{day} not judged: {e}")
            continue
        p, label, kind = fitted.model.decide(fitted.model.predict(held_out.select(fitted.model.columns).x))
        attack.append(np.where(label == 1, 1.0, 0.0) + p)  # orders decisions across models: labelled ones first
        kinds.append(np.array(fitted.model.verdicts)[kind])
        tested.append(held_out)
    if not tested:
        return None, notes
    return judge(concat(tested), np.concatenate(attack), np.concatenate(kinds)), notes


def _should_promote(settings: Settings, quality: Quality, test: LabelledFlows) -> tuple[bool, str]:
    """Whether the new model replaces the champion: there is none, it cannot be used, or it is worse on the same held-out flows."""
    try:
        champion = registry.load_champion(settings, FLOWS)
    except (registry.ModelMissingError, registry.ModelVersionError) as e:
        return True, str(e)
    if not set(champion.columns) <= set(test.columns):
        return False, f"champion {champion.version} reads columns that these records lack; --promote replaces it"
    now = evaluate(champion, test)[0]
    if quality.f1 > now.f1:
        return True, f"F1 {quality.f1:.4f} on the held-out flows, champion {champion.version} has {now.f1:.4f}"
    return False, f"F1 {quality.f1:.4f} on the held-out flows, champion {champion.version} has {now.f1:.4f}; --promote replaces it"


def _spell(seeds: Sequence[int]) -> str:
    seeds = list(seeds)
    if len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]}..{seeds[-1]}"
    return ",".join(map(str, seeds))
