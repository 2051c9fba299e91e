"""Who began, and what was asked for."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from jobs.enriching.roles import roles
from jobs.enriching.services import ServiceTable, known_services
from jobs.flowexport.columns import FlowColumns, FlowMark
from schemas.exportedflows import CLIENT_EVIDENCE, CLIENTS, SERVICE_EVIDENCE
from tests.unit.flowexport.test_recorded import recording
from tests.unit.flowexport.wire import Collector, text

TABLE = ServiceTable()
SYN, ACK, FIN = 2, 16, 1
BIFLOW = FlowMark.BIFLOW


def flows(*records: dict[str, Any], names: tuple[str, ...] = ("",)) -> FlowColumns:
    made = FlowColumns.empty(len(records))
    made["proto"][:] = 6
    made["packets"][:] = 5
    for n, record in enumerate(records):
        for name, value in record.items():
            made[name][n] = value
    made.names = list(names)
    return made


def found(record: dict[str, Any], names: tuple[str, ...] = ("",), table: ServiceTable = TABLE) -> tuple[Any, ...]:
    """client, evidence, service, evidence, port, toward the server."""
    return tuple(column.to_pylist()[0] for column in roles(flows(record, names=names), table).values())


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        # the exporter says it
        ({"marks": BIFLOW, "sport": 40_000, "dport": 443}, ("source", "biflow", "https", "service", 443, 1)),
        ({"marks": BIFLOW, "sport": 443, "dport": 40_000}, ("source", "biflow", "", "", 40_000, 1)),
        (
            {"marks": FlowMark.BIFLOW, "biflow_direction": 2, "sport": 22, "dport": 40_000},
            ("destination", "biflow", "ssh", "service", 22, -1),
        ),
        (
            {"marks": FlowMark.BIFLOW, "biflow_direction": 3, "sport": 22, "dport": 40_000},
            ("destination", "service", "ssh", "service", 22, -1),
        ),
        ({"biflow_direction": 1, "sport": 22, "dport": 40_000}, ("source", "biflow", "", "", 40_000, 1)),
        # flags
        ({"tcp_flags": SYN, "sport": 443, "dport": 50_000}, ("source", "flags", "", "", 50_000, 1)),
        ({"tcp_flags": SYN | FIN, "sport": 50_000, "dport": 22}, ("source", "flags", "ssh", "service", 22, 1)),
        ({"tcp_flags": SYN | ACK, "packets": 1, "sport": 50_000, "dport": 60_000}, ("destination", "flags", "", "", 50_000, -1)),
        ({"tcp_flags": SYN | ACK, "packets": 9, "sport": 50_000, "dport": 60_000}, ("", "", "", "", 0, 0)),
        ({"tcp_flags": SYN | ACK, "packets": 9, "sport": 50_000, "dport": 22}, ("source", "service", "ssh", "service", 22, 1)),
        ({"tcp_flags": ACK, "reverse_tcp_flags": SYN, "sport": 50_000, "dport": 60_000}, ("destination", "flags", "", "", 50_000, -1)),
        ({"tcp_flags": SYN, "reverse_tcp_flags": SYN, "sport": 50_000, "dport": 22}, ("source", "service", "ssh", "service", 22, 1)),
        ({"proto": 17, "tcp_flags": SYN, "sport": 53, "dport": 50_000}, ("destination", "service", "dns", "service", 53, -1)),
        # ICMP: no ports, whatever stands in their fields
        ({"proto": 1, "icmp_type": 8, "dport": 2048}, ("source", "icmp", "", "", 0, 1)),
        ({"proto": 1, "icmp_type": 0}, ("destination", "icmp", "", "", 0, -1)),
        ({"proto": 58, "icmp_type": 128}, ("source", "icmp", "", "", 0, 1)),
        ({"proto": 58, "icmp_type": 129}, ("destination", "icmp", "", "", 0, -1)),
        ({"proto": 1, "icmp_type": 3, "dport": 771}, ("", "", "", "", 0, 0)),
        ({"proto": 58, "icmp_type": 8}, ("", "", "", "", 0, 0)),
        # ports
        ({"sport": 50_000, "dport": 5432}, ("source", "service", "postgresql", "service", 5432, 1)),
        ({"sport": 6379, "dport": 50_000}, ("destination", "service", "redis", "service", 6379, -1)),
        ({"sport": 3306, "dport": 443}, ("source", "port", "https", "port", 443, 1)),
        ({"sport": 1000, "dport": 50_000}, ("destination", "port", "", "", 1000, -1)),
        ({"sport": 50_000, "dport": 12_345}, ("source", "port", "", "", 12_345, 1)),
        ({"sport": 50_000, "dport": 50_001}, ("", "", "", "", 0, 0)),
        ({"sport": 3306, "dport": 5432}, ("", "", "", "", 0, 0)),
        ({"sport": 0, "dport": 1000}, ("", "", "", "", 0, 0)),
        ({"proto": 17, "sport": 123, "dport": 123}, ("", "", "ntp", "service", 123, 0)),
        ({"proto": 47, "sport": 443, "dport": 50_000}, ("", "", "", "", 0, 0)),
        ({"proto": 132, "sport": 50_000, "dport": 3868}, ("source", "service", "diameter", "service", 3868, 1)),
        ({}, ("", "", "", "", 0, 0)),
    ],
)
def test_the_client_and_the_service(record: dict[str, Any], expected: tuple[Any, ...]) -> None:
    assert found(record) == expected
    if "biflow_direction" not in record and "marks" not in record and "icmp_type" not in record and record.get("packets") != 1:
        swaps = {"sport": "dport", "dport": "sport", "tcp_flags": "reverse_tcp_flags", "reverse_tcp_flags": "tcp_flags"}
        client, evidence, service, by, port, toward = expected
        other = {"source": "destination", "destination": "source", "": ""}[client]
        assert found({swaps.get(k, k): v for k, v in record.items()}) == (other, evidence, service, by, port, -toward)


def test_the_exporters_word_for_the_application_counts_first() -> None:
    names = ("", " MS-Teams ", "unknown", "", "a\nb" + "x" * 200)
    record = {"sport": 50_000, "dport": 443}
    assert found({**record, "application_name": 1}, names)[2:4] == ("ms-teams", "application")
    assert found({**record, "application_name": 2}, names)[2:4] == ("https", "service")
    assert found({**record, "application_name": 3}, names)[2:4] == ("https", "service")
    assert found({**record, "application_name": 4}, names)[2] == r"a\nb" + "x" * 96
    assert found({"proto": 47, "application_name": 1}, names) == ("", "", "ms-teams", "application", 0, 0)


def test_services_of_our_own_come_first() -> None:
    table = ServiceTable({"12345/tcp": "billing", "443/tcp": "portal"})
    assert found({"sport": 50_000, "dport": 12_345}, table=table)[2:4] == ("billing", "service")
    assert found({"sport": 50_000, "dport": 443}, table=table)[2] == "portal"
    assert found({"proto": 17, "sport": 50_000, "dport": 443}, table=table)[2] == "https"


def test_columns_are_as_the_record_type_has_them() -> None:
    generator = np.random.default_rng(1)
    many = FlowColumns.empty(5000)
    for name in ("proto", "sport", "dport", "tcp_flags", "reverse_tcp_flags", "biflow_direction", "icmp_type", "packets"):
        many[name][:] = generator.integers(0, 256, len(many))
    made = roles(many, TABLE)
    assert {len(column) for column in made.values()} == {len(many)}
    assert sum(column.null_count for column in made.values()) == 0
    for name, words in (("client", CLIENTS), ("client_evidence", CLIENT_EVIDENCE), ("service_evidence", SERVICE_EVIDENCE)):
        assert set(made[name].to_pylist()) <= set(words)
    assert {len(column) for column in roles(FlowColumns.empty(0), TABLE).values()} == {0}


@pytest.mark.skipif("FLOWLAKE_DATA" not in os.environ, reason="FLOWLAKE_DATA is not set")
def test_real_exporters_and_both_directions_agree_about_the_client() -> None:
    """One capture by softflowd and pmacct, as flows and as sampled packets."""
    clients: dict[tuple[Any, ...], set[tuple[str, int]]] = {}
    for name in ("softflowd-v5", "softflowd-v9", "softflowd-v10", "pmacct-ipfix", "pmacct-sflow"):
        bench = Collector()
        for received, port, payload in recording(f"{name}.bin"):
            seen = bench.feed(payload, received=received, port=port)
            for n, client in enumerate(roles(seen, TABLE)["client"].to_pylist()):
                ends = {
                    "source": (text(seen["src"][n]), int(seen["sport"][n])),
                    "destination": (text(seen["dst"][n]), int(seen["dport"][n])),
                }
                if client:
                    clients.setdefault((seen["proto"][n], *sorted(ends.values())), set()).add(ends[client])
    assert len(clients) >= 8
    assert {len(said) for said in clients.values()} == {1}


def test_a_port_names_one_service() -> None:
    entries = list(known_services())
    assert len(entries) > 200
    assert len({(port, protocol) for _, port, protocol in entries}) == len(entries)
    assert {("https", 443, 6), ("https", 443, 17), ("dns", 53, 17), ("postgresql", 5432, 6), ("sflow", 6343, 17)} <= set(entries)
