"""NetFlow v9 (RFC 3954) and IPFIX (RFC 7011), written: templates, options of the sampling, and flows.

Templates have datagrams of their own, in front of the first flows and again and again. The number in the header counts datagrams (v9, RFC
3954, 5.1) or data records, those of options among them (IPFIX, RFC 7011, 3.1).
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from jobs.flowexport.exporting.flowrows import OUT_DTYPE
from jobs.flowexport.exporting.outfields import (
    IPV4_TEMPLATE,
    IPV6_TEMPLATE,
    OutField,
    a_set,
    flow_fields,
    sampling_options,
    template,
)
from jobs.flowexport.exporting.outgoing import SAMPLER, SPAN, Backlog, ExportClock, ExportRules, ExportTally, Flows, OutDatagram
from jobs.flowexport.versions import IPFIX, NETFLOW9

_HEADERS = {NETFLOW9: struct.Struct(">HHIIII"), IPFIX: struct.Struct(">HHIII")}
_SET_HEADER, _PADDING = 4, 3
_TEMPLATES = {4: IPV4_TEMPLATE, 6: IPV6_TEMPLATE}
#: Set ids of templates.
_TEMPLATE_SET = {NETFLOW9: 0, IPFIX: 2}


class SetsEncoder:
    """Flows of one observation domain, as v9 or IPFIX (:class:`jobs.flowexport.exporting.outgoing.FlowEncoder`).

    Parameters
    ----------
    version
        9 or 10.
    rules
        How.

    Raises
    ------
    ValueError
        Biflows in v9, or no room for a flow.
    """

    def __init__(self, version: int, rules: ExportRules) -> None:
        if rules.biflow and version != IPFIX:
            raise ValueError("NetFlow v9 knows no biflows")
        self._version, self._rules = version, rules
        sampled = rules.sampling > 1
        self._fields = {ip: flow_fields(version, ip, biflow=rules.biflow, sampled=sampled) for ip in _TEMPLATES}
        self._layouts = {ip: np.dtype([(f.column, f.kind) for f in fields]) for ip, fields in self._fields.items()}
        spare = rules.room - _HEADERS[version].size - _SET_HEADER - _PADDING
        self._fit = {ip: spare // layout.itemsize for ip, layout in self._layouts.items()}
        if min(self._fit.values()) < 1:
            raise ValueError(f"no flow fits into {rules.room} bytes")
        self._clock = ExportClock()
        self._backlogs = {ip: Backlog() for ip in _TEMPLATES}
        self._sequence = 0
        self._until_templates = self._old_at_us = 0
        self.unsaid: defaultdict[str, ExportTally] = defaultdict(ExportTally)  # it can say everything

    def feed(self, flows: Flows) -> Iterator[OutDatagram]:
        """Datagrams that are full; those of one IP version behind those of the other."""
        for ip, backlog in self._backlogs.items():
            for some in backlog.cut(flows[flows["ip_version"] == ip], self._fit[ip]):
                yield from self._datagrams(ip, some)

    def finish(self) -> Iterator[OutDatagram]:
        """What is left."""
        for ip, backlog in self._backlogs.items():
            for some in backlog.cut(np.zeros(0, OUT_DTYPE), self._fit[ip], rest=True):
                yield from self._datagrams(ip, some)

    def _datagrams(self, ip: int, flows: Flows) -> Iterator[OutDatagram]:
        """A datagram of flows, and one of templates in front when they are due."""
        self._clock.begin(int(flows["start_us"].min()))
        self._clock.reach(int(flows["end_us"].max()))
        if self._until_templates == 0 or self._clock.now_us >= self._old_at_us:
            self._until_templates = self._rules.refresh
            self._old_at_us = self._clock.now_us + self._rules.refresh_s * 1_000_000
            yield self._templates()
        self._until_templates -= 1
        tally = ExportTally()
        tally.add(flows)
        yield self._message(a_set(_TEMPLATES[ip], self._records(ip, flows)), len(flows), len(flows), tally)

    def _templates(self) -> OutDatagram:
        body = b"".join(template(_TEMPLATES[ip], fields) for ip, fields in self._fields.items())
        content = a_set(_TEMPLATE_SET[self._version], body)
        if self._rules.sampling > 1:
            content += sampling_options(self._version, SAMPLER, self._rules.sampling)
            return self._message(content, len(_TEMPLATES) + 2, 1, ExportTally())
        return self._message(content, len(_TEMPLATES), 0, ExportTally())

    def _message(self, content: bytes, records: int, data_records: int, tally: ExportTally) -> OutDatagram:
        """A datagram; ``records``: with templates, as the header of v9 counts."""
        clock, header, seconds = self._clock, _HEADERS[self._version], self._clock.now_s
        if self._version == NETFLOW9:
            head = header.pack(9, records, clock.uptime_at(seconds * 1000), seconds, self._sequence, self._rules.domain)
            self._sequence = (self._sequence + 1) % SPAN
        else:
            head = header.pack(10, header.size + len(content), seconds, self._sequence, self._rules.domain)
            self._sequence = (self._sequence + data_records) % SPAN
        return OutDatagram(head + content, clock.now_us, tally)

    def _records(self, ip: int, flows: Flows) -> bytes:
        made = np.zeros(len(flows), self._layouts[ip])
        for field in self._fields[ip]:
            made[field.column] = self._values(field, flows, ip)
        return made.tobytes()

    def _values(self, field: OutField, flows: Flows, ip: int) -> Any:
        match field.column:
            case "src" | "dst":
                kept = np.ascontiguousarray(flows[field.column][:, 12:] if ip == 4 else flows[field.column])
                return kept.view(field.kind).reshape(-1)
            case "start_uptime" | "end_uptime":
                return self._clock.uptimes(flows[f"{field.column.removesuffix('_uptime')}_us"])
            case "start_ms" | "end_ms":
                return flows[f"{field.column.removesuffix('_ms')}_us"] // 1000
            case "ingress":
                return 0
            case "initiator":
                return 1  # biflowDirection: the source began (RFC 5103, 6.3)
            case "sampler":
                return SAMPLER
        return flows[field.column]
