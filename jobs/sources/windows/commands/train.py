"""``flowlake windows train``: a model for each size of windows, of generated traffic of hours."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra import config
from infra.console.options import ConfFile, Json, names
from jobs.models.request import Force, Promote, PromotionRequest, Reason

if TYPE_CHECKING:
    from jobs.models.newcomer import Settled
    from jobs.training.windowmodels import SizeModel
    from schemas.records import RecordType


def train(
    size: Annotated[str, typer.Option("--size", help="Sizes in seconds, with commas: 5, 30, 180; default: all.", show_default=False)] = "",
    seeds: Annotated[str, typer.Option(help="Generator seeds of runs with attacks: a list or a range. Default: 1001-1060.")] = "",
    hours: Annotated[float, typer.Option(min=0.5, max=24.0, help="Capture time of each.")] = 4.0,
    quiet_seeds: Annotated[str, typer.Option(help="Of benign runs, by which the threshold is chosen. Default: 2001-2060.")] = "",
    quiet_hours: Annotated[float, typer.Option(min=0.5, max=24.0, help="Capture time of each.")] = 8.0,
    quick: Annotated[bool, typer.Option("--quick", help="Ten runs and six benign ones: some minutes.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of every random choice: the same gives the same models.")] = 7,
    promote: Promote = False,
    force: Force = False,
    reason: Reason = "",
    register: Annotated[bool, typer.Option("--register/--no-register", help="Put them into the registry.")] = True,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Train a model for each size of windows, on generated office days with attacks that take their time.

    Its threshold is chosen by whole benign days: three sizes together are to give one false alarm a day at most.

    Exit code: 6 where a promotion was asked for and refused; the versions are registered all the same.
    """
    from jobs.metering.settings import MeterSettings
    from jobs.models.newcomer import Settled, settle
    from jobs.scoring import registry
    from jobs.training.seeds import parse_seeds
    from jobs.training.windowmodels import QUICK, WindowTraining, generated_runs, train_size
    from schemas.windowrecords import WINDOWS

    wanted = [int(one) for one in names("--size", size, [str(one) for one in WINDOWS])] if size else list(WINDOWS)
    settings = config.load(conf_file)
    usual = QUICK if quick else WindowTraining()
    training = WindowTraining(
        tuple(parse_seeds(seeds)) if seeds else usual.seeds, hours,
        tuple(parse_seeds(quiet_seeds)) if quiet_seeds else usual.quiet_seeds, quiet_hours,
    )  # fmt: skip
    request = PromotionRequest(promote, force, reason)
    request.check(register=register)
    if register:
        registry.check(settings)  # a registry that cannot be used is better known before the work
    begin = time.monotonic()
    runs = generated_runs(training, settings.section(MeterSettings), _say)
    made: list[dict[str, Any]] = []
    settled: list[Settled] = []
    for one in wanted:
        record = WINDOWS[one]
        model = train_size(one, runs, record, seed=seed, settings=settings if register else None, progress=_say)
        settled.append(settle(settings, record, model.version, request) if model.version else Settled())
        made.append(_told(model, record, settled[-1]))
    if as_json:
        print(json.dumps({"models": made, "seconds": round(time.monotonic() - begin, 1)}))
    else:
        for line, what in zip(made, settled, strict=True):
            where = f"version {line['version']} of {line['model']} ({what.state()})" if register else "kept nowhere"
            print(f"{line['size']} s: {line['recall']:.1%} of the attacks' windows at threshold {line['threshold']:.4f}; {where}")
    for what in settled:
        if what.refused is not None:
            raise what.refused


train.epilog = (  # type: ignore[attr-defined]  # shown under --help
    "Examples:  flowlake windows train   |   flowlake windows train --quick --size 180   |   flowlake windows train --seeds 1-20 --promote"
)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _told(model: SizeModel, record: RecordType, settled: Settled) -> dict[str, Any]:
    assert record.features is not None
    return {
        "size": model.size,
        "model": record.features.model,
        "version": model.version,
        "champion": settled.promoted,
        "why": settled.why,
        "threshold": float(model.fitted.model.threshold),
        "recall": float(model.quality.recall),
        "precision": float(model.quality.precision),
    }
