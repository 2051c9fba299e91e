"""``flowlake netflow train``: a model of exported flows, of generated traffic that is exported."""

from __future__ import annotations

import json
import sys
import time
from typing import Annotated

import typer

from infra import config
from infra.console.options import ConfFile, Json
from jobs.models.request import Force, Promote, PromotionRequest, Reason


def train(
    seeds: Annotated[str, typer.Option(help="Generator seeds, a list or a range: 1-12.", show_default="1-12")] = "",
    seconds: Annotated[float, typer.Option(min=5.0, max=3600.0, help="Capture time of each.")] = 60.0,
    sampling: Annotated[
        list[int] | None, typer.Option("--sampling", min=1, help="One packet of so many; several: the seeds take turns.", show_default="1")
    ] = None,
    max_fpr: Annotated[float, typer.Option("--max-fpr", min=0.0, max=0.5, help="False-positive rate that the threshold keeps.")] = 0.001,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of every random choice: the same gives the same model.")] = 7,
    promote: Promote = False,
    force: Force = False,
    reason: Reason = "",
    register: Annotated[bool, typer.Option("--register/--no-register", help="Put it into the registry.")] = True,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Train a model of exported flows, on generated traffic with attacks, exported as NetFlow v9 and IPFIX and decoded again.

    Examples:

      flowlake netflow train

      flowlake netflow train --seeds 1-4 --seconds 20 --no-register

    Exit code: 6 where a promotion was asked for and refused; the version is registered all the same.
    """
    from jobs.models.newcomer import Settled, settle
    from jobs.scoring import registry
    from jobs.sources.netflow.training import ExportTraining
    from jobs.sources.netflow.training import train as run
    from jobs.training.seeds import parse_seeds
    from schemas.exportedflows import EXPORTED_FLOWS

    settings = config.load(conf_file)
    usual = ExportTraining()
    training = ExportTraining(tuple(parse_seeds(seeds)) if seeds else usual.seeds, seconds, samplings=tuple(sampling or usual.samplings))
    request = PromotionRequest(promote, force, reason)
    request.check(register=register)
    if register:
        registry.check(settings)  # a registry that cannot be used is better known before the work
    began = time.monotonic()
    made = run(training, settings, seed=seed, max_fpr=max_fpr, register=register, progress=_say)
    settled = settle(settings, EXPORTED_FLOWS, made.version, request) if made.version else Settled()
    quality = made.quality
    found = {
        "model": EXPORTED_FLOWS.features.model if EXPORTED_FLOWS.features else "",
        "version": made.version,
        "champion": settled.promoted,
        "why": settled.why,
        "threshold": float(made.fitted.model.threshold),
        "recall": float(quality.recall),
        "precision": float(quality.precision),
        "false_positive_rate": float(quality.false_positive_rate),
        "seconds": round(time.monotonic() - began, 1),
    }
    if as_json:
        print(json.dumps(found))
    else:
        where = f"version {made.version} ({settled.state()})" if register else "kept nowhere"
        print(
            f"{quality.recall:.1%} of the attacks' records, {quality.false_positive_rate:.3%} of the benign ones, "
            f"at threshold {made.fitted.model.threshold:.4f}; {where}"
        )
    if settled.refused is not None:
        raise settled.refused


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
