"""Settings of the sensor of flow exporters."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, field_validator, model_validator

from sensors.publish.settings import PublishSettings

T = TypeVar("T")
Port = Annotated[int, Field(ge=1, le=65_535)]


class ExporterSensorSettings(PublishSettings):
    """Sensor of NetFlow, IPFIX and sFlow: where it listens, and what it gives up under pressure."""

    addresses: tuple[str, ...] = Field(("::",), min_length=1, description="addresses to listen on; :: takes IPv6 and IPv4")
    ports: tuple[Port, ...] = Field(
        (2055, 4739, 6343), min_length=1, description="UDP ports; each takes every protocol (NetFlow, IPFIX, sFlow)"
    )
    workers: int = Field(
        1, ge=1, le=64, description="threads that receive, each with its own sockets; an exporter's port always reaches the same one"
    )
    socket_buffer_mb: int = Field(16, ge=1, le=1024, description="the kernel's buffer of each socket; net.core.rmem_max bounds it")
    sample_from: float = Field(0.5, gt=0, lt=1, description="share of the queue from which 1 of N datagrams is kept, for the others, too")
    drop_from: float = Field(0.9, gt=0, le=1, description="share of the queue from which only templates are kept")
    most_sampling: int = Field(64, ge=2, le=4096, description="N under the most pressure")
    exporter_rate: float = Field(
        0.0, ge=0, description="datagrams/s of one exporter that are all kept; of more, 1 of N, for the others, too; 0: no limit"
    )
    mode: Literal["kafka", "direct", "auto"] = Field(
        "kafka",
        description="where datagrams go: undecoded to Kafka, for the stream; or decoded by the collector into PostgreSQL (hot.*); "
        "or by how many records they hold",
    )
    auto_threshold: float = Field(10_000.0, gt=0, description="mode auto: more records/s go to Kafka, fewer into PostgreSQL")
    auto_lower: float = Field(0.8, gt=0, le=1, description="mode auto: part of the threshold below which PostgreSQL is the way again")
    auto_window_s: int = Field(10, ge=1, le=3600, description="mode auto: records are counted over so long")
    auto_hold_s: float = Field(60.0, ge=0, le=86_400, description="mode auto: so long below before PostgreSQL is the way again")
    raw_retention_days: int = Field(7, ge=1, le=3650, description="modes direct and auto: rows of flow_raw live so many days")
    most_exporters: int = Field(10_000, ge=1, le=1_000_000, description="exporters followed; beyond, the one silent longest is forgotten")

    @field_validator("addresses")
    @classmethod
    def _are_addresses(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for one in given:
            found = ipaddress.ip_address(one)  # its error names the value
            others = [other for other in given if other != one and (found.version == 6 or ":" not in other)]
            if found.is_unspecified and others:
                raise ValueError(f"{one} takes what comes to {others[0]}, too: name it alone")
        return _once(given)

    @field_validator("ports")
    @classmethod
    def _ports_once(cls, given: tuple[int, ...]) -> tuple[int, ...]:
        return _once(given)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.sample_from >= self.drop_from:
            raise ValueError(f"drop_from {self.drop_from} is not above sample_from {self.sample_from}")
        return self


def _once(given: tuple[T, ...]) -> tuple[T, ...]:
    for one in given:
        if given.count(one) > 1:
            raise ValueError(f"{one} is named {given.count(one)} times")
    return given
