"""``flowlake models retrain``, which a schedule calls as ``python -m jobs.retrain`` as well."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from infra import config
from infra.config import Settings
from infra.console.options import ConfFile, Json
from infra.errors import ConfigError
from infra.plurals import counted

if TYPE_CHECKING:
    from schemas.records import RecordType

RecordName = Annotated[str, typer.Option("--record", help="Record type that is scored, such as flows; default: the first.")]
RETRAIN_EXAMPLE = (
    "Examples:  flowlake models retrain   |   flowlake models retrain --from labelled.parquet --no-shadow   |   "
    "flowlake models retrain --no-wait"
)


def retrain(
    source: Annotated[str, typer.Option("--from", help="lake: records that the table of labels knows; generated; or a file.")] = "lake",
    seeds: Annotated[str, typer.Option(help="With generated: seeds, such as 1-24.")] = "",
    seconds: Annotated[float, typer.Option(min=1, max=3600, help="With generated: seconds of traffic of each seed.")] = 18.0,
    shadow: Annotated[
        bool, typer.Option("--shadow/--no-shadow", help="Let it score beside the champion before anything is decided.")
    ] = True,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for that; else go on at the next call.")] = True,
    new: Annotated[bool, typer.Option("--new", help="Give up a run that was not finished.")] = False,
    record: RecordName = "",
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Train a model anew: label, train, evaluate, challenger, shadow, report; promotion, where retrain.auto_promote allows it.

    A run that was interrupted goes on with the step it was at. Its folder (var/retrain) has a page that says what changed and why.
    """
    from jobs.models import retraining

    settings = config.load(conf_file)
    if (seeds or seconds != 18.0) and source != "generated":
        raise ConfigError("--seeds or --seconds without --from generated", "they say how much traffic is generated")
    options = retraining.RetrainOptions(source, tuple(_seeds(seeds)), seconds, shadow)
    run = retraining.retrain(settings, record_type(settings, record), options, anew=new, wait=wait, progress=_say)
    last = run.steps["promote"]
    if as_json:
        print(json.dumps({"run": run.name, "page": str(retraining.page(run)), "steps": run.steps}, indent=2))
        return
    print(f"version {run.steps['train']['version']}: {'champion' if last['promoted'] else 'not promoted'}: {last['why']}")
    if told := _gates(run.steps["evaluate"]["gates"]):
        print(told)
    print(f"page: {retraining.page(run)}")


def _gates(found: list[dict[str, str]]) -> str:
    """How many are open; which are not."""
    others = [f"{gate['name']} {gate['verdict']}" for gate in found if gate["verdict"] != "open"]
    return ", ".join([f"{len(found) - len(others)} of {counted(len(found), 'gate')} open", *others]) if found else ""


def record_type(settings: Settings, name: str) -> RecordType:
    """The record type of an option ``--record``, among those that are scored; the first where it was not given.

    Raises
    ------
    ConfigError
        There is none of that name.
    """
    known = {one.name: one for one in settings.catalogue.records if one.features is not None}
    if not known:
        raise ConfigError("no source declares records that are scored", "sources.packages names where sources are looked for")
    if name and name not in known:
        raise ConfigError(f"--record {name!r} is no record type that is scored", f"one of: {', '.join(known)}")
    return known[name] if name else next(iter(known.values()))


def _seeds(text: str) -> list[int]:
    from jobs.training.seeds import parse_seeds

    return parse_seeds(text) if text else []


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
