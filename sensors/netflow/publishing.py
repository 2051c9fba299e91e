"""The publisher of datagrams: what :mod:`.encoding` makes of them, to ``flows.raw``."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from infra.config import Settings
from schemas.rawflows import RawDatagram
from sensors.netflow.encoding import RawFlowEncoder
from sensors.netflow.settings import ExporterSensorSettings
from sensors.publish.publisher import Publisher

RawFlowPublisher = Publisher[Sequence[RawDatagram]]


def raw_flow_publisher(
    settings: Settings, sensor_id: str | None, domain: str | None, *, live: bool = False, stop: threading.Event, share: int = 1
) -> RawFlowPublisher:
    """A publisher of one sensor.

    Parameters
    ----------
    settings
        ``kafka``, and the section of :class:`ExporterSensorSettings`.
    sensor_id, domain, live, stop
        See :class:`sensors.publish.publisher.Publisher`.
    share
        Of the memory that is set it takes one part of so many.

    Raises
    ------
    BrokerError
        No broker, or no topic.
    """
    own = settings.section(ExporterSensorSettings)
    bound = (own.buffer_mb << 20) // share
    return Publisher(settings, own, RawFlowEncoder(), sensor_id, domain, live, stop=stop, buffer_bytes=bound)
