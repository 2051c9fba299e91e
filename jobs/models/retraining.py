"""A model trained anew, step by step: label, train, evaluate, challenger, shadow, report, promote.

What came of a step is kept before the next begins. A run that was killed goes on with the step it was at; a step that was done is not done
again. Training alone leaves something behind before its outcome is kept, a version: it carries the name of the run as a tag, by which it
is found again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.config import Settings
from infra.errors import ConfigError, ModelError
from jobs.models import compare, gates, material, promotion, runpage, runstate, shadow, versions
from jobs.models.gates import HeldOut
from jobs.models.runstate import RetrainRun
from jobs.scoring import aliases, registry
from jobs.training import families, heldout
from jobs.training.seeds import check as check_seeds
from schemas.packets import FLOWS
from schemas.records import RecordType

#: Tag of a version that a run has trained.
TAG = "retraining"
Progress = Callable[[str], None]


@dataclass(frozen=True)
class RetrainOptions:
    """What a retraining is asked for.

    Attributes
    ----------
    source
        ``lake``, ``generated``, or a file with labelled records.
    seeds, seconds
        Of generated traffic.
    shadow
        Whether the challenger scores beside the champion before anything is decided.
    """

    source: str = material.LAKE
    seeds: tuple[int, ...] = ()
    seconds: float = 18.0
    shadow: bool = True

    def plain(self) -> dict[str, Any]:
        """As the state of a run has them."""
        return {**vars(self), "seeds": list(self.seeds)}


@dataclass(frozen=True)
class _Workplace:
    settings: Settings
    record: RecordType
    run: RetrainRun
    wait: bool
    progress: Progress

    @property
    def version(self) -> str:
        return str(self.run.steps["train"]["version"])

    def held_out(self) -> HeldOut | None:
        """The records that this run holds out; None: those of the version, or generated ones."""
        file = self.run.folder / heldout.FILE
        return HeldOut(heldout.read(file), f"records that retraining {self.run.name} held out") if file.is_file() else None


class ShadowError(ModelError):
    """The challenger has not scored enough yet; the run goes on later."""


def retrain(
    settings: Settings,
    record: RecordType,
    options: RetrainOptions,
    *,
    anew: bool = False,
    wait: bool = True,
    progress: Progress = lambda line: None,
) -> RetrainRun:
    """Train a model anew, or go on with the run that was not finished.

    Parameters
    ----------
    settings
        Sections ``scoring``, ``gates``, ``retrain``, ``lake`` and ``paths``.
    record
        What the model scores.
    options
        Of a new run; those of a run that goes on must be the same.
    anew
        Give up a run that was not finished, and begin another.
    wait
        Wait until the challenger has scored enough.
    progress
        Told what is being done, one line at a time; ``<step>: done`` when what came of a step is kept.

    Raises
    ------
    ConfigError
        A run that was not finished has other options, or there is no such family of classifiers.
    ShadowError
        The challenger has not scored enough, and it was not to be waited for.
    ModelError, StoreError, InputError
        A step failed; the run goes on with it the next time.
    """
    material.check(options.source)
    if options.source == material.GENERATED and options.seeds:
        check_seeds(options.seeds, ",".join(map(str, options.seeds[:5])))
    if (family := settings.retrain.family) not in (families.AUTO, *families.FAMILIES):  # better known before the work
        raise ConfigError(f"retrain.family {family!r} is none", f"one of: {', '.join((families.AUTO, *families.FAMILIES))}")
    if record != FLOWS and options.source == material.GENERATED:
        raise ModelError(f"record type {record.name}: there is no generated traffic of it", "retrain it from the lake or a file: --from")
    with runstate.alone(settings, record):
        try:
            run = runstate.unfinished(settings, record)
        except ModelError as e:
            if not anew:
                raise
            progress(f"{e}: it is given up")
            run = None
        if run is not None and anew:
            run.closed = True
            run.save()
            progress(f"retraining {run.name} is given up")
            run = None
        if run is not None and run.options != options.plain():
            raise ConfigError(
                f"retraining {run.name} is not finished, and has other options: {_spelled(run.options)}",
                "give it the same, or begin anew: --new",
            )
        if run is None:
            run = runstate.begin(settings, record, options.plain())
            progress(f"retraining {run.name} begins")
        else:
            progress(f"retraining {run.name} goes on after {list(run.steps)[-1] if run.steps else 'its beginning'}")
        about = _Workplace(settings, record, run, wait, progress)
        for step, work in STEPS.items():
            if step in run.steps:
                continue
            progress(f"{step}: begins")
            run.done(step, work(about))
            progress(f"{step}: done")
        runpage.write(run)
        run.closed = True
        run.save()
        return run


def _spelled(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value if value or isinstance(value, bool) else 'none'}" for name, value in options.items())


def _label(about: _Workplace) -> dict[str, Any]:
    return material.freeze(about.settings, about.record, str(about.run.options["source"]), about.run.folder)


def _train(about: _Workplace) -> dict[str, Any]:
    found = _trained(about)
    if found is None:
        from jobs.training.fit import Choices
        from jobs.training.train import train

        with registry.marked(**{TAG: about.run.name}):
            rules = about.settings.retrain
            train(
                about.settings,
                **_data(about.run, about.record),
                choices=Choices(family=rules.family, max_fpr=rules.max_fpr),
                ways=rules.splits,
                progress=about.progress,
            )
        found = _trained(about)
        assert found is not None
    one = versions.version(about.settings, about.record, found)
    return {"version": found, "threshold": one.threshold, "columns": list(one.columns), "metrics": _finite(one.metrics)}


def _trained(about: _Workplace) -> str | None:
    """The version that this run has trained, before it was killed perhaps."""
    try:
        known = versions.versions(about.settings, about.record)
    except registry.ModelMissingError:  # the registry itself is made by the training
        return None
    return next((one.version for one in known if one.fact(TAG) == about.run.name), None)


def _data(run: RetrainRun, record: RecordType) -> dict[str, Any]:
    """Where the records of a training come from, as its arguments."""
    if (sourced := material.frozen(run.folder, run.steps["label"].get("sha256"))) is not None:
        return {"wanted": material.asked(str(run.options["source"]), record), "sourced": sourced}
    seeds = run.options["seeds"]
    return {"seconds": float(run.options["seconds"]), **({"seeds": tuple(seeds)} if seeds else {})}


def _evaluate(about: _Workplace) -> dict[str, Any]:
    settings, record, version = about.settings, about.record, about.version
    champion = aliases.version_of(settings, record, settings.scoring.alias)
    held_out = about.held_out() or gates.held_out_of(settings, record, version)
    found = gates.check(settings, record, version, champion, held_out)
    told: dict[str, Any] = {"champion": champion, "gates": [gate.plain() for gate in found], "origin": held_out.origin if held_out else ""}
    if champion is not None:
        told["before"] = _finite(versions.version(settings, record, champion).metrics)
        try:
            told["flips"] = compare.compare(settings, record, champion, version, held_out).plain()["flips"]
        except ModelError as e:  # a champion that cannot be used says nothing
            told["flips"], told["note"] = [], str(e)
    return told


def _challenger(about: _Workplace) -> dict[str, Any]:
    settings, record = about.settings, about.record
    alias = settings.scoring.challenger_alias
    if about.run.steps["evaluate"]["champion"] is None:
        return {"alias": None, "note": "there is no champion to stand beside"}
    if aliases.version_of(settings, record, alias) == about.version:
        return {"alias": alias}
    try:
        promotion.promote(settings, record, about.version, challenger=True, reason=f"retraining {about.run.name}")
    except promotion.GateError as e:
        return {"alias": None, "note": str(e)}
    return {"alias": alias}


def _shadow(about: _Workplace) -> dict[str, Any]:
    if not about.run.options["shadow"]:
        return {"skipped": "not asked for (--no-shadow)"}
    if about.run.steps["challenger"]["alias"] is None:
        return {"skipped": about.run.steps["challenger"]["note"]}
    about.progress(f"page so far: {runpage.write(about.run)}")  # the gates need not wait for the traffic of a day
    while True:
        seen = shadow.look(about.settings, about.record, about.version)
        missing = shadow.wait(seen, about.settings)
        if not missing:
            return seen.plain()
        if not about.wait:
            hint = "later: the same command goes on; flowlake stream must run meanwhile"
            raise ShadowError(f"retraining {about.run.name}: {missing}", hint)
        about.progress(f"shadow: {missing}")
        time.sleep(about.settings.retrain.poll_s)


def _report(about: _Workplace) -> dict[str, Any]:
    return {"page": str(runpage.write(about.run))}


def _promote(about: _Workplace) -> dict[str, Any]:
    settings, record = about.settings, about.record
    if not settings.retrain.auto_promote:
        closed = [gate["name"] for gate in about.run.steps["evaluate"]["gates"] if gate["verdict"] == gates.CLOSED]
        if closed:
            return {"promoted": False, "why": f"closed gates, which would refuse it: {', '.join(closed)}"}
        return {"promoted": False, "why": f"a person decides (retrain.auto_promote): flowlake models promote {about.version}"}
    if aliases.version_of(settings, record, settings.scoring.alias) == about.version:
        return {"promoted": True, "why": "it passed the gates"}
    try:
        promotion.promote(settings, record, about.version, reason=f"retraining {about.run.name}", held_out=about.held_out())
    except promotion.GateError as e:
        return {"promoted": False, "why": str(e)}
    return {"promoted": True, "why": "it passed the gates"}


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if value - value == 0}


#: The steps, in their order.
STEPS: dict[str, Callable[[_Workplace], dict[str, Any]]] = {
    "label": _label,
    "train": _train,
    "evaluate": _evaluate,
    "challenger": _challenger,
    "shadow": _shadow,
    "report": _report,
    "promote": _promote,
}


def page(run: RetrainRun) -> Path:
    """The page of a run."""
    return run.folder / runpage.PAGE
