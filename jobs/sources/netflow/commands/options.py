"""Options that the commands of flow exporters share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from infra.config import Settings
from infra.errors import ConfigError, one_line
from sensors.netflow.settings import ExporterSensorSettings

Ports = Annotated[
    list[int] | None,
    typer.Option(
        "--port",
        min=1,
        max=65_535,
        help="UDP port that exporters send to; may be given again. Default: netflow_sensor.ports (2055, 4739, 6343).",
        show_default=False,
    ),
]
Addresses = Annotated[
    list[str] | None,
    typer.Option(
        "--address",
        help="Address to listen on; may be given again. Default: netflow_sensor.addresses (::, which takes IPv4, too).",
        show_default=False,
    ),
]

Mode = Annotated[
    str | None,
    typer.Option(
        "--mode",
        help="kafka: undecoded, for the stream; direct: decoded here, into PostgreSQL; auto: direct while there are few records. "
        "Default: netflow_sensor.mode (kafka).",
        show_default=False,
    ),
]


def with_options(
    settings: Settings, ports: Sequence[int] | None, addresses: Sequence[str] | None = None, mode: str | None = None
) -> Settings:
    """The settings with what the options say.

    Raises
    ------
    ConfigError
        An address or a mode is none, or something is named twice.
    """
    given: dict[str, Any] = {name: value for name, value in (("ports", ports), ("addresses", addresses), ("mode", mode)) if value}
    section = settings.section(ExporterSensorSettings)
    try:
        own = ExporterSensorSettings.model_validate({**section.model_dump(), **given})
    except ValidationError as e:
        wrong = e.errors()[0]
        option = {"ports": "--port", "addresses": "--address", "mode": "--mode"}[str(wrong["loc"][0])]
        raise ConfigError(f"{option}: {one_line(wrong['msg'])}", "e.g. --address 192.0.2.7 --port 2055 --port 9995 --mode direct") from e
    name = next(name for name, model in settings.catalogue.sections.items() if model is ExporterSensorSettings)
    return settings.model_copy(update={name: own})
