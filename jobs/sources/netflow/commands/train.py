"""``flowlake netflow train``: a model of exported flows, of generated traffic that is exported."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from infra import config
from infra.console.options import ConfFile, Json

if TYPE_CHECKING:
    pass


def train(
    seeds: Annotated[str, typer.Option(help="Generator seeds, a list or a range: 1-12.", show_default="1-12")] = "",
    seconds: Annotated[float, typer.Option(min=5.0, max=3600.0, help="Capture time of each.")] = 60.0,
    sampling: Annotated[
        list[int] | None, typer.Option("--sampling", min=1, help="One packet of so many; several: the seeds take turns.", show_default="1")
    ] = None,
    max_fpr: Annotated[float, typer.Option("--max-fpr", min=0.0, max=0.5, help="False-positive rate that the threshold keeps.")] = 0.001,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of every random choice: the same gives the same model.")] = 7,
    promote: Annotated[
        bool, typer.Option("--promote", help="Make it champion, whatever there is. Else only where there is none that can be used.")
    ] = False,
    register: Annotated[bool, typer.Option("--register/--no-register", help="Put it into the registry.")] = True,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Train a model of exported flows, on generated traffic with attacks, exported as NetFlow v9 and IPFIX and decoded again.

    Examples:

      flowlake netflow train

      flowlake netflow train --seeds 1-4 --seconds 20 --no-register
    """
    from jobs.scoring import registry
    from jobs.sources.netflow.training import ExportTraining
    from jobs.sources.netflow.training import train as run
    from jobs.training.seeds import parse_seeds
    from schemas.exportedflows import EXPORTED_FLOWS

    settings = config.load(conf_file)
    usual = ExportTraining()
    training = ExportTraining(tuple(parse_seeds(seeds)) if seeds else usual.seeds, seconds, samplings=tuple(sampling or usual.samplings))
    if register:
        registry.check(settings)  # a registry that cannot be used is better known before the work
    first = promote or (register and registry.none_works(settings, EXPORTED_FLOWS))
    began = time.monotonic()
    made = run(training, settings, seed=seed, max_fpr=max_fpr, register=register, promote=first, progress=_say)
    quality = made.quality
    found = {
        "model": EXPORTED_FLOWS.features.model if EXPORTED_FLOWS.features else "",
        "version": made.version,
        "champion": first and register,
        "threshold": float(made.fitted.model.threshold),
        "recall": float(quality.recall),
        "precision": float(quality.precision),
        "false_positive_rate": float(quality.false_positive_rate),
        "seconds": round(time.monotonic() - began, 1),
    }
    if as_json:
        print(json.dumps(found))
        return
    where = f"version {made.version}, {'champion' if found['champion'] else 'registered'}" if register else "kept nowhere"
    print(
        f"{found['recall']:.1%} of the attacks' records, {found['false_positive_rate']:.3%} of the benign ones, "
        f"at threshold {found['threshold']:.4f}; {where}"
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
