"""``flowlake bench explain | detection | windows-detection | novelty | scoring``: what models find, and how fast."""

from __future__ import annotations

from typing import Annotated

import typer

from infra.console.options import ConfFile
from infra.console.signals import stoppable
from infra.errors import ConfigError
from ops.cli.bench.telling import JsonFile, prepare, say, show, tell

app = typer.Typer()


@app.command(epilog="Example:  flowlake bench explain --json explain.json")
def explain(
    flows: Annotated[int, typer.Option("--flows", min=10, max=100_000, help="Attacks that are explained, in several rounds.")] = 500,
    peer: Annotated[bool, typer.Option("--peer/--no-peer", help="Measure the package shap beside it.")] = True,
    json_file: JsonFile = None,
    conf_file: ConfFile = None,
) -> None:
    """Explanations of scores per second of one core, beside shap in the same run, and how far both are apart."""
    from ops.bench import explain as bench

    settings = prepare(conf_file, json_file)
    with stoppable():
        result = bench.run(settings, flows=flows, with_peer=peer, say=say)
    tell(result, json_file)


@app.command(
    epilog="Examples:  flowlake bench detection --seeds 201-206   |   flowlake bench detection --preset demo --seeds 301-304 --seconds 60"
)
def detection(
    seeds: Annotated[
        str, typer.Option("--seeds", help="Of the generated traffic: a list or a range; none that trained the model.")
    ] = "201-206",
    preset: Annotated[str, typer.Option("--preset", help="Of the generator.")] = "train",
    seconds: Annotated[float, typer.Option("--seconds", min=1.0, max=3600.0, help="Of traffic of each seed.")] = 18.0,
    version: Annotated[str, typer.Option("--model", metavar="VERSION", help="Of the registry.  [default: the champion]")] = "",
    family: Annotated[
        str, typer.Option("--family", help="Classifiers of this family instead, fitted for the purpose; nothing is registered.")
    ] = "",
    json_file: JsonFile = None,
    conf_file: ConfFile = None,
) -> int:
    """What the model finds in generated traffic that it has not seen, by kind of attack and age of the flow, and its false alarms.

    Exit code 0 when it finds 95 of 100 attacks that a flow shows, and 60 of each kind, at one false alarm in a thousand flows.
    """
    from jobs.training.families import family as known_family
    from jobs.training.seeds import parse_seeds
    from ops.bench import detection as bench
    from ops.bench.detectiontables import tables

    if family and version:
        raise ConfigError("--family and --model: one or the other", "--family fits a model of its own")
    if family:
        known_family(family)
    settings = prepare(conf_file, json_file)
    with stoppable():
        result = bench.run(settings, seeds=parse_seeds(seeds), preset=preset, seconds=seconds, version=version, family=family, say=say)
    tell(result, json_file)
    show(tables(result))
    return 0 if result["met"] else 1


@app.command(
    "windows-detection",
    epilog="Examples:  flowlake bench windows-detection --json windows.json   |   flowlake bench windows-detection --quick",
)
def windows_detection(
    seeds: Annotated[str, typer.Option("--seeds", help="Of runs with attacks: a list or a range; none that is trained on.")] = "3001-3020",
    quiet_seeds: Annotated[str, typer.Option("--quiet-seeds", help="Of benign days, in the same way.")] = "4001-4007",
    hours: Annotated[float, typer.Option("--hours", min=0.5, max=24.0, help="Capture time of each run with attacks.")] = 4.0,
    quick: Annotated[bool, typer.Option("--quick", help="Train on a sixth, judge on four runs and one day: a few minutes.")] = False,
    flows: Annotated[bool, typer.Option("--flows", help="Judge a model of flows beside them: some minutes more.")] = False,
    json_file: JsonFile = None,
    conf_file: ConfFile = None,
) -> int:
    """What models of windows find of attacks that take hours, how soon, and their false alarms on whole benign days.

    A port in 10 s, a password in 15 s, a report in 60 s give or take a tenth. A model is trained for each size, and none is registered.
    Exit code 0 when all sizes together find 95 of 100 campaigns of each kind at one false alarm a day.
    """
    from jobs.training.seeds import parse_seeds
    from ops.bench import windowsdetection as bench

    settings = prepare(conf_file, json_file)
    attacks, days = parse_seeds(seeds), parse_seeds(quiet_seeds)
    if quick:
        attacks, days = attacks[:4], days[:1]
    with stoppable():
        result = bench.run(settings, seeds=attacks, quiet_seeds=days, hours=hours, quick=quick, flows=flows, say=say)
    tell(result, json_file)
    show(bench.tables(result))
    return 0 if result["met"] else 1


@app.command(epilog="Example:  flowlake bench novelty --records cicids2017.parquet --json novelty.json")
def novelty(
    records: Annotated[list[str], typer.Option("--records", help="Labelled records of three days or more: files, folders or a table.")],
    only: Annotated[str, typer.Option("--only", help="Ways to compare, with commas, by their names in the table.  [default: all]")] = "",
    max_fpr: Annotated[
        float, typer.Option("--max-fpr", min=0.0, max=0.5, help="Share of benign records that may be taken for attacks.")
    ] = 0.005,
    seeds: Annotated[str, typer.Option("--seeds", help="Of every random choice: a list or a range; a row for each.")] = "7",
    json_file: JsonFile = None,
    conf_file: ConfFile = None,
) -> int:
    """What finds attacks of a day when only the other days are known: detectors of what is unusual, classifiers, and both.

    Thresholds are chosen by benign records of the other days. Exit code 0 when what flowlake train fits finds 70 of 100 attacks at five
    false alarms in a thousand benign flows.
    """
    from jobs.training.seeds import parse_seeds
    from ops.bench import novelty as bench

    settings = prepare(conf_file, json_file)
    names = [name.strip() for name in only.split(",") if name.strip()]
    with stoppable():
        result = bench.run(settings, records=records, names=names, max_fpr=max_fpr, seeds=parse_seeds(seeds), say=say)
    tell(result, json_file)
    show(bench.tables(result))
    return 0 if result["met"] else 1


@app.command(epilog="Example:  flowlake bench scoring --json scoring.json")
def scoring(
    flows: Annotated[int, typer.Option("--flows", min=10_000, max=10_000_000, help="Scored through Spark by each model.")] = 1_000_000,
    through: Annotated[bool, typer.Option("--spark/--no-spark", help="Measure Spark on two cores too, or one core only.")] = True,
    json_file: JsonFile = None,
    conf_file: ConfFile = None,
) -> None:
    """Milliseconds for 1,000 flows on one core, and flows per second through Spark on two: forest and boosted trees, with novelty and
    with a challenger, beside scikit-learn's own methods in the same run."""
    from ops.bench import scoring as bench

    settings = prepare(conf_file, json_file)
    with stoppable():
        result = bench.run(settings, flows=flows, through=through, say=say)
    tell(result, json_file)
