"""The ``flowlake`` command: groups are imported only when used, failures are one line and a hint."""

from __future__ import annotations

from ops.cli import early

# isort: split
import difflib
import io
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import Any

from infra import config
from infra.errors import ConfigError, FlowlakeError, one_line
from infra.names import escape_on_output
from infra.sources import Catalogue, Command, resolve

early.done()


@dataclass(frozen=True)
class Group:
    """Where a command lives: ``module:attribute``, and the line that ``flowlake --help`` shows for it without importing it.

    Without a target it is the group of a source, whose commands are ``below``; with one, these are what sources add to it.
    """

    target: str
    help: str
    below: Mapping[str, Group] = field(default_factory=dict)


#: Commands of the platform. An attribute that is a Typer app becomes a group of commands, a function becomes one command.
PLATFORM: dict[str, Group] = {
    "demo": Group("ops.cli.demo:demo", "The whole stream on this machine, shown live, ending with accounts and a report."),
    "up": Group("ops.cli.stack:up", "Start the local stack: Kafka, PostgreSQL, lake folder, topics."),
    "down": Group("ops.cli.stack:down", "Stop the local stack; data stays."),
    "status": Group("ops.cli.stack:status", "What runs, where it listens, topics and lag."),
    "logs": Group("ops.cli.stack:logs", "Logs of the local stack."),
    "doctor": Group("ops.cli.doctor:doctor", "What is missing on this machine, and the command that mends it."),
    "topics": Group("ops.cli.topics:topics", "Topics as declared and as they are on the broker."),
    "db": Group("ops.cli.db:app", "Tables in PostgreSQL: their versions, what they lack, migrations."),
    "archive": Group("ops.cli.archive:app", "Archive of the hot store: whole months as Parquet, verified, restored."),
    "lake": Group("ops.cli.lake:app", "The lake's tables: what they hold, upkeep, labels, rules of the bucket."),
    "labels": Group("ops.cli.labels:app", "Labels: which records are worth a person's look, and what people have said."),
    "migrate": Group("ops.cli.migrate:app", "Move in from CSV files and SQLite: rows, alerts, comparison, rotation."),
    "config": Group("ops.cli.config:app", "The configuration in force."),
    "sources": Group("ops.cli.sources:sources", "The sources that are there, and what each declares."),
    "stream": Group("ops.cli.stream:stream", "Run the stream: the queries of all sources, or some of them."),
    "quality": Group("ops.cli.quality:app", "Data quality: what must hold of the records, looked at for a day of each store."),
    "quarantine": Group("ops.cli.quarantine:app", "Rows that failed a check: a look at them, and publishing them again."),
    "models": Group("ops.cli.models:app", "Models: their versions, compared, promoted, taken back, retired, trained anew."),
    "drift": Group("ops.cli.drift:drift", "Whether what the models are served is still what they know."),
    "alerts": Group("ops.cli.alerts:app", "The alerts: a list of them, one as a page, the frames behind it, resolving."),
    "incidents": Group("ops.cli.incidents:app", "Incidents: alerts that belong together, as few stories."),
    "whitelist": Group("ops.cli.whitelist:app", "Whitelist: hosts and kinds of alerts that are known, and silenced."),
    "maintenance": Group("ops.cli.maintenance:app", "Maintenance windows: spans of time in which alerts are silenced."),
    "assets": Group("ops.cli.assets:app", "Assets: hosts and networks by name, and how much each matters."),
    "block": Group("ops.cli.blocks:block", "Block an address or a network for a time."),
    "unblock": Group("ops.cli.blocks:unblock", "End a block before its time."),
    "blocks": Group("ops.cli.blocks:app", "Blocks: what holds, what was, and whether it is so."),
    "respond": Group("ops.cli.blocks:respond", "Apply the rules that block by themselves, and keep blocks in step."),
    "notify": Group("ops.cli.notify:app", "Tell people and other systems of incidents."),
    "audit": Group("ops.cli.audit:app", "Who did what to alerts and incidents, and whether that record is whole."),
    "dash": Group("ops.cli.dash:dash", "The views as a small web page, live and read-only, without Grafana."),
    "report": Group("ops.cli.dash:report", "The views and the incidents in full, as one HTML file."),
    "trino": Group("ops.cli.trino:app", "Trino over the stores: its files, its tables, a server to try."),
    "athena": Group("ops.cli.athena:app", "Athena over lake and archive: the statements that make its tables."),
    "countries": Group("ops.cli.countries:app", "Countries of networks, out of a GeoIP file: for the view of attacks."),
    "grafana": Group("ops.cli.grafana:app", "Grafana and Prometheus: dashboards, data sources, rules, written from what is declared."),
    "sql": Group("ops.cli.sql:sql", "Ask lake, archive, hot store and alerts in SQL."),
    "bench": Group("ops.cli.bench:app", "Benchmarks: what the page of benchmarks is made of."),
}


def commands(catalogue: Catalogue) -> dict[str, Group]:
    """Every command: those of the platform, and those of the sources - in a group for each, and some at the top or in another's group."""
    found = dict(PLATFORM)
    for source in catalogue.sources:
        below = {command.name: Group(command.target, command.help) for command in source.commands if not command.group}
        if taken := [name for name in (source.name, *(c.name for c in source.commands if c.top)) if name in found]:
            raise ConfigError(f"source {source.name} declares command {taken[0]!r}, which is there already", "give it another name")
        found |= {command.name: below[command.name] for command in source.commands if command.top}
        if below:
            found[source.name] = Group("", source.title, below)
    for source in catalogue.sources:
        for command in source.commands:
            if command.group:
                found[command.group] = _joined(source.name, command, found.get(command.group))
    return found


def _joined(source: str, command: Command, group: Group | None) -> Group:
    """A group with one more command, of a source; of None it is made."""
    group = group or Group("", f"Commands of the source {source}.")
    return replace(group, below={**group.below, command.name: Group(command.target, command.help)})


def _catalogue(arguments: Sequence[str]) -> Catalogue:
    """The sources of the configuration that a command line names."""
    file: str | None = None
    for word, following in zip(arguments, [*arguments, ""][1:], strict=True):
        if word == "--":
            break
        if word == "--conf-file":
            file = following
        elif word.startswith("--conf-file="):
            file = word.partition("=")[2]
    return config.catalogue(file)


#: Exit code where nobody reads the output any more, as shells have it of a program that SIGPIPE ends.
NOBODY_READS = 141

EXAMPLES = """Examples:
  flowlake doctor
  flowlake up && flowlake status
  flowlake sensor replay capture.pcap
  flowlake down"""


def load(name: str, known: Mapping[str, Group], path: str = "flowlake") -> Any:
    """Import one command and return it ready to run (Typer's command object).

    Raises
    ------
    ConfigError
        There is no command of that name; suggests the nearest.
    ImportError
        The module or its attribute is missing: a fault of this program, not of its user.
    """
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean: {path} {near[0]}" if near else f"see: {path} --help; sources are looked for in sources.packages"
        raise ConfigError(f"no command {name!r}", hint)
    import typer

    found = resolve(known[name].target)
    if not isinstance(found, typer.Typer):
        single = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]})
        single.command(name, epilog=getattr(found, "epilog", None))(found)
        found = single
    command: Any = typer.main.get_command(found)
    for below, added in known[name].below.items():
        if below in getattr(command, "commands", {below: command}):  # or it is no group
            raise ConfigError(f"a source adds {below!r} ({added.target}) to {path} {name}", "it is there already, or that is no group")
        command.add_command(load(below, known[name].below, f"{path} {name}"), below)
    return command


def overview(known: Mapping[str, Group]) -> str:
    """What ``flowlake --help`` prints; made from the table, since importing every group would take seconds."""
    return (
        "Usage: flowlake [--debug] COMMAND [ARGS]...\n\n"
        "Network traffic, from the wire to scored flows in a lake, a hot store and alerts.\n\n"
        f"Commands (each has --help):\n{_listed(known)}\n\n"
        "Options:\n  -h, --help   Show this.\n  --version    Show the version.\n"
        "  --debug      Show the stack trace of a failure (also: FLOWLAKE_DEBUG=1); may stand anywhere.\n\n"
        f"{EXAMPLES}"
    )


def _listed(known: Mapping[str, Group]) -> str:
    width = max(map(len, known)) + 2
    return "\n".join(f"  {name:<{width}}{group.help}" for name, group in known.items())


def _of_source(name: str, group: Group) -> str:
    """What ``flowlake <source> --help`` prints."""
    first = next(iter(group.below))
    return (
        f"Usage: flowlake {name} COMMAND [ARGS]...\n\n{group.help}\n\nCommands (each has --help):\n{_listed(group.below)}\n\n"
        f"Example:\n  flowlake {name} {first} --help"
    )


def main(argv: list[str] | None = None) -> None:
    """Entry point of the ``flowlake`` script; always ends with ``SystemExit``."""
    try:
        escape_on_output()
        arguments, debug = _take_debug(sys.argv[1:] if argv is None else argv)
        # A file name may hold what the terminal's encoding cannot say.
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() != "utf-8":
                stream.reconfigure(errors="backslashreplace")
        code = _ended(arguments, debug)
    except BrokenPipeError:  # of standard error, while a failure was told
        code = NOBODY_READS
    except KeyboardInterrupt:
        code = early.INTERRUPTED
    sys.exit(_flushed(code))


def _ended(arguments: list[str], debug: bool) -> int:
    """Exit code of a command line, whose failure was told."""
    try:
        return run(arguments)
    except KeyboardInterrupt:
        return _interrupted()
    except BrokenPipeError:
        return NOBODY_READS
    except SystemExit as e:
        if isinstance(e.__context__, BrokenPipeError):  # Rich's way to end where nobody reads
            return NOBODY_READS
        raise
    except FlowlakeError as e:
        if debug:
            traceback.print_exc()
        _say(str(e), e.hint)
        return e.exit_code
    except Exception as e:
        if isinstance(e.__cause__ or e.__context__, KeyboardInterrupt):  # an extension that was being loaded
            return _interrupted()
        if debug:
            traceback.print_exc()
        _say(f"unexpected {type(e).__name__}: {one_line(e)}", "" if debug else "the same command with --debug shows where")
        return 1


def _interrupted() -> int:
    print("interrupted", file=sys.stderr)
    return early.INTERRUPTED


def _flushed(code: int) -> int:
    """Write what is left to write; the exit code then.

    ``flowlake alerts list | head``: the reader has gone, which is no failure to tell; nothing more may be written, not even at exit. A full
    disk behind standard output is one.
    """
    for stream, name in ((sys.stdout, "standard output"), (sys.stderr, "standard error")):
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except OSError as e:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            if isinstance(e, BrokenPipeError):
                code = code or NOBODY_READS
            else:
                code = code or 1
                if stream is sys.stdout:
                    _say(f"{name} cannot be written: {e.strerror}", "make room, or send it elsewhere")
    return code


def run(arguments: list[str]) -> int:
    """Run one command line (without the program's name) and return its exit code; failures are raised."""
    if arguments and arguments[0] == "--version":
        print(f"flowlake {metadata.version('flowlake')}")
        return 0
    known: Mapping[str, Group] = commands(_catalogue(arguments))
    path, group = "flowlake", Group("", "")
    while True:
        if not arguments or arguments[0] in ("-h", "--help", "help"):
            print(overview(known) if path == "flowlake" else _of_source(path.removeprefix("flowlake "), group))
            return 0
        name, arguments = arguments[0], arguments[1:]
        if name not in known or known[name].target:
            return _run(f"{path} {name}", load(name, known, path), arguments)
        group, path = known[name], f"{path} {name}"
        known = group.below


def _run(path: str, command: Any, rest: list[str]) -> int:
    import typer

    try:
        # not its main(): that ends the process itself, silently, when it is interrupted or nobody reads its output
        with command.make_context(path, list(rest)) as made:
            code = command.invoke(made)
    except typer.Exit as e:
        return e.exit_code
    except typer.Abort:
        return _interrupted()
    except typer.TyperException as e:
        context = getattr(e, "ctx", None)
        if not rest and context is not None and not e.format_message().startswith("Missing"):
            print(context.get_help())
            return 0
        words = path.removeprefix("flowlake ")
        raise ConfigError(f"{words}: {e.format_message()}", f"see: {context.command_path if context else path} --help") from e
    return code if isinstance(code, int) else 0


def _take_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """``--debug`` is accepted anywhere, but not behind ``--``."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    head = [a for a in arguments[:end] if a != "--debug"]
    given = len(head) < end or os.environ.get("FLOWLAKE_DEBUG", "") not in ("", "0")
    return [*head, *arguments[end:]], given


def _say(message: str, hint: str) -> None:
    red, off = ("\033[1;31m", "\033[0m") if sys.stderr.isatty() and "NO_COLOR" not in os.environ else ("", "")
    print(f"{red}error:{off} {message}", file=sys.stderr)
    if hint:
        print(f"  {hint}", file=sys.stderr)


if __name__ == "__main__":
    main()
