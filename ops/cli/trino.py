"""``flowlake trino``: the files that a Trino server needs, its tables, questions; and a server of this machine to try."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from infra import config
from infra.config import Settings
from infra.console.options import ConfFile, Json, group
from infra.errors import ConfigError, StackError
from infra.plurals import counted

if TYPE_CHECKING:
    from infra.stack.trino import TrinoServer

app = group("Trino over the stores: its files, its tables, a server to try.", "flowlake trino config --into /etc/trino")


@app.callback()
def _group() -> None:
    """Trino over the stores: its files, its tables, a server to try."""


@app.command("config", epilog="Examples:  flowlake trino config --into /etc/trino   |   flowlake trino config --into etc --image")
def configure(
    into: Annotated[Path, typer.Option(help="Folder that is written.")],
    image: Annotated[bool, typer.Option("--image", help="For Trino's container image: files at /etc/trino, data in /data/trino.")] = False,
    catalogs_only: Annotated[bool, typer.Option("--catalogs-only", help="For a server that has files of its own.")] = False,
    conf_file: ConfFile = None,
) -> None:
    """Write the configuration of a server: a catalog for each store, who may read, memory.

    No secret is in the files: they name the variables of flowlake's own settings (FLOWLAKE_HOT__PASSWORD and so on), which the server
    needs in its environment.
    """
    from infra.stack import trino as server
    from jobs.engines import properties

    settings = config.load(conf_file)
    folder = into.absolute()
    layout = properties.ServerFolders(str(folder), str(folder / "data"))
    if image:
        layout = properties.ServerFolders(properties.IMAGE_FILES, properties.IMAGE_DATA)
    made = properties.files(settings, layout)
    if catalogs_only:
        made = {name: content for name, content in made.items() if name.startswith("catalog/")}
    server.write(folder, made)
    print("\n".join(str(into / name) for name in sorted(made)))
    print(f"the server needs in its environment: {', '.join(properties.variables(made)) or 'nothing'}", file=sys.stderr)


@app.command(epilog="Examples:  flowlake trino register   |   flowlake trino register --json")
def register(as_json: Json = False, conf_file: ConfFile = None) -> None:
    """Make known to the server which tables there are: the lake's with its side tables, the archives with their months.

    May be run again at any time, and is after each run of the archive: new months are noted, what has moved is found.
    """
    from jobs.engines import trino

    settings = config.load(conf_file)
    done = trino.register(settings, lambda table: None if as_json else print(f"{table.table}: {table.state}  {table.place}", flush=True))
    if as_json:
        print(json.dumps([asdict(table) for table in done], indent=2))


@app.command(epilog='Example:  flowlake trino ask "SELECT attack_type, count(*) FROM lake.flowlake.flows GROUP BY 1"')
def ask(
    sql: Annotated[str, typer.Argument(help="One statement; '-' reads it from standard input.")],
    form: Annotated[str, typer.Option("--format", help="table, json or csv.")] = "table",
    conf_file: ConfFile = None,
) -> None:
    """Ask the server one question, and print the rows."""
    from infra.console import looks
    from jobs.engines import trino

    if form not in ("table", "json", "csv"):
        raise ConfigError(f"--format {form!r} is none of: table, json, csv")
    text = (sys.stdin.read() if sql == "-" else sql).strip().rstrip(";").strip()
    if not text:
        raise ConfigError("there is no statement to ask", 'flowlake trino ask "SELECT ...", or - for standard input')
    names, rows = trino.Trino(config.load(conf_file).trino).ask(text)
    columns = trino.distinct(names)
    looks.show([dict(zip(columns, row, strict=True)) for row in rows], columns, form=form, title=counted(len(rows), "row"))


@app.command(epilog="Example:  flowlake trino fetch")
def fetch(
    within: Annotated[int, typer.Option(min=10, max=7200, help="Seconds that it may take.")] = 1800,
    if_reachable: Annotated[bool, typer.Option("--if-reachable", help="A registry that does not answer is no failure.")] = False,
) -> None:
    """Fetch a server and a Java that runs it (856 MB, of which 480 stay), for `flowlake trino serve` and the tests."""
    from infra.jvm import trino

    try:
        trino.ensure(_shown(), within)
    except trino.RegistryAwayError as e:
        if not if_reachable:
            raise
        print(f"{e}; what needs Trino is left out (make test-trino tries again)", file=sys.stderr)
        return
    print(f"Trino {trino.SERVER.version} in {trino.home()}, run by {trino.launcher()}")


@app.command(epilog="Example:  flowlake trino serve")
def serve(conf_file: ConfFile = None) -> None:
    """Run a server of this machine over the stores of the settings until Ctrl-C; tables are registered at the start."""
    from threading import Event

    from infra.console.signals import handled
    from jobs.engines import trino

    settings = config.load(conf_file)
    server, ended = local(settings), Event()
    if other := server.daemon.process():
        raise StackError(f"trino runs already (pid {other.pid})", "ask it, or end it with Ctrl-C where it was started")
    with handled(ended.set):
        print(f"starting Trino at {server.url} (half a minute)", file=sys.stderr, flush=True)
        try:
            server.start()
            trino.register(settings, lambda table: print(f"{table.table}: {table.state}", flush=True))
            print(f"Trino answers at {server.url}; Ctrl-C ends it", file=sys.stderr, flush=True)
            while not ended.wait(1.0):
                if server.daemon.process() is None:
                    raise StackError(f"Trino has ended: {server.daemon.last_words()}", f"the whole log: {server.daemon.log_file}")
        finally:
            server.stop()


def local(settings: Settings, folder: Path | None = None) -> TrinoServer:
    """The server that ``serve`` runs, in a folder below ``paths.var``; the tests' too.

    Raises
    ------
    ConfigError
        ``trino.url`` is of another machine.
    """
    from infra.stack.trino import TrinoServer
    from jobs.engines import properties

    address = urlsplit(settings.trino.url)
    if address.scheme != "http" or address.hostname not in ("127.0.0.1", "localhost"):
        raise ConfigError(
            f"trino.url {settings.trino.url} is not of this machine", "FLOWLAKE_TRINO__URL=http://127.0.0.1:8080 flowlake trino serve"
        )
    folder = folder or settings.path(settings.paths.var) / "trino"
    made = properties.files(settings, properties.ServerFolders(str(folder / "etc"), str(folder / "data")))
    return TrinoServer(folder, address.port or 80, made, properties.secrets(settings, made))


def _shown() -> Callable[[int, int, str], None]:
    """Progress on standard error: a line that changes on a terminal, else one for each tenth."""
    told = ""
    terminal = sys.stderr.isatty()

    def show(had: int, wanted: int, what: str) -> None:
        nonlocal told
        share = 100 * had // wanted if wanted else 0
        line = f"trino: {what}" + (f" {share if terminal else share // 10 * 10} %" if wanted else "")
        if line != told:
            told = line
            print(f"\r\033[K{line}" if terminal else line, end="" if terminal else "\n", file=sys.stderr, flush=True)

    return show
