"""What was exported, and what of it is where: by exporter, to the record, the packet and the byte."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ops.harness.accounts import Check
from ops.harness.exported.routers import Router

#: Columns that the account reads of each record.
COLUMNS = (
    *("flow_id", "exporter_ip", "export_protocol", "start_time", "bytes", "packets", "reverse_bytes", "reverse_packets"),
    *("scaled_bytes", "scaled_packets", "duplicate_of", "service"),
)


@dataclass(frozen=True)
class Volume:
    """Records, packets and bytes."""

    records: int
    packets: int
    octets: int

    def __str__(self) -> str:
        return f"{self.records:,} records, {self.packets:,} packets, {self.octets:,} bytes"


def exported(router: Router) -> Volume:
    """What an exporter says it sent."""
    return Volume(*(int(router.summary[name]) for name in ("records", "packets", "bytes")))


def stored(rows: pa.Table, router: Router) -> Volume:
    """What a store has of it, as exported; each record once."""
    mine = of(rows, router)
    sums = [sum(pc.sum(mine[f"{way}{name}"]).as_py() or 0 for way in ("", "reverse_")) for name in ("packets", "bytes")]
    return Volume(mine.num_rows, *sums)


def of(rows: pa.Table, router: Router) -> pa.Table:
    """Records of one exporter."""
    same = pc.and_(pc.equal(rows["exporter_ip"], router.address), pc.equal(rows["export_protocol"], router.protocol))
    return rows.filter(same)


def checks(routers: Iterable[Router], stores: Mapping[str, pa.Table], collected: Mapping[str, int], lost: Mapping[str, int]) -> list[Check]:
    """The accounts.

    Parameters
    ----------
    routers
        Who exported.
    stores
        Name -> rows, of the topic and of each store.
    collected
        What became of the datagrams in the collector (:class:`sensors.netflow.account.DatagramAccount`).
    lost
        By exporter's address, what sequence numbers say is missing.
    """
    routers = list(routers)
    sent = sum(int(router.summary["datagrams"]) for router in routers)
    gone = collected["thinned"] + collected["limited"] + collected["dropped"] + collected["refused"] + collected["unsent"]
    text = f"{sent:,} exported = {collected['received']:,} received = {collected['sent']:,} sent to the broker; {gone:,} given up"
    found = [Check("datagrams", sent == collected["received"] == collected["sent"], text)]
    for router in routers:
        wanted = exported(router)
        have = {name: stored(rows, router) for name, rows in stores.items()}
        other = [f"{name}: {volume}" for name, volume in have.items() if volume != wanted]
        same = f"{wanted}, the same in {', '.join(have)}"
        found.append(Check(router.name, not other, "; ".join([f"{wanted} exported", *other]) if other else same))
    missing = {address: n for address, n in lost.items() if n}
    found.append(Check("sequence numbers", not missing, f"{sum(lost.values()):,} lost by sequence numbers of {len(lost)} exporters"))
    ids: list[NDArray[Any]] = [np.sort(rows["flow_id"].to_numpy(zero_copy_only=False).astype("S36")) for rows in stores.values()]
    once = all(len(np.unique(some)) == len(some) for some in ids)
    alike = all(np.array_equal(ids[0], some) for some in ids[1:])
    found.append(Check("ids", once and alike, f"{len(ids[0]):,} ids, each once, the same in {', '.join(stores)}"))
    return found


def lost(values: Iterable[bytes]) -> Counter[str]:
    """By exporter's address, what the newest accounts (topic ``flows.accounts``) say is missing."""
    newest: dict[tuple[Any, ...], dict[str, Any]] = {}
    for value in values:
        for line in value.splitlines():
            row = json.loads(line)
            if row.get("exporter"):
                key = tuple(row[name] for name in ("bucket", "exporter", "sender", "export_protocol", "exporter_domain"))
                newest[key] = max(newest.get(key, row), row, key=lambda one: int(one["version"]))
    found: Counter[str] = Counter()
    for row in newest.values():
        found[row["exporter"]] += row["lost"] + row["lost_samples"] + row["waiting_sets"]
    return found


def once(rows: pa.Table) -> dict[str, int]:
    """Sums that count what several exporters saw once, and those that do not; scaled by the sampling."""
    first = rows.filter(rows["duplicate_of"].is_null())
    return {
        "records": rows.num_rows,
        "duplicates": rows.num_rows - first.num_rows,
        "scaled_bytes": int(pc.sum(first["scaled_bytes"]).as_py() or 0),
        "scaled_bytes_of_all": int(pc.sum(rows["scaled_bytes"]).as_py() or 0),
    }
