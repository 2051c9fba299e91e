"""The ``flowlake`` command: groups are imported only when used, failures are one line and a hint."""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import dataclass

import click
import typer

from infra.errors import ConfigError, FlowlakeError


@dataclass(frozen=True)
class Group:
    """Where a command lives: ``module:attribute``, and the line that ``flowlake --help`` shows for it without importing it."""

    target: str
    help: str


#: Every command. An attribute that is a Typer app becomes a group of commands, a function becomes one command.
COMMANDS: dict[str, Group] = {
    "demo": Group("infra.cli.demo:demo", "The whole stream on this machine, shown live, ending with accounts and a report."),
    "up": Group("infra.cli.stack:up", "Start the local stack: Kafka, PostgreSQL, lake folder, topics."),
    "down": Group("infra.cli.stack:down", "Stop the local stack; data stays."),
    "status": Group("infra.cli.stack:status", "What runs, where it listens, topics and lag."),
    "logs": Group("infra.cli.stack:logs", "Logs of the local stack."),
    "doctor": Group("infra.cli.doctor:doctor", "What is missing on this machine, and the command that mends it."),
    "topics": Group("infra.cli.topics:topics", "Topics as declared and as they are on the broker."),
    "config": Group("infra.cli.config:app", "The configuration in force."),
    "sensor": Group("infra.cli.sensor:app", "Live capture, replay of capture files, generated traffic."),
    "meter": Group("infra.cli.meter:meter", "Capture files in, flow records out, without the stack."),
    "stream": Group("infra.cli.stream:stream", "Run the stream: meter, score, all sinks."),
    "flows": Group("infra.cli.flows:flows", "A look at the flow records in the lake or the hot store."),
    "alerts": Group("infra.cli.alerts:alerts", "A look at the alerts."),
    "train": Group("infra.cli.train:train", "Train and register a model."),
    "bench": Group("infra.cli.bench:app", "Benchmarks: stream, latency, sensor."),
}

EXAMPLES = "Examples:  flowlake doctor   |   flowlake up   |   flowlake sensor replay capture.pcap   |   flowlake down"


class LazyCommands(click.Group):
    """Click group over :data:`COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        group = COMMANDS.get(cmd_name)
        return None if group is None else load(cmd_name, group)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The overview, from the table: importing every group would take seconds."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, group.help) for name, group in COMMANDS.items()])


def load(name: str, group: Group) -> click.Command:
    """Import one group.

    Raises
    ------
    ImportError
        The module or its attribute is missing: a fault of this program, not of its user.
    """
    module, attribute = group.target.split(":")
    found = getattr(importlib.import_module(module), attribute)
    if isinstance(found, typer.Typer):
        return typer.main.get_group(found)
    if isinstance(found, click.Command):
        return found
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name, epilog=getattr(found, "epilog", None))(found)
    return typer.main.get_command(single)


@click.group(cls=LazyCommands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXAMPLES)
@click.option("--debug", is_flag=True, envvar="FLOWLAKE_DEBUG", help="Show the stack trace of a failure.")
@click.version_option(package_name="flowlake")
@click.pass_context
def app(ctx: click.Context, debug: bool) -> None:
    """Network traffic, from the wire to scored flows in a lake, a hot store and alerts."""
    ctx.obj = {"debug": debug}


def main(argv: list[str] | None = None) -> None:
    """Entry point of the ``flowlake`` script; always ends with ``SystemExit``."""
    arguments = sys.argv[1:] if argv is None else argv
    debug = "--debug" in arguments or os.environ.get("FLOWLAKE_DEBUG", "") not in ("", "0")
    try:
        sys.exit(app.main(args=_debug_anywhere(arguments), prog_name="flowlake", standalone_mode=False) or 0)
    except FlowlakeError as e:
        if debug:
            raise
        _say(str(e), e.hint)
        sys.exit(e.exit_code)
    except click.exceptions.NoArgsIsHelpError as e:
        print(e.ctx.get_help() if e.ctx else "")
        sys.exit(0)
    except click.UsageError as e:
        usage = f"{e.ctx.command_path} --help" if e.ctx else "flowlake --help"
        _say(e.format_message(), f"see: {usage}")
        sys.exit(ConfigError.exit_code)
    except click.ClickException as e:
        _say(e.format_message(), "")
        sys.exit(e.exit_code)
    except (KeyboardInterrupt, click.Abort):
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # `flowlake logs | head`: the reader has gone; nothing more may be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as e:
        if debug:
            raise
        _say(f"unexpected {type(e).__name__}: {' '.join(str(e).split())[:300]}", "the same command with --debug shows where")
        sys.exit(1)


def _debug_anywhere(arguments: list[str]) -> list[str]:
    """``--debug`` is accepted after the command too (but not behind ``--``)."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    head = [a for a in arguments[:end] if a != "--debug"]
    return ["--debug", *head, *arguments[end:]] if len(head) < end else arguments


def _say(message: str, hint: str) -> None:
    red, off = ("\033[1;31m", "\033[0m") if sys.stderr.isatty() and "NO_COLOR" not in os.environ else ("", "")
    print(f"{red}error:{off} {message}", file=sys.stderr)
    if hint:
        print(f"  {hint}", file=sys.stderr)


if __name__ == "__main__":
    main()
