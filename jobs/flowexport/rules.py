"""What the decoder may hold and what it believes."""

from __future__ import annotations

from dataclasses import dataclass

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US


@dataclass(frozen=True)
class DecodeRules:
    """Bounds and choices; each has a default that suits a collector of some thousand exporters.

    Attributes
    ----------
    by_port
        Exporters behind one address are told apart by their source port (RFC 7011, 3.1: a transport session). Off, because some exporters
        send each datagram from another port.
    agent_is_exporter
        sFlow: the agent's address is the exporter's; else the address that the datagram came from.
    clock_tolerance_us
        So far an exporter's clock may be from the time of receipt before it is called wrong.
    oldest_us
        A flow that ended longer ago has a wrong time.
    template_lifetime_us
        A template that is not sent again for so long is forgotten, or for three times the interval at which it was sent before, if that is
        longer (RFC 7011, 8.4). Three times what Cisco's routers have as their default.
    most_fields
        Of a template.
    most_templates
        Of one exporter and domain.
    most_names
        Of one kind (interfaces, VRFs, applications, samplers) of one exporter and domain.
    most_sources
        sFlow: data sources of one agent whose samples are counted.
    most_template_fields
        Of all templates of one exporter and domain.
    most_records, most_late_records
        Of one datagram, and of all data that had waited for one template: what is beyond is refused, since one byte could otherwise ask
        for hundreds.
    waiting_bytes
        Of data that wait for their template, of one exporter and domain.
    waiting_us
        How long they wait.
    most_bytes
        Of all that is kept, roughly: beyond, the exporter that has been silent longest is forgotten.
    chunk_rows, chunk_bytes
        Records, and bytes of datagrams, decoded at once; more are given in several pieces.
    """

    by_port: bool = False
    agent_is_exporter: bool = True
    clock_tolerance_us: int = 5 * MINUTE_US
    oldest_us: int = 24 * HOUR_US
    template_lifetime_us: int = 90 * MINUTE_US
    most_fields: int = 512
    most_templates: int = 4096
    most_template_fields: int = 65_536
    most_names: int = 65_536
    most_sources: int = 4096
    most_records: int = 8192
    most_late_records: int = 65_536
    waiting_bytes: int = 1 << 20
    waiting_us: int = HOUR_US
    most_bytes: int = 256 << 20
    chunk_rows: int = 32_768
    chunk_bytes: int = 32 << 20
