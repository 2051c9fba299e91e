"""``flowlake topics``: what is declared against what is on the broker."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from infra import config
from infra.console.options import ConfFile, Json
from infra.errors import BrokerError


def topics(
    create: Annotated[bool, typer.Option("--create", help="Create the topics that are missing; existing ones are never changed.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Exit code 4 when the broker differs from what is declared.")] = False,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Show every topic and each difference from what is declared (partitions, replication, configuration).

    Examples:

      flowlake topics --create

      flowlake topics --check --json --conf-file conf/cluster.yaml
    """
    from infra.kafka import topics as broker

    settings = config.load(conf_file)
    report = broker.ensure(settings) if create else broker.inspect(settings)
    if as_json:
        print(json.dumps(report.as_dict(), indent=2))
    else:
        from ops.cli.tables import console, topics_table

        console().print(topics_table(report))
    if check and report.differences:
        raise BrokerError(
            f"{len(report.differences)} differences from the declared topics: {'; '.join(report.differences)}",
            "missing ones: flowlake topics --create; others: change them with Kafka's own tools, or the declaration",
        )
