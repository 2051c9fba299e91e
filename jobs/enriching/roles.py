"""Who began, and which service was asked for.

An exported flow has a source and a destination, not a client and a server: an exporter that sees both directions writes two records. What
tells the client is asked in this order:

1. the exporter (RFC 5103, section 6.3, and what is known of both directions of one record): ``biflow``
2. TCP's flags, of a direction that has SYN without ACK, or of a single packet with both, which answers (RFC 9293, section 3.5): ``flags``
3. ICMP's requests and replies (RFC 792, RFC 950; RFC 4443, section 4; RFC 4620): ``icmp``
4. a port of a known service on one side only: ``service``
5. the port that is lower by kind: below 1024, or below those that systems give to clients (from 32768 on) when the other is
   not: ``port``

SYN and ACK together in more than one packet say nothing, for an exporter writes all flags of a flow into one field.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from infra.names import printable
from jobs.enriching.services import ServiceTable
from jobs.flowexport.columns import FlowColumns, FlowMark
from schemas.exportedflows import CLIENT_EVIDENCE, CLIENTS, SERVICE_EVIDENCE

_SYN, _ACK = 0x02, 0x10
_TCP, _ICMP, _ICMPV6 = 6, 1, 58
_SYSTEM_PORTS, _CLIENT_PORTS = 1024, 32_768
#: ICMP types that ask, and those that answer: echo, timestamp, information, address mask; echo and node information of IPv6.
_ASKS = {_ICMP: (8, 13, 15, 17), _ICMPV6: (128, 139)}
_ANSWERS = {_ICMP: (0, 14, 16, 18), _ICMPV6: (129, 140)}
#: What application recognition says when it recognises nothing.
_NO_APPLICATION = frozenset({"unknown", "unclassified", "none", "n/a"})
_LONGEST_APPLICATION = 100
_SOURCE, _DESTINATION = CLIENTS.index("source"), CLIENTS.index("destination")

Flags = NDArray[np.bool_]


class ClientSide:
    """Who is the client of each record, and by what it is known.

    Parameters
    ----------
    n
        Records.

    Attributes
    ----------
    client
        Places in ``CLIENTS``.
    evidence
        Places in ``CLIENT_EVIDENCE``.
    """

    def __init__(self, n: int) -> None:
        self.client = np.zeros(n, np.int8)
        self.evidence = np.zeros(n, np.int8)

    def note(self, evidence: str, source: Flags, destination: Flags) -> None:
        """Where nothing is known yet, and the two do not contradict each other, one of them is the client."""
        new = (self.client == 0) & (source ^ destination)
        self.client[new] = np.where(source[new], _SOURCE, _DESTINATION)
        self.evidence[new] = CLIENT_EVIDENCE.index(evidence)


def roles(flows: FlowColumns, services: ServiceTable) -> dict[str, pa.Array]:
    """Columns about client and service.

    Parameters
    ----------
    flows
        ``n`` records.
    services
        Which services are known.

    Returns
    -------
    dict
        ``client``, ``client_evidence``, ``service``, ``service_evidence``; ``service_port``: the server's, 0 where it is not known;
        ``toward_server``: 1 from the client, -1 from the server, 0 not known. None is null.
    """
    ported = services.has_ports(flows["proto"])
    sport, dport = np.where(ported, flows["sport"], 0), np.where(ported, flows["dport"], 0)
    at_source, at_destination = services.find(flows["proto"], sport), services.find(flows["proto"], dport)
    side = ClientSide(len(flows))
    side.note("biflow", *_by_exporter(flows))
    side.note("flags", *_by_flags(flows))
    side.note("icmp", *_by_icmp(flows))
    side.note("service", at_destination > 0, at_source > 0)
    side.note("port", *_by_port(sport, dport))
    to_destination = (side.client == _SOURCE) | ((side.client == 0) & (sport == dport))
    to_source = side.client == _DESTINATION
    code = np.where(to_destination, at_destination, np.where(to_source, at_source, 0))
    return {
        "client": _words(CLIENTS, side.client),
        "client_evidence": _words(CLIENT_EVIDENCE, side.evidence),
        **_services(flows, services, code, side),
        "service_port": pa.array(np.where(to_destination, dport, np.where(to_source, sport, 0)).astype(np.int32)),
        "toward_server": pa.array((side.client == _SOURCE).astype(np.int8) - to_source.astype(np.int8)),
    }


def _by_exporter(flows: FlowColumns) -> tuple[Flags, Flags]:
    said = flows["biflow_direction"]
    # Both directions in one record, and nothing said of them: the source is the initiator (RFC 5103, section 4).
    both = (flows["marks"] & np.uint32(FlowMark.BIFLOW) > 0) & (said == 0)
    return both | (said == 1), said == 2


def _by_flags(flows: FlowColumns) -> tuple[Flags, Flags]:
    tcp = flows["proto"] == _TCP
    there, back = (flows[name] & (_SYN | _ACK) for name in ("tcp_flags", "reverse_tcp_flags"))
    answers = (there == (_SYN | _ACK)) & (flows["packets"] == 1)
    return tcp & (there == _SYN), tcp & ((back == _SYN) | answers)


def _by_icmp(flows: FlowColumns) -> tuple[Flags, Flags]:
    def one_of(types: dict[int, tuple[int, ...]]) -> Flags:
        found = np.zeros(len(flows), np.bool_)
        for protocol, wanted in types.items():
            found |= (flows["proto"] == protocol) & np.isin(flows["icmp_type"], wanted)
        return found

    return one_of(_ASKS), one_of(_ANSWERS)


def _by_port(sport: NDArray[np.uint16], dport: NDArray[np.uint16]) -> tuple[Flags, Flags]:
    told = (sport > 0) & (dport > 0)  # 0: not said, or a fragment
    source, destination = np.zeros(len(told), np.bool_), np.zeros(len(told), np.bool_)
    for bound in (_SYSTEM_PORTS, _CLIENT_PORTS):
        open_yet = told & ~source & ~destination
        source |= open_yet & (dport < bound) & (sport >= bound)
        destination |= open_yet & (sport < bound) & (dport >= bound)
    return source, destination


def _services(flows: FlowColumns, services: ServiceTable, code: NDArray[np.uint16], side: ClientSide) -> dict[str, pa.Array]:
    """The exporter's word for the application first, then the server's port."""
    applications = [_application(name) for name in flows.names]
    known = np.fromiter((bool(name) for name in applications), np.bool_, len(applications))
    by_application = known[flows["application_name"]]
    by_port = side.evidence == CLIENT_EVIDENCE.index("port")
    evidence = np.where(code > 0, np.where(by_port, SERVICE_EVIDENCE.index("port"), SERVICE_EVIDENCE.index("service")), 0)
    evidence = np.where(by_application, SERVICE_EVIDENCE.index("application"), evidence)
    names = pa.concat_arrays([services.names, pa.array(applications, pa.string())])
    place = np.where(by_application, flows["application_name"].astype(np.int64) + len(services.names), code)
    return {"service": names.take(place), "service_evidence": _words(SERVICE_EVIDENCE, evidence)}


def _application(name: str) -> str:
    word = printable(name.strip().lower())[:_LONGEST_APPLICATION]
    return "" if word in _NO_APPLICATION else word


def _words(words: tuple[str, ...], places: NDArray[np.int8]) -> pa.Array:
    return pa.array(words, pa.string()).take(pa.array(places))
