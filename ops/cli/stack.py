"""``flowlake up | down | status | logs``: the local stack."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra import config
from infra.console.options import ConfFile, Json, names
from infra.errors import ConfigError, FlowlakeError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from infra.kafka.progress import Standing
    from infra.kafka.topics import Report
    from infra.stack.local import LocalStack
    from infra.stack.parts import PartState
    from jobs.scoring.outlook import ModelView


def up(
    only: Annotated[
        str | None,
        typer.Option("--only", help="Start only these: kafka (with its topics), postgres; comma-separated.", show_default=False),
    ] = None,
    conf_file: ConfFile = None,
) -> None:
    """Start Kafka and PostgreSQL, create lake folder and topics. What runs already is left alone; data survives a restart.

    A Kafka or PostgreSQL of yours that answers at the configured address on loopback is used as it is.

    Examples:

      flowlake up

      flowlake up --only kafka
    """
    from infra.stack.local import SERVERS
    from ops.cli.tables import console, topics_table

    chosen = names("--only", only, SERVERS)
    report = _stack(conf_file).up(say=print, only=chosen)
    if report and report.differences:
        console().print(topics_table(report))


def down(
    only: Annotated[
        str | None, typer.Option("--only", help="Stop only these: kafka, postgres, stream; comma-separated.", show_default=False)
    ] = None,
    conf_file: ConfFile = None,
) -> None:
    """Stop the stream, Kafka and PostgreSQL. Data stays. Servers that flowlake did not start are left running.

    Examples:

      flowlake down

      flowlake down --only postgres
    """
    from infra.stack.local import SERVERS, STREAM

    chosen = names("--only", only, (*SERVERS, STREAM))
    stack = _stack(conf_file)
    stack.down(say=print, only=chosen)
    if only is None:
        from ops.harness.place import place
        from ops.harness.servers import stop_object_store

        if stop_object_store(place(stack.settings)):
            print("s3        stopped          the demo's object store")


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Renew every two seconds until Ctrl-C.")] = False,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """What runs, where it listens and how much memory it takes; topics with their messages; how far each query is behind, and
    what was gone before it read it; which models score, and which was refused.

    Examples:

      flowlake status --watch

      flowlake status --json
    """
    stack = _stack(conf_file)
    if as_json:
        print(json.dumps(_snapshot(stack), indent=2))
        return
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from ops.cli.tables import console

    screen = console()
    if not watch:
        for view in _views(stack, screen):
            screen.print(view, soft_wrap=isinstance(view, Text))
        return
    with Live(Group(*_views(stack, screen)), console=screen, screen=False, auto_refresh=False) as live:
        while True:
            time.sleep(2)
            live.update(Group(*_views(stack, screen)), refresh=True)


def logs(
    part: Annotated[str, typer.Argument(help="kafka, postgres or spark; all of them when left out.", show_default=False)] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing what is added, until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, max=1_000_000, help="Lines from the end of each log.")] = 50,
    conf_file: ConfFile = None,
) -> None:
    """Print the end of a log.

    Example:  flowlake logs kafka -n 100 -f
    """
    from infra.process import tail
    from infra.stack.local import LOGS

    if part and part not in LOGS:
        raise ConfigError(f"no log {part!r}", f"logs: {', '.join(LOGS)}")
    folder = _stack(conf_file).log_dir
    files = {name: folder / f"{name}.log" for name in ([part] if part else LOGS)}
    if not any(file.is_file() for file in files.values()) and (part or not follow):
        missing = f"there is no log of {part} yet ({files[part]})" if part else f"there are no logs yet ({folder})"
        raise ConfigError(missing, "flowlake up starts kafka and postgres; flowlake stream, spark")
    width = 0 if part else max(map(len, files))
    for name, file in files.items():
        for line in tail(file, lines):
            print(f"{name:<{width}} | {line}" if width else line)
    if follow:
        _follow(files, width)


def _follow(files: dict[str, Path], width: int) -> None:
    position = {name: file.stat().st_size if file.is_file() else 0 for name, file in files.items()}
    while True:
        for name, file in files.items():
            size = file.stat().st_size if file.is_file() else 0
            if size < position[name]:
                position[name] = 0
            if size > position[name]:
                with file.open("rb") as f:
                    f.seek(position[name])
                    data = f.read()
                # Half a line waits for its end.
                whole = data[: data.rfind(b"\n") + 1]
                position[name] += len(whole)
                for line in whole.decode("utf-8", "replace").splitlines():
                    print(f"{name:<{width}} | {line}" if width else line, flush=True)
        time.sleep(0.2)


def _stack(conf_file: Path | None) -> LocalStack:
    from infra.stack.local import LocalStack

    return LocalStack(config.load(conf_file))


def _broker(stack: LocalStack, parts: Sequence[PartState]) -> tuple[Report | None, list[Standing], str]:
    """Topics, how far the queries are and, where the broker does not answer, why not."""
    from infra.kafka import progress as queries
    from infra.kafka import topics

    broker = next(part for part in parts if part.name == "kafka")
    if broker.state == "refused":
        return None, [], broker.hint
    if broker.state in ("stopped", "starting"):
        return None, [], f"no Kafka broker answers at {broker.address}; flowlake up starts one"
    try:
        return topics.inspect(stack.settings), queries.standings(stack.settings), ""
    except FlowlakeError as e:
        return None, [], str(e)


def _snapshot(stack: LocalStack) -> dict[str, Any]:
    parts = stack.parts()
    report, standings, problem = _broker(stack, parts)
    shown = report.as_dict() if report else {"topics": [], "differences": []}
    return {
        "parts": [asdict(part) for part in parts],
        **shown,
        "lag": {standing.query: standing.behind for standing in standings},
        "queries": [asdict(standing) for standing in standings],
        "models": [{**asdict(view), "problems": view.problems} for view in _models(stack)],
        "problem": problem,
    }


def _models(stack: LocalStack) -> list[ModelView]:
    """Which models the stream scores with, or did when it ran last."""
    from jobs.scoring import outlook

    return outlook.views(stack.settings)


def _views(stack: LocalStack, screen: Console) -> list[Table | Text]:
    from rich.text import Text

    from ops.cli.tables import models_table, parts_view, queries_table, topics_table

    parts = stack.parts()
    report, standings, problem = _broker(stack, parts)
    shown: list[Table | Text] = [parts_view(parts, screen)]
    if report:
        shown.append(topics_table(report))
    if standings:
        shown.append(queries_table(standings))
    models = _models(stack)
    if models:
        shown.append(models_table(models))
    shown += [Text(f"{standing.query}: {standing.problem}", style="red") for standing in standings if standing.problem]
    shown += [Text(problem, style="red") for view in models for problem in view.problems]
    if problem:
        shown.append(Text(problem))
    return shown
