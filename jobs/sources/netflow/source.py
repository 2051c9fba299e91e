"""The source of flow exporters: what routers and switches send."""

from __future__ import annotations

from infra.sources import Command, Source
from schemas.rawflows import FLOWS_RAW
from sensors.netflow.settings import ExporterSensorSettings

SOURCE = Source(
    name="netflow",
    title="NetFlow, IPFIX and sFlow of routers and switches.",
    sections={"netflow_sensor": ExporterSensorSettings},
    topics=(FLOWS_RAW,),
    records=(),
    queries=(),
    commands=(
        Command("netflow", "jobs.sources.netflow.commands.sensor:netflow", "Receive NetFlow, IPFIX and sFlow.", group="sensor"),
        Command(
            "replay-netflow",
            "jobs.sources.netflow.commands.replay:replay_netflow",
            "Datagrams of exporters out of captures.",
            group="sensor",
        ),
    ),
)
