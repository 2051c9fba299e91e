"""``flowlake notify``: telling people and other systems of incidents."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from types import FrameType
from typing import Annotated, Any

import typer

from infra import config, log, metrics
from infra.console import looks
from infra.console.options import ConfFile, Json, group, me
from infra.errors import ConfigError, StoreError, one_line
from infra.plurals import counted

app = group("Tell people and other systems of incidents.", "flowlake notify run")
#: `flowlake notify status`: messages were given up. `run --once`: one was given up or waits.
EXIT_TO_DO = 1
_CHANNELS = ("channel", "kind", "where", "waiting", "failed", "held", "sent_24h", "last_sent", "reason")
_MESSAGES = ("created_at", "channel", "state", "news", "title", "attempts", "reason", "id")

By = Annotated[str, typer.Option("--by", help="Who does it; default: you.", show_default=False)]


@app.callback()
def _group() -> None:
    """Tell people and other systems of incidents, by the channels of notify.channels."""


@app.command(epilog="Examples:  flowlake notify run   |   flowlake notify run --once")
def run(
    once: Annotated[bool, typer.Option("--once", help="Send what there is, and end: for cron.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --once: print JSON, for programs.")] = False,
    conf_file: ConfFile = None,
) -> None:
    """Send what is new, until SIGTERM or Ctrl-C. Several may run, on several machines: each message is sent by one of them.

    With --once exit code 1 when a message was given up, or waits for a receiver that is away.
    """
    from jobs.notifying.run import Notifier
    from jobs.sinks.stores import StoreUnavailable

    settings = config.load(conf_file)
    log.setup(settings.log)
    notifier = Notifier(settings)
    try:
        if once:
            done = notifier.once()
            counts = {name: done[name] for name in ("sent", "retried", "failed", "held")}
            print(json.dumps(counts) if as_json else ", ".join(f"{count:,} {name}" for name, count in counts.items()))
            if done["retried"] or done["failed"]:
                raise typer.Exit(EXIT_TO_DO)
            return
        _until_told(notifier, settings.metrics.host, settings.metrics.notify_port)
    except StoreUnavailable as e:
        raise StoreError(str(e), "start it: flowlake up") from e


def _until_told(notifier: Any, host: str, port: int) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        notifier.stop()

    metrics.serve(host, port)
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        notifier.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@app.command(epilog="Examples:  flowlake notify status   |   flowlake notify status --json")
def status(
    limit: Annotated[int, typer.Option(min=0, max=10_000, help="So many of the messages that could not be sent.")] = 10,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Each channel: what waits, what was given up and why, what is held back for the digest, what was sent.

    Exit code 1 when messages were given up: see the reason, then `flowlake notify retry`.
    """
    from jobs.incidents import people
    from jobs.notifying import channels, overview

    settings = config.load(conf_file)
    declared = settings.notify.channels
    with people.acting(settings.alerts, me()) as cursor:
        rows = overview.by_channel(cursor, list(declared))
        waiting = overview.outbox(cursor)
        messages = overview.undelivered(cursor, limit)
    for row in rows:
        channel = declared.get(row["channel"])
        row |= {"kind": channel.kind if channel else "not in the settings", "where": ""}
        if channel:
            try:
                row["where"] = channels.receiver(settings, row["channel"]).where
            except ConfigError as e:
                row["where"] = one_line(e)
    if as_json:
        print(json.dumps({"outbox": waiting, "channels": rows, "undelivered": messages}, indent=1, default=looks.plain))
    else:
        looks.show(
            rows, _CHANNELS, form="table", title=f"{counted(len(declared), 'channel')}; {waiting:,} news that no notifier has looked at yet"
        )
        if messages:
            looks.show(messages, _MESSAGES, form="table", title=f"{counted(len(messages), 'message')} that could not be sent, newest first")
    if any(row["failed"] for row in rows):
        raise typer.Exit(EXIT_TO_DO)


@app.command("test", epilog="Example:  flowlake notify test pager")
def try_out(
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="Its name in notify.channels.")],
    show: Annotated[bool, typer.Option("--show", help="Print what would be sent, without secrets; send nothing.")] = False,
    conf_file: ConfFile = None,
) -> None:
    """Send a sample to a channel, now and past the outbox. PagerDuty gets its end too: nobody stays paged."""
    from jobs.notifying import channels
    from jobs.notifying.receivers.outcome import ReceiverRefused, TryLater
    from jobs.notifying.sample import sample

    settings = config.load(conf_file)
    notice = sample(settings.notify.link)
    receiver = channels.receiver(settings, channel)
    if show:
        print(receiver.shown(notice))
        return
    kind = settings.notify.channels[channel].kind
    try:
        said = receiver.send(notice)
        if kind == "pagerduty":
            said = receiver.send(replace(notice, news="resolved"))
    except (ReceiverRefused, TryLater) as e:
        see = f"see the settings of notify.channels.{channel}: flowlake config show"
        raise StoreError(f"channel {channel}: {one_line(e)}", f"{e.hint}; {see}" if e.hint else see) from e
    print(f"{channel}: sent to {receiver.where} ({kind}): {said}")


@app.command(epilog="Examples:  flowlake notify retry --channel pager   |   flowlake notify retry 7f0c1d2e-5c1b-4a86-9d0e-2b0c0f6a1e55")
def retry(
    messages: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Only these; flowlake notify status shows their ids.")] = None,
    channel: Annotated[str | None, typer.Option("--channel", help="Only of this channel.", show_default=False)] = None,
    by: By = "",
    conf_file: ConfFile = None,
) -> None:
    """Send messages again that were given up, and at once those that wait for their next attempt."""
    from jobs.incidents import people
    from jobs.notifying import overview

    settings = config.load(conf_file)
    with people.acting(settings.alerts, by or me()) as cursor:
        count = overview.retry(cursor, channel, messages or [])
    if not count and channel is not None and channel not in settings.notify.channels:
        known = ", ".join(settings.notify.channels) or "none"
        raise ConfigError(f"there is no channel {channel!r}, and no message of it", f"channels of notify.channels: {known}")
    print(f"{counted(count, 'message')} will be sent again; flowlake notify run does it")
