"""The source of exported flows: NetFlow, IPFIX and sFlow."""

from __future__ import annotations

from infra.sources import Command, Source

SOURCE = Source(
    name="netflow",
    title="Flows that routers and switches export: NetFlow, IPFIX, sFlow.",
    sections={},
    topics=(),
    records=(),
    queries=(),
    commands=(
        Command("export", "jobs.sources.netflow.commands.export:export", "Capture files in, datagrams of NetFlow, IPFIX or sFlow out."),
    ),
)
