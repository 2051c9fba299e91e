"""``flowlake train``: train a model, say how good it is, register it."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from infra import config
from infra.console.options import ConfFile, Json, names
from infra.errors import ConfigError, ModelError
from jobs.models.request import Force, Promote, PromotionRequest, Reason
from jobs.training.seeds import parse_seeds

if TYPE_CHECKING:
    from jobs.training.sources import TrainingData


def train(
    seeds: Annotated[
        str, typer.Option(help="Generator seeds: a list (1,2,3) or a range (1-16), at least three; the last ones are held out.")
    ] = "",
    seconds: Annotated[float, typer.Option(min=1, max=3600, help="Seconds of generated traffic of each seed.")] = 18.0,
    origin: Annotated[
        str, typer.Option("--from", help="Where labelled records are: lake, parquet, csv or generated; default: by what --records are.")
    ] = "",
    records: Annotated[
        list[str] | None,
        typer.Option(help="Files or folders of labelled records, or the lake's table (default: the configured one).", show_default=False),
    ] = None,
    record: Annotated[str, typer.Option("--record", help="What the records are, such as flows; default: flows.")] = "",
    as_of: Annotated[
        str, typer.Option("--as-of", help="Version of the lake's table: a number, a time, or the data_version of a model.")
    ] = "",
    labels: Annotated[
        Path | None, typer.Option(help="Truth table (Parquet) for a lake's records, beside its table labels.", show_default=False)
    ] = None,
    rows: Annotated[int, typer.Option("--rows", min=10, help="Records of one label at most, spread over the days.")] = 200_000,
    engine: Annotated[str, typer.Option(help="Who reads the lake: local, spark, or auto, by its size.")] = "auto",
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Of every random choice: the same gives the same model.")] = 7,
    features: Annotated[int, typer.Option(min=1, max=80, help="Columns the model gets at most.")] = 80,
    family: Annotated[
        str,
        typer.Option(
            help="Classifiers: blend, boosted, extra-trees, forest, scaled-forest; auto takes the cheapest of the best. "
            "Default: auto, of generated traffic boosted.",
            show_default=False,
        ),
    ] = "",
    max_fpr: Annotated[
        float | None,
        typer.Option(
            "--max-fpr",
            min=0.0,
            max=0.5,
            help="False-positive rate that the threshold is to keep on flows to come. Default: 0.001, of generated traffic 0.002.",
            show_default=False,
        ),
    ] = None,
    novelty_fpr: Annotated[
        float | None,
        typer.Option(
            "--novelty-fpr",
            min=0.0,
            max=0.5,
            help="False-positive rate that the search for unknown attacks may add; 0: none. Default: 0.0002, of generated traffic 0.",
            show_default=False,
        ),
    ] = None,
    splits: Annotated[
        str, typer.Option(help="Further ways to judge: day, host, attack, each left out in turn, a training each; none: much quicker.")
    ] = "day,host,attack",
    duplicates: Annotated[
        Literal["drop", "keep", "refuse"],
        typer.Option(help="Test rows that are in the training too: left out of the test, kept, or no training where they are many."),
    ] = "drop",
    card: Annotated[Path | None, typer.Option(help="Write the model card, one HTML file, here too.", show_default=False)] = None,
    register: Annotated[bool, typer.Option("--register/--no-register", help="Log to MLflow and register a version.")] = True,
    promote: Promote = False,
    force: Force = False,
    reason: Reason = "",
    conf_file: ConfFile = None,
    as_json: Json = False,
) -> None:
    """Train a model and register it. Without options: on generated traffic, through the meter itself.

    Exit code: 6 where a promotion was asked for and refused; the version is registered all the same.
    """
    from jobs.evaluation.splits import WAYS
    from jobs.models.commands import record_type
    from jobs.models.newcomer import Settled, settle
    from jobs.training.families import AUTO
    from jobs.training.families import family as known_family
    from jobs.training.files import save_card
    from jobs.training.fit import Choices
    from jobs.training.terminal import plain, show
    from jobs.training.train import GENERATED, SEEDS
    from jobs.training.train import train as run
    from schemas.packets import FLOWS

    wanted = _wanted(origin, records or [], as_of, labels, rows, engine)
    if wanted is None and record:
        raise ConfigError(f"--record {record} with generated traffic", "say --from lake, parquet or csv, or --records")
    if wanted is not None and seeds:
        raise ConfigError(f"--seeds {seeds!r} with labelled records", "seeds are of generated traffic: leave them out")
    if family not in ("", AUTO):
        known_family(family)  # better known before the work
    request = PromotionRequest(promote, force, reason)
    request.check(register=register)
    if card is not None and not card.resolve().parent.is_dir():  # better known before the work
        raise ConfigError(f"--card {card}: no folder {card.parent}", "make the folder, or name another file")
    if card is not None and card.is_dir():
        raise ConfigError(f"--card {card}: is a folder", "name a file in it, such as card.html")
    given = {"family": family or None, "max_fpr": max_fpr, "novelty_fpr": novelty_fpr}
    asked: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    settings = config.load(conf_file)
    if wanted is not None and record:
        wanted = replace(wanted, record=record_type(settings, record))
    report = run(
        settings,
        seeds=parse_seeds(seeds) if seeds else SEEDS,
        seconds=seconds,
        ways=[] if splits == "none" else [way for way in WAYS if way in names("--splits", splits, WAYS)],
        duplicates=duplicates,
        wanted=wanted,
        choices=replace(Choices() if wanted is not None else GENERATED, features=features, seed=seed, **asked),
        register=register,
        progress=lambda line: print(line, file=sys.stderr, flush=True),
    )
    kind = FLOWS if wanted is None else wanted.record
    failed: ModelError | None = None
    try:
        settled = settle(settings, kind, report.version, request) if report.version else Settled()
    except ModelError as e:  # the version is registered, and what is known of it is told
        settled, failed = Settled(False, str(e)), e
    if as_json:
        print(json.dumps(plain(report, settled), indent=2))
    else:
        from rich.console import Console

        show(report, settled, Console())
    if card is not None:  # last: what was trained is told, even where this cannot be written
        save_card(report.card, card)
        if not as_json:
            print(f"Card: {card}")
    if (error := failed or settled.refused) is not None:
        raise error


train.epilog = (  # type: ignore[attr-defined]  # shown under --help
    "Examples:  flowlake train   |   flowlake train --seeds 1-24 --promote   |   flowlake train --from lake --family forest   |   "
    "flowlake train --records cicids2017.parquet --max-fpr 0.0005 --novelty-fpr 0.0045   |   "
    "flowlake train --records cicids2017.parquet --no-register --card card.html   |   flowlake train --from lake --as-of 12   |   "
    "flowlake train --records var/lake/flows --labels traffic.truth.parquet"
)


def _wanted(origin: str, records: list[str], as_of: str, labels: Path | None, rows: int, engine: str) -> TrainingData | None:
    """The labelled records that are asked for; None: generated traffic."""
    from jobs.training.sources import ENGINES, ORIGINS, TrainingData

    for option, word, known in (("--from", origin or ORIGINS[0], ORIGINS), ("--engine", engine, ENGINES)):
        if word not in known:
            raise ConfigError(f"{option} {word!r}", f"one of: {', '.join(known)}")
    if origin == "generated" or not (origin or records):
        if given := [name for name, value in (("--records", records), ("--as-of", as_of), ("--labels", labels)) if value]:
            raise ConfigError(
                f"{given[0]} with generated traffic" if origin else f"{given[0]} without --records", "say --from lake, parquet or csv"
            )
        return None
    return TrainingData(origin, tuple(records), as_of=as_of, labels=labels, most=rows, engine=engine)  # type: ignore[arg-type]  # looked at above
