"""Options of commands that send."""

from __future__ import annotations

from typing import Annotated

import typer

from infra.names import valid_text

SensorId = Annotated[
    str | None,
    typer.Option(
        "--sensor-id", parser=valid_text, help="Name of this sensor; default: id in its settings, else the host's name.", show_default=False
    ),
]
Domain = Annotated[
    str | None, typer.Option("--domain", parser=valid_text, help="Observation domain; default: the sensor's name.", show_default=False)
]
Duration = Annotated[float | None, typer.Option("--duration", min=0.0, help="Stop after so many seconds.", show_default=False)]
MetricsPort = Annotated[
    int | None, typer.Option("--metrics-port", min=0, max=65535, help="Serve Prometheus metrics there; 0: off.", show_default=False)
]
