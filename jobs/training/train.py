"""Training: from traffic or labelled records to a registered model, an account of its quality and its card."""

from __future__ import annotations

import shlex
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from infra.config import Settings
from infra.errors import ModelError
from infra.sections import EvaluationSettings
from jobs.evaluation import leaks, splits
from jobs.evaluation.assess import Assessor, Evaluation, assess
from jobs.evaluation.card import CardFacts, card
from jobs.evaluation.leaks import Treatment
from jobs.evaluation.splits import Fold, Way
from jobs.metering.settings import MeterSettings
from jobs.models import measure
from jobs.scoring import registry
from jobs.scoring.model import ScoringModel
from jobs.training import heldout, registering
from jobs.training.evaluate import ClassQuality, Confusion, Quality, evaluate
from jobs.training.files import CARD, write_files
from jobs.training.fit import Choices, Fitted, fit
from jobs.training.generated import generated_flows
from jobs.training.labelled import LabelledFlows
from jobs.training.sampling import MOST, Stratum, by_label
from jobs.training.seeds import check as check_seeds
from jobs.training.sources import Sourced, TrainingData, load
from jobs.watching import reference
from schemas.packets import FLOWS
from schemas.records import RecordType

#: Generator seeds of the first model, and seconds of traffic of each. Many short runs teach more than few long ones: each has
#: its own hosts, tools and campaigns.
SEEDS: tuple[int, ...] = tuple(range(101, 123))
SECONDS = 18.0

#: What suits generated traffic. Boosted trees are best on it by far. The rate is that of the validation's
#: runs, which are harder than others: of these 0.1 % are false alarms. At half of it a flood of SYNs with the header of a usual system is
#: missed whole. Nothing looks for unknown attacks: every kind is shown, and what is unusual for runs of seconds is not for a minute's.
GENERATED = Choices(family="boosted", max_fpr=0.002, novelty_fpr=0.0)

#: Benign records, and records of attacks, with which there is something to fit to and something to judge by.
_FEWEST = 10

Progress = Callable[[str], None]


@dataclass(frozen=True)
class TrainingReport:
    """What a training yielded.

    Attributes
    ----------
    model
        The model, its version that of the registry ("new" when not registered).
    evaluation
        How good it is, in every way that the records allow.
    importance
        Feature and importance, the largest first.
    card
        The model card, a page of HTML.
    version
        Registry version; None when not registered.
    beside
        How the champion does on the same held-out records; "" where there is none that can be used.
    notes
        What was dropped or left out.
    data_version
        What was read: versions of tables, a checksum of files, the seeds of a generator.
    ms_per_1000
        Milliseconds of one core that 1,000 records take here.
    seconds
        Wall clock of the training.
    """

    model: ScoringModel
    evaluation: Evaluation
    importance: list[tuple[str, float]]
    card: str
    version: str | None
    beside: str
    notes: tuple[str, ...]
    data_version: str
    ms_per_1000: float
    seconds: float

    @property
    def quality(self) -> dict[str, Quality]:
        """By part: ``held_out``, ``held_out_closed``, ``held_out_interim``; of records ``random``, ``by_day``, ``by_host``."""
        return {name: part.quality for name, part in self.evaluation.parts.items()}

    @property
    def classes(self) -> list[ClassQuality]:
        """By label, those of the first part."""
        return list(next(iter(self.evaluation.parts.values())).classes)

    @property
    def confusion(self) -> Confusion:
        """That of the first part."""
        return next(iter(self.evaluation.parts.values())).confusion


@dataclass(frozen=True)
class _Data:
    """Labelled records, the fold of them that gives the model, and further ways to hold them out."""

    source: str
    version: str
    flows: LabelledFlows
    base: Fold
    ways: tuple[Way, ...]
    command: tuple[str, ...]
    sourced: Sourced
    notes: tuple[str, ...] = ()
    record: RecordType = FLOWS


def train(
    settings: Settings,
    *,
    seeds: Sequence[int] = SEEDS,
    seconds: float = SECONDS,
    wanted: TrainingData | None = None,
    sourced: Sourced | None = None,
    choices: Choices | None = None,
    ways: Sequence[Way] = splits.WAYS,
    duplicates: Treatment = "drop",
    register: bool = True,
    progress: Progress = lambda line: None,
) -> TrainingReport:
    """Train a model on generated traffic, or on labelled records, judge it on flows held out and register it, as a version that waits.

    Parameters
    ----------
    settings
        Registry and metering rules; what the model is judged for.
    seeds
        Generator seeds; the last seventh (at least one) is held out, the fifth before it chooses the
        threshold, the rest trains.
    seconds
        Capture time of each seed's traffic.
    wanted
        Labelled records instead (:mod:`jobs.training.sources`).
    sourced
        What was read for ``wanted``, where that was done before.
    choices
        Family of classifiers, number of features, false-positive rate, seed of the training. Default: :data:`GENERATED`, or those of
        :class:`jobs.training.fit.Choices` for labelled records.
    ways
        Further ways of holding out, each some trainings more: days, hosts, kinds of attack. Those that the
        records do not allow are named in the notes.
    duplicates
        What is done with test rows of the random split that are in its training too: taken out of the test
        (``drop``), kept, or the training refused (``refuse``) where they are more than 1 %.
    register
        Log to MLflow and register a version.
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
    choices = choices or (GENERATED if wanted is None else Choices())
    if register:
        registry.check(settings)  # a registry that cannot be used is better known before the work
    if wanted is None:
        data = _generated(settings, seeds, seconds, progress)
    else:
        data = _recorded(sourced or load(settings, replace(wanted, seed=choices.seed), progress), wanted, choices.seed, progress)
    fitted, base, evaluation = _judged(data, choices, settings.evaluation, [w for w in ways if w in data.ways], duplicates, progress)
    command, rule, notes = _command(data, choices), _rule(choices), (*data.notes, *fitted.notes)
    importance = sorted(zip(fitted.model.columns, fitted.importance, strict=True), key=lambda pair: -pair[1])
    took = measure.latency(fitted.model, data.flows)
    facts = CardFacts(
        data.source,
        data.version,
        len(data.flows),
        command,
        rule,
        choices.seed,
        notes,
        labels=by_label(data.sourced.strata),
        split=f"{len(base.train):,} to learn from, {len(base.validation):,} to choose the threshold by, {len(base.test):,} to judge by",
        family=fitted.family,
        ms_per_1000=took,
    )
    page = card(fitted.model, evaluation, importance, facts)
    version, beside = None, ""
    if register:
        beside = _beside(settings, data, base, evaluation)
        progress("registering")
        version = _registered(settings, data, choices, fitted, base, evaluation, page, took)
    return TrainingReport(
        model=fitted.model,
        evaluation=evaluation,
        importance=importance,
        card=page,
        version=version,
        beside=beside,
        notes=(*notes, *evaluation.notes),
        data_version=data.version,
        ms_per_1000=took,
        seconds=time.monotonic() - begin,
    )


def _registered(
    settings: Settings, data: _Data, choices: Choices, fitted: Fitted, base: Fold, evaluation: Evaluation, page: str, took: float
) -> str:
    """Register a fitted model with all that it is judged and watched by; its version."""
    model, rule = fitted.model, _rule(choices)
    facts = {"family": fitted.family, "data_version": data.version, "threshold": model.threshold, "columns": ",".join(model.columns)}
    with tempfile.TemporaryDirectory(prefix="flowlake-report-") as temp:
        files = [*write_files(Path(temp), evaluation, page), heldout.write(Path(temp), data.flows.where(base.test), seed=choices.seed)]
        files.append(reference.write_profile(Path(temp), model, data.flows.where(base.train)))
        files.append(data.sourced.write(Path(temp)))
        training = registry.Training(
            data=data.source,
            params={**vars(choices), **facts},
            metrics={k: v for name, part in evaluation.parts.items() for k, v in part.quality.metrics(name).items()},
            files=files,
            tags={"card": CARD, "threshold_rule": rule, "data_version": data.version, "ms_per_1000": f"{took:.3g}"},
        )
        return registering.register(settings, data.record, fitted, training)


def _generated(settings: Settings, seeds: Sequence[int], seconds: float, progress: Progress) -> _Data:
    """Generated traffic; whole seeds are held out, so neither host nor campaign is on both sides."""
    check_seeds(seeds, _spell(seeds))
    flows = generated_flows(seeds, duration_s=seconds, settings=settings.section(MeterSettings), progress=progress)
    held_out, validating = max(1, len(seeds) // 7), max(1, len(seeds) // 5)  # a threshold from one or two runs wanders
    names = np.array([str(s) for s in seeds])
    cuts = np.split(names, [len(names) - held_out - validating, len(names) - held_out])
    train_rows, validation_rows, test_rows = (np.flatnonzero(np.isin(flows.group, some)) for some in cuts)
    source = f"generated traffic, preset train, {seconds:g} s of each seed {_spell(seeds)}"
    version = f"generated:{seconds:g}s:{_spell(seeds)}"
    command = ("flowlake", "train", "--seeds", _spell(seeds).replace("..", "-"), "--seconds", f"{seconds:g}")
    labels, counts = np.unique(flows.y, return_counts=True)
    strata = tuple(Stratum(label, "", n, n) for label, n in zip(labels.tolist(), counts.tolist(), strict=True))
    fold = Fold("held_out", train_rows, validation_rows, test_rows)
    return _Data(source, version, flows, fold, ("attack",), command, Sourced(flows, source, version, strata))


def _recorded(sourced: Sourced, wanted: TrainingData, seed: int, progress: Progress) -> _Data:
    """Labelled records. A random split gives the model; days, hosts and attacks left out say what it does with what it has not seen."""
    flows = sourced.flows
    progress(f"{len(flows):,} labelled records")
    command = ["flowlake", "train", *(["--from", wanted.origin] if wanted.origin else [])]
    command += [word for place in wanted.records for word in ("--records", Path(place).name)]
    command += ["--as-of", sourced.version] if wanted.origin == "lake" or wanted.as_of else []
    command += ["--labels", wanted.labels.name] if wanted.labels is not None else []
    base = splits.at_random(flows, seed)
    command += ["--record", wanted.record.name] if wanted.record != FLOWS else []
    command += ["--rows", str(wanted.most)] if wanted.most != MOST else []
    return _Data(sourced.data, sourced.version, flows, base, splits.WAYS, tuple(command), sourced, sourced.notes, wanted.record)


def _judged(
    data: _Data, choices: Choices, site: EvaluationSettings, ways: Sequence[Way], duplicates: Treatment, progress: Progress
) -> tuple[Fitted, Fold, Evaluation]:
    """The model, the fold it is of, and how good it is."""
    flows = data.flows
    chosen, alerts = choices, data.record.csv.labels if data.record.csv else {}
    attack_types = {label: alerts[label.lower()] for label in np.unique(flows.y).tolist() if label.lower() in alerts}

    def refit(some: LabelledFlows, others: LabelledFlows) -> ScoringModel:
        return fit(some, others, replace(chosen, cross=False), attack_types, data.record).model  # one fit a fold: there are dozens

    assessor = Assessor(flows, refit, site, choices.seed, progress)
    attacks = int(flows.attack.sum())
    if 0 < min(attacks, len(flows) - attacks) < _FEWEST:  # none at all is said by the fit, which names what there is
        raise ModelError(
            f"{data.source}: {len(flows) - attacks:,} benign records and {attacks:,} of attacks, too few to learn from and to judge by",
            f"at least {_FEWEST} of each are needed; hundreds are better",
        )
    progress("looking for equal rows on both sides")
    identity = leaks.identities(flows)
    # seeds share neither host nor campaign: what is equal there is not the same traffic, and comes again in reality too
    base, leak = assessor.clean(data.base, identity, duplicates if data.base.name == "random" else "keep")
    progress(f"fitting to {len(base.train):,} records")
    fitted = fit(flows.where(base.train), flows.where(base.validation), choices, attack_types, data.record, progress=progress)
    chosen = replace(choices, family=fitted.family)  # what is judged is the family that was chosen
    return fitted, base, assess(assessor, fitted.model, base, leak, identity, ways)


def _rule(choices: Choices) -> str:
    """How the threshold was chosen."""
    more = f"; unknown attacks: at most {choices.novelty_fpr:.2%} more" if choices.novelty_fpr else ""
    return f"most recall at an expected false-positive rate of at most {choices.max_fpr:.2%}, by records not fitted to{more}"


def _command(data: _Data, choices: Choices) -> str:
    """The command that trains this model again."""
    given = ["--features", str(choices.features), "--max-fpr", f"{choices.max_fpr:g}", "--family", choices.family]
    given += ["--novelty-fpr", f"{choices.novelty_fpr:g}"]
    given += ["--seed", str(choices.seed)] if choices.seed != Choices().seed else []
    return shlex.join([*data.command, *given])


def _beside(settings: Settings, data: _Data, base: Fold, evaluation: Evaluation) -> str:
    """How the champion does on the same held-out records; "" where none can be asked."""
    try:
        champion = registry.load_champion(settings, data.record)
    except ModelError:  # what is the matter with it is told by whoever promotes
        return ""
    test = data.flows.where(base.test)
    if not set(champion.reads) <= set(test.columns):
        return f"champion {champion.version} reads columns that these records lack"
    now, was = next(iter(evaluation.parts.values())).quality, evaluate(champion, test)[0]
    return f"F1 {now.f1:.4f} on the held-out records, champion {champion.version} has {was.f1:.4f}"


def _spell(seeds: Sequence[int]) -> str:
    seeds = list(seeds)
    if len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]}..{seeds[-1]}"
    return ",".join(map(str, seeds))
