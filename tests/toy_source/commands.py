"""``flowlake readings send | train | show``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from infra import config
from infra.console import looks
from infra.console.options import ConfFile, Json
from infra.errors import CaptureError
from jobs.sinks import ask

from .records import READING


def send(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Lines of JSON: device, time, value.")],
    conf_file: ConfFile = None,
) -> None:
    """Send readings to the broker.

    Example:  flowlake readings send readings.jsonl
    """
    from .sensor import LineSensor

    settings = config.load(conf_file)
    try:
        with file.open("rb") as lines:
            counters = LineSensor(settings, lines).run()
    except OSError as e:
        raise CaptureError(f"{file}: {e.strerror}", "name a file with one JSON object a line") from e
    print(f"{counters.sent} readings sent in {counters.messages} messages")


def train(conf_file: ConfFile = None) -> None:
    """Train a model on readings that are made up, and make it champion.

    Example:  flowlake readings train
    """
    from .train import train as fit

    version, right = fit(config.load(conf_file))
    print(f"model version {version}: {100 * right:.1f} % of readings that it has not seen are labelled rightly")


def show(
    limit: Annotated[int, typer.Option(min=1, help="Newest readings, so many.")] = 20,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """The newest readings of the hot store.

    Example:  flowlake readings show --limit 5
    """
    assert READING.hot is not None
    names = list(READING.hot.types)
    sql = f"SELECT {', '.join(names)} FROM {READING.hot.name} ORDER BY timestamp DESC LIMIT %s"
    rows = ask.query(config.load(conf_file).hot, sql, [limit])
    looks.show(rows, names, form="json" if as_json else "table", title=f"{len(rows)} readings, newest first")
