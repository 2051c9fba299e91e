"""One flow of several exporters counts once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from jobs.flowexport.columns import COLUMNS, FlowColumns, addresses
from jobs.flowexport.datagrams import address16, address_text
from jobs.flowexport.duplicates import FlowOwners

S = 1_000_000
A, B, C = "192.0.2.1", "192.0.2.2", "2001:db8::3"


def seen(*rows: tuple[str, int, float, float], **more: Any) -> FlowColumns:
    """Records: exporter, source port, start and end in seconds; received at their end."""
    flows = FlowColumns.empty(len(rows))
    flows["exporter"][:] = addresses([address16(row[0]) for row in rows])
    flows["src"][:] = addresses([address16("10.0.0.1")] * len(rows))
    flows["dst"][:] = addresses([address16("10.0.0.2")] * len(rows))
    flows["sport"][:] = [row[1] for row in rows]
    flows["start_us"][:] = [round(row[2] * S) for row in rows]
    flows["end_us"][:] = [round(row[3] * S) for row in rows]
    flows["received_us"][:] = flows["end_us"]
    for name, value in more.items():
        flows[name][:] = value
    return flows


def marks(owners: FlowOwners, flows: FlowColumns) -> list[str]:
    (whose,) = owners.mark([flows.columns])
    return [address_text(one.tobytes()) if one.any() else "" for one in whose]


def test_the_first_exporter_owns_a_flow() -> None:
    owners = FlowOwners(300 * S, 1000)
    assert marks(owners, seen((A, 1, 0, 10), (B, 1, 0.5, 10.5), (C, 1, 0, 11), (B, 2, 0, 12))) == ["", A, A, ""]


def test_of_one_exporter_alone_nothing_is_remembered() -> None:
    owners = FlowOwners(300 * S, 1000)
    assert marks(owners, seen((A, 1, 0, 10), (A, 1, 10, 20))) == ["", ""]
    assert not owners.pieces


def test_a_flow_of_another_time_is_another() -> None:
    owners = FlowOwners(300 * S, 1000)
    marks(owners, seen((A, 9, 0, 1), (B, 9, 5, 5)))  # both are known
    assert marks(owners, seen((A, 1, 0, 10), (B, 1, 40, 50))) == ["", ""], "it went over to another path"
    assert marks(owners, seen((A, 1, 41, 51))) == [B]


def test_parts_of_a_long_flow_are_its_owners() -> None:
    """One reports every minute, the other after half an hour."""
    owners = FlowOwners(300 * S, 10_000)
    marks(owners, seen((A, 9, 0, 0), (B, 9, 50, 50)))
    for minute in range(30):
        assert marks(owners, seen((A, 1, 60 * minute, 60 * minute + 59))) == [""]
    assert marks(owners, seen((B, 1, 0, 1800))) == [A]


def test_sampled_flows_may_be_silent_for_a_while() -> None:
    owners = FlowOwners(300 * S, 1000)
    marks(owners, seen((A, 9, 0, 0), (B, 9, 50, 50)))
    assert marks(owners, seen((A, 1, 0, 0), (B, 1, 30, 30), (A, 1, 45, 45), rate=1000.0)) == ["", A, ""]


def test_both_sides_of_an_interface_are_two_owners() -> None:
    owners = FlowOwners(300 * S, 1000)
    flows = seen((A, 1, 0, 10), (A, 1, 0, 10))
    flows["direction"][:] = [0, 1]
    assert marks(owners, flows) == ["", A]


def test_two_exporters_behind_one_address_are_two_owners_if_their_ports_tell_them_apart() -> None:
    assert marks(FlowOwners(300 * S, 1000), seen((A, 1, 0, 10), (A, 1, 0, 10), told_port=[2000, 3000])) == ["", A]


@pytest.mark.parametrize("cut", range(1, 8))
def test_where_batches_are_cut_changes_nothing(cut: int) -> None:
    rows = [(A, 9, 0, 0), (B, 9, 9, 9), (A, 1, 0, 10), (B, 1, 2, 12), (C, 1, 3, 13), (B, 1, 40, 44), (A, 1, 41, 45), (C, 1, 42, 46)]
    whole = marks(FlowOwners(300 * S, 1000), seen(*rows))
    owners = FlowOwners(300 * S, 1000)
    first = marks(owners, seen(*rows[:cut]))
    again = FlowOwners(300 * S, 1000, dict(owners.pieces), owners.owners, owners.next)
    assert first[2:] + marks(again, seen(*rows[cut:]))[max(2 - cut, 0) :] == whole[2:]


def test_what_is_remembered_is_bounded() -> None:
    owners = FlowOwners(300 * S, 500)
    for batch in range(20):
        flows = seen(*[(A if n % 2 else B, 1 + n, batch, batch) for n in range(200)])
        flows["dport"][:] = batch
        marks(owners, flows)
        assert sum(map(len, owners.pieces.values())) <= 500 + 200
    later = seen((A, 1, 900, 900), (B, 2, 900, 900))
    marks(owners, later)
    assert sum(map(len, owners.pieces.values())) == 2, "the others are older than a claim holds"


def test_a_column_of_another_exporter_is_found_by_its_own_hash() -> None:
    assert {"exporter", "direction", "domain"} <= {column.name for column in COLUMNS}
    owners = FlowOwners(300 * S, 1000)
    marks(owners, seen((A, 1, 0, 0), (B, 2, 0, 0), (C, 3, 0, 0)))
    assert np.all(np.diff(owners.owners["owner"].astype(object)) > 0)
